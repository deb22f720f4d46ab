//! Keeps what a watch tells of a kind, so that a reconcile need not ask the API server for it.
//!
//! # Laws
//!
//! - What triggers a reconcile is kept before it does: a reconcile never sees less than what led to it.
//! - What is kept can be behind this replica's own writes, and behind everybody's by as long as a watch takes;
//!   so who is about to write states what it has seen, as a precondition.
//! - Before everything was told once, nothing is said to be absent.

use std::fmt::Debug;
use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

/// A kind that can be kept.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// The objects of a kind, as a watch has told of them.
pub struct Kept<K: Kind> {
    store: Store<K>,
    /// Taken by the watch.
    writer: Mutex<Option<Writer<K>>>,
}

impl<K: Kind> Default for Kept<K> {
    fn default() -> Self {
        let (store, writer) = reflector::store();
        Self { store, writer: Mutex::new(Some(writer)) }
    }
}

impl<K: Kind> Kept<K> {
    /// Watches the kind, and keeps what comes. There is one watch; a second one tells nothing.
    pub fn watch(
        &self,
        api: Api<K>,
        config: watcher::Config,
    ) -> BoxStream<'static, Result<K, watcher::Error>> {
        let Some(writer) = self.writer.lock().take() else { return stream::empty().boxed() };
        let events = watcher(api, config).default_backoff().modify(|object| {
            // They are most of an object, and of no use here.
            object.managed_fields_mut().clear();
        });
        events.reflect(writer).touched_objects().boxed()
    }

    /// Whether everything was told once.
    pub fn is_complete(&self) -> bool {
        self.store.wait_until_ready().now_or_never().is_some_and(|ready| ready.is_ok())
    }

    /// The object of this name, where it is known.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.store.get(&ObjectRef::new(name).within(namespace))
    }

    /// Those of a namespace that are `wanted`.
    pub fn find(&self, namespace: &str, wanted: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        let is_in = |object: &K| object.meta().namespace.as_deref() == Some(namespace);
        self.store.state_filter(|object| is_in(object) && wanted(object))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;

    fn config_map(namespace: &str, name: &str) -> ConfigMap {
        let metadata = json!({ "name": name, "namespace": namespace });
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    #[test]
    fn nothing_is_absent_before_everything_was_told() {
        let kept = Kept::<ConfigMap>::default();
        let mut writer = kept.writer.lock().take().unwrap();
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitApply(config_map("shop", "a")));
        assert!(!kept.is_complete());
        writer.apply_watcher_event(&Event::InitDone);
        assert!(kept.is_complete());
        assert!(kept.get("shop", "a").is_some() && kept.get("other", "a").is_none());
        writer.apply_watcher_event(&Event::Apply(config_map("other", "b")));
        assert_eq!(kept.find("other", |_| true).len(), 1);
        assert!(kept.find("shop", |found| found.name_any() == "b").is_empty());
    }
}
