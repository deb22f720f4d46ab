//! Keeps what a watch tells of a kind, so that a reconcile need not ask the API server for it.
//!
//! # Laws
//!
//! - What triggers a reconcile is kept before it does: a reconcile never sees less than what led to it.
//! - A watch that begins anew tells of everything that there is, and of what has gone meanwhile; only when all of it
//!   is kept.
//! - What is kept can be behind this replica's own writes, and behind everybody's by as long as a watch takes;
//!   so who is about to write states what it has seen, as a precondition.
//! - Before everything was told once, nothing is said to be absent; and while the watch fails, nothing is known.
//! - A watch that fails begins anew by itself, and holds up no other one.

use std::fmt::Debug;
use std::future;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt};
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Resource, ResourceExt};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::failure::chain;
use crate::metrics::ReconcileMetrics;

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
    /// Whether the watch has failed since it last told something.
    failing: Arc<AtomicBool>,
}

impl<K: Kind> Default for Kept<K> {
    fn default() -> Self {
        let (store, writer) = reflector::store();
        Self { store, writer: Mutex::new(Some(writer)), failing: Arc::default() }
    }
}

impl<K: Kind> Kept<K> {
    /// Watches the kind, keeps what comes, and passes on what was touched. There is one watch; a second one tells
    /// nothing.
    pub fn watch(&self, context: &Context, config: watcher::Config) -> BoxStream<'static, Arc<K>> {
        self.watch_trimmed(context, config, |_| {})
    }

    /// The same, and keeps no more of each object than `trim` leaves.
    pub fn watch_trimmed(
        &self,
        context: &Context,
        config: watcher::Config,
        trim: fn(&mut K),
    ) -> BoxStream<'static, Arc<K>> {
        let Some(writer) = self.writer.lock().take() else { return stream::empty().boxed() };
        let events =
            watcher(context.watched::<K>(), config).default_backoff().modify(move |object| {
                // They are most of an object, and of no use here.
                object.managed_fields_mut().clear();
                trim(object);
            });
        let failing = Arc::clone(&self.failing);
        let events = events.reflect(writer).inspect(move |event| note(&failing, event));
        let mut touched = Touched { store: self.store.clone(), before: Vec::new() };
        let events = by_itself(&K::kind(&()), &context.metrics, events);
        events.flat_map(move |event| stream::iter(touched.by(event))).boxed()
    }

    /// What a test tells in place of a watch.
    #[cfg(test)]
    pub(crate) fn writer(&self) -> Writer<K> {
        self.writer.lock().take().unwrap()
    }

    /// Whether everything was told once, and the watch goes on.
    pub fn is_complete(&self) -> bool {
        let is_ready = || self.store.wait_until_ready().now_or_never();
        !self.is_failing() && is_ready().is_some_and(|ready| ready.is_ok())
    }

    /// Whether the watch has failed since it last told something: an outage, or a permission that was taken away.
    fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// The object of this name, where it is known.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        if self.is_failing() {
            return None;
        }
        self.store.get(&ObjectRef::new(name).within(namespace))
    }

    /// Those of a namespace that are `wanted`.
    pub fn find(&self, namespace: &str, wanted: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        let is_in = |object: &K| object.meta().namespace.as_deref() == Some(namespace);
        self.store.state_filter(|object| is_in(object) && wanted(object))
    }
}

/// Finds what a watch tells of.
struct Touched<K: Kind> {
    store: Store<K>,
    /// What was kept when the watch began anew; until that is through it stays.
    before: Vec<Arc<K>>,
}

impl<K: Kind> Touched<K> {
    /// What an event tells of that the store has taken up.
    fn by(&mut self, event: Event<K>) -> Vec<Arc<K>> {
        match event {
            Event::Apply(object) | Event::Delete(object) => vec![Arc::new(object)],
            Event::Init => {
                self.before = self.store.state();
                Vec::new()
            }
            // The store shows nothing of it before all of it is there.
            Event::InitApply(_) => Vec::new(),
            Event::InitDone => {
                let mut touched = mem::take(&mut self.before);
                touched.retain(|before| !self.is_there(before));
                touched.extend(self.store.state());
                touched
            }
        }
    }

    fn is_there(&self, before: &K) -> bool {
        let now = self.store.get(&ObjectRef::from_obj(before));
        now.is_some_and(|now| now.meta().uid == before.meta().uid)
    }
}

/// What a watch of a kind tells but for its failures. It begins anew by itself, and a controller that hears of a
/// failure would let all its watches wait.
pub fn by_itself<T: Send + 'static>(
    kind: &str,
    metrics: &ReconcileMetrics,
    told: impl Stream<Item = Result<T, watcher::Error>> + Send + 'static,
) -> BoxStream<'static, T> {
    let (kind, metrics) = (kind.to_owned(), metrics.clone());
    let told = told.filter_map(move |told| {
        let told = told.inspect_err(|error| {
            tracing::warn!(of = kind, error = chain(error), "watch interrupted");
            metrics.watch_failed(&kind);
        });
        future::ready(told.ok())
    });
    told.boxed()
}

fn note<K>(failing: &AtomicBool, event: &Result<Event<K>, watcher::Error>) {
    match event {
        // A list begins, which may fail.
        Ok(Event::Init) => {}
        Ok(Event::InitApply(_) | Event::InitDone | Event::Apply(_) | Event::Delete(_)) => {
            failing.store(false, Ordering::Relaxed);
        }
        Err(_) => failing.store(true, Ordering::Relaxed),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;
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

    #[test]
    fn while_the_watch_fails_nothing_is_known() {
        let kept = Kept::<ConfigMap>::default();
        let mut writer = kept.writer.lock().take().unwrap();
        let mut tell = |event| {
            if let Ok(event) = &event {
                writer.apply_watcher_event(event);
            }
            note(&kept.failing, &event);
        };
        tell(Ok(Event::Init));
        tell(Ok(Event::InitApply(config_map("shop", "a"))));
        tell(Ok(Event::InitDone));
        assert!(kept.is_complete() && kept.get("shop", "a").is_some());
        tell(Err(watcher::Error::NoResourceVersion));
        assert!(!kept.is_complete() && kept.get("shop", "a").is_none());
        tell(Ok(Event::Init));
        assert!(!kept.is_complete(), "its list may fail, too");
        tell(Ok(Event::InitDone));
        assert!(kept.is_complete());
    }

    #[test]
    fn a_watch_that_begins_anew_tells_of_what_has_gone_meanwhile() {
        let (store, mut writer) = reflector::store();
        let mut touched = Touched { store: store.clone(), before: Vec::new() };
        let mut tell = |event: Event<ConfigMap>| {
            writer.apply_watcher_event(&event);
            let mut names: Vec<_> =
                touched.by(event).iter().map(|found| found.name_any()).collect();
            names.sort();
            (names, store.len())
        };
        let told = |names: &[&str], kept| {
            (names.iter().copied().map(str::to_owned).collect::<Vec<_>>(), kept)
        };
        let nothing = |kept| told(&[], kept);
        assert_eq!(tell(Event::Init), nothing(0));
        assert_eq!(tell(Event::InitApply(config_map("shop", "a"))), nothing(0));
        assert_eq!(tell(Event::InitApply(config_map("shop", "b"))), nothing(0));
        assert_eq!(tell(Event::InitDone), told(&["a", "b"], 2));
        // It is interrupted, and "a" goes before it is there again; its first list fails half-way.
        assert_eq!(tell(Event::Init), nothing(2));
        assert_eq!(tell(Event::InitApply(config_map("shop", "b"))), nothing(2));
        assert_eq!(tell(Event::Init), nothing(2));
        assert_eq!(tell(Event::InitApply(config_map("shop", "b"))), nothing(2));
        assert_eq!(tell(Event::InitApply(config_map("shop", "c"))), nothing(2));
        assert_eq!(tell(Event::InitDone), told(&["a", "b", "c"], 2));
        assert_eq!(tell(Event::Delete(config_map("shop", "c"))), told(&["c"], 1));
    }

    #[tokio::test]
    async fn the_failures_of_a_watch_stay_with_it() {
        let told = [
            Err(watcher::Error::NoResourceVersion),
            Ok(config_map("shop", "a")),
            Err(watcher::Error::NoResourceVersion),
        ];
        let mut registry = Registry::default();
        let metrics = ReconcileMetrics::register(&mut registry);
        let heard = by_itself("ConfigMap", &metrics, stream::iter(told));
        assert_eq!(heard.collect::<Vec<_>>().await, [config_map("shop", "a")]);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("watch_failures_total{kind=\"ConfigMap\"} 2"), "{text}");
    }
}
