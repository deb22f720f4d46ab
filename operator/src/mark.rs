//! Tells whether an object still is as it was written, whatever has become of its status since.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// What differs as soon as somebody has changed what was written, or has made the object anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    uid: Option<String>,
    changes: Changes,
    /// Of the labels, annotations and owners, which no generation counts.
    metadata: u64,
}

/// What counts the changes of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Changes {
    /// Those of what is asked for: the API server counts no status.
    Generation(i64),
    /// All of them: the kind has no generation, as a ConfigMap, a Service and a Secret have none.
    Version(Option<String>),
}

impl Changes {
    /// API servers number the writes of a kind.
    fn number(&self) -> Option<u64> {
        match self {
            Self::Generation(_) | Self::Version(None) => None,
            Self::Version(Some(version)) => version.parse().ok(),
        }
    }
}

impl Mark {
    /// The mark of an object that was written as `wanted`: other labels and annotations than it has are somebody
    /// else's.
    #[must_use]
    pub fn of(found: &ObjectMeta, wanted: &ObjectMeta) -> Self {
        let changes = match found.generation {
            Some(generation) => Changes::Generation(generation),
            None => Changes::Version(found.resource_version.clone()),
        };
        let mut hasher = DefaultHasher::new();
        hash(found.labels.as_ref(), wanted.labels.as_ref(), &mut hasher);
        hash(found.annotations.as_ref(), wanted.annotations.as_ref(), &mut hasher);
        // Each of them can be written.
        serde_json::to_string(&found.owner_references).unwrap_or_default().hash(&mut hasher);
        found.deletion_timestamp.is_some().hash(&mut hasher);
        Self { uid: found.uid.clone(), changes, metadata: hasher.finish() }
    }

    /// Whether it tells of a change that the other one, of before, does not know of yet; one that a watch has still to
    /// tell of is older.
    #[must_use]
    pub fn is_after(&self, before: &Self) -> bool {
        if self.uid != before.uid {
            return true;
        }
        match (&self.changes, &before.changes) {
            (Changes::Generation(found), Changes::Generation(known)) => {
                found > known || (found == known && self.metadata != before.metadata)
            }
            (found, known) => found.number() > known.number(),
        }
    }

    /// Whether it is a mark of this very object, whatever has become of that.
    #[must_use]
    pub fn is_of(&self, found: &ObjectMeta) -> bool {
        self.uid.is_some() && self.uid == found.uid
    }
}

type Pairs = BTreeMap<String, String>;

/// What stands under the keys that are wanted.
fn hash(found: Option<&Pairs>, wanted: Option<&Pairs>, hasher: &mut DefaultHasher) {
    for key in wanted.into_iter().flat_map(BTreeMap::keys) {
        (key, found.and_then(|found| found.get(key))).hash(hasher);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn wanted() -> Value {
        json!({
            "name": "orders", "labels": { "weir.dev/pipeline": "orders" }, "annotations": { "note": "a" },
            "ownerReferences": [{ "apiVersion": "weir.dev/v1alpha1", "kind": "StreamPipeline", "name": "orders",
                "uid": "p", "controller": true }],
        })
    }

    /// What the API server holds of it, with this besides.
    fn mark(change: &Value) -> Mark {
        let mut found = wanted();
        let standing = json!({ "uid": "a", "resourceVersion": "7", "generation": 1 });
        json_patch::merge(&mut found, &standing);
        json_patch::merge(&mut found, change);
        let metadata = |value| serde_json::from_value::<ObjectMeta>(value).unwrap();
        Mark::of(&metadata(found), &metadata(wanted()))
    }

    #[test]
    fn a_status_and_what_others_note_are_no_change() {
        let written = mark(&json!({}));
        for change in [
            json!({ "resourceVersion": "8" }),
            json!({ "annotations": { "deployment.kubernetes.io/revision": "1" } }),
            json!({ "labels": { "team": "a" } }),
        ] {
            assert_eq!(mark(&change), written, "{change}");
        }
    }

    #[test]
    fn what_somebody_does_to_what_was_written_is_a_change() {
        let written = mark(&json!({}));
        for change in [
            json!({ "generation": 2 }),
            json!({ "uid": "b" }),
            json!({ "labels": { "weir.dev/pipeline": "other" } }),
            json!({ "labels": null }),
            json!({ "annotations": { "note": null } }),
            json!({ "ownerReferences": null }),
            json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" }),
        ] {
            assert_ne!(mark(&change), written, "{change}");
        }
    }

    #[test]
    fn a_change_is_after_what_was_known_and_what_a_watch_tells_late_is_not() {
        let known = mark(&json!({ "generation": 2 }));
        let is_after = |change: &Value| mark(change).is_after(&known);
        assert!(is_after(&json!({ "generation": 3 })));
        assert!(is_after(&json!({ "generation": 2, "labels": null })));
        assert!(is_after(&json!({ "uid": "b" })));
        assert!(!is_after(&json!({ "generation": 2 })));
        assert!(!is_after(&json!({ "generation": 1, "labels": null })));
        let at = |version: &str| mark(&json!({ "generation": null, "resourceVersion": version }));
        assert!(at("10").is_after(&at("9")));
        assert!(!at("9").is_after(&at("10")));
        assert!(!at("x").is_after(&at("10")), "what can't be compared is no reproach");
    }

    #[test]
    fn a_kind_without_generation_is_told_by_its_version() {
        let at = |version: &str| mark(&json!({ "generation": null, "resourceVersion": version }));
        assert_eq!(at("7"), at("7"));
        assert_ne!(at("7"), at("8"));
    }
}
