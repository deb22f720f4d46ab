//! Remembers what this replica has written of a status, so that what a watch has told is used where it isn't
//! behind that, and the API server is asked only where it is.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;
use tokio::time::Instant;

/// A watch tells of a write within a second; one that has not for so long never will, as the object is gone, or the
/// numbers have begun anew.
const FORGOTTEN: Duration = Duration::from_mins(10);

/// The versions of the objects whose last write no watch has told of yet, by uid.
#[derive(Debug, Default)]
pub struct Written(Mutex<HashMap<String, Write>>);

#[derive(Debug, Clone, Copy)]
struct Write {
    version: u64,
    at: Instant,
}

impl Written {
    /// Notes what came of a write.
    pub fn note(&self, metadata: &ObjectMeta) {
        if let Some(uid) = &metadata.uid {
            // A version that is no number can't be compared: the object is asked for each time.
            let version = number(metadata).unwrap_or(u64::MAX);
            let at = Instant::now();
            let mut written = self.0.lock();
            written.retain(|_, write| at.duration_since(write.at) < FORGOTTEN);
            written.insert(uid.clone(), Write { version, at });
        }
    }

    /// Whether what a watch tells of an object is this replica's own last write, which is no news to it.
    pub fn is_own(&self, metadata: &ObjectMeta) -> bool {
        let Some(uid) = &metadata.uid else { return false };
        let mut written = self.0.lock();
        let is_own = written.get(uid).is_some_and(|write| Some(write.version) == number(metadata));
        if is_own {
            written.remove(uid);
        }
        is_own
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, metadata: &ObjectMeta) {
        if let Some(uid) = &metadata.uid {
            self.0.lock().remove(uid);
        }
    }

    /// Whether this is older than what this replica has written. API servers number the writes of a kind.
    pub fn is_behind(&self, metadata: &ObjectMeta) -> bool {
        let Some(uid) = &metadata.uid else { return true };
        let mut written = self.0.lock();
        let Some(write) = written.get(uid) else { return false };
        let behind = write.at.elapsed() < FORGOTTEN
            && number(metadata).is_none_or(|number| number < write.version);
        if !behind {
            written.remove(uid);
        }
        behind
    }
}

fn number(metadata: &ObjectMeta) -> Option<u64> {
    metadata.resource_version.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(version: &str) -> ObjectMeta {
        ObjectMeta {
            uid: Some("a".to_owned()),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn what_was_told_is_behind_until_it_is_what_was_written() {
        let written = Written::default();
        assert!(!written.is_behind(&at("7")), "nothing was written");
        written.note(&at("10"));
        assert!(written.is_behind(&at("9")));
        assert!(!written.is_behind(&at("11")));
        assert!(written.0.lock().is_empty());
    }

    #[test]
    fn only_the_last_of_its_own_writes_is_no_news() {
        let written = Written::default();
        assert!(!written.is_own(&at("10")), "nothing was written");
        written.note(&at("10"));
        assert!(!written.is_own(&at("9")), "somebody wrote before");
        assert!(written.is_own(&at("10")));
        assert!(!written.is_behind(&at("10")));
        written.note(&at("12"));
        assert!(!written.is_own(&at("13")), "somebody wrote since");
        written.forget(&at("13"));
        assert!(written.0.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_no_watch_tells_of_is_forgotten_in_the_end() {
        let written = Written::default();
        written.note(&at("10"));
        tokio::time::advance(FORGOTTEN).await;
        assert!(!written.is_behind(&at("3")), "the numbers have begun anew");
        written.note(&at("10"));
        tokio::time::advance(FORGOTTEN).await;
        written.note(&ObjectMeta { uid: Some("b".to_owned()), ..at("11") });
        assert_eq!(written.0.lock().len(), 1);
    }

    #[test]
    fn what_can_not_be_compared_is_asked_for() {
        let written = Written::default();
        written.note(&at("x"));
        assert!(written.is_behind(&at("x")));
        assert!(written.is_behind(&ObjectMeta::default()));
    }
}
