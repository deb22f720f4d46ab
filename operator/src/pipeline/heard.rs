//! Remembers how new the pods are that the watch has told of, so that a list of them shows what led to it: another API
//! server than the one that told can be behind.

use std::sync::atomic::{AtomicU64, Ordering};

use kube::Resource;
use kube::api::{ListParams, VersionMatch};
use kube::runtime::watcher::Event;

/// The newest version that was told; 0 before any was.
#[derive(Debug, Default)]
pub(super) struct Heard(AtomicU64);

impl Heard {
    /// Takes note of what was told.
    pub(super) fn hear<K: Resource>(&self, event: &Event<K>) {
        match event {
            // All are told anew: the numbers may have begun anew, too.
            Event::Init => self.0.store(0, Ordering::Relaxed),
            Event::InitApply(object) | Event::Apply(object) | Event::Delete(object) => {
                let version = object.meta().resource_version.as_ref();
                let version = version.and_then(|version| version.parse().ok()).unwrap_or_default();
                self.0.fetch_max(version, Ordering::Relaxed);
            }
            Event::InitDone => {}
        }
    }

    /// Parameters of a list that is answered from the API server's cache, once that is as new as what was told.
    pub(super) fn at_least(&self) -> ListParams {
        match self.0.load(Ordering::Relaxed) {
            0 => ListParams::default().match_any(),
            version => {
                ListParams::default().matching(VersionMatch::NotOlderThan).at(&version.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    #[test]
    fn a_list_is_as_new_as_the_newest_that_was_told() {
        let heard = Heard::default();
        let at = || heard.at_least().resource_version.unwrap();
        let pod = |version: &str| {
            let mut pod = Pod::default();
            pod.metadata.resource_version = Some(version.to_owned());
            pod
        };
        assert_eq!(at(), "0");
        heard.hear(&Event::InitApply(pod("7")));
        heard.hear(&Event::<Pod>::InitDone);
        heard.hear(&Event::Apply(pod("12")));
        heard.hear(&Event::Delete(pod("9")));
        assert_eq!(at(), "12");
        assert_eq!(heard.at_least().version_match, Some(VersionMatch::NotOlderThan));
        heard.hear(&Event::<Pod>::Init);
        heard.hear(&Event::InitApply(pod("3")));
        assert_eq!(at(), "3", "the API server's store was restored");
    }
}
