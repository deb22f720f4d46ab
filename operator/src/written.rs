//! Remembers what this replica has written of a status, so that what a watch has told is used where it isn't
//! behind that, and the API server is asked only where it is.

use std::collections::HashMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;

/// The versions of the objects whose last write no watch has told of yet, by uid.
#[derive(Debug, Default)]
pub struct Written(Mutex<HashMap<String, u64>>);

impl Written {
    /// Notes what came of a write.
    pub fn note(&self, metadata: &ObjectMeta) {
        if let Some(uid) = &metadata.uid {
            // A version that is no number can't be compared: the object is asked for each time.
            self.0.lock().insert(uid.clone(), number(metadata).unwrap_or(u64::MAX));
        }
    }

    /// Whether this is older than what this replica has written. API servers number the writes of a kind.
    pub fn is_behind(&self, metadata: &ObjectMeta) -> bool {
        let Some(uid) = &metadata.uid else { return true };
        let mut written = self.0.lock();
        let Some(version) = written.get(uid) else { return false };
        let behind = number(metadata).is_none_or(|number| number < *version);
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
    fn what_can_not_be_compared_is_asked_for() {
        let written = Written::default();
        written.note(&at("x"));
        assert!(written.is_behind(&at("x")));
        assert!(written.is_behind(&ObjectMeta::default()));
    }
}
