//! Tells a change of an SLO's status alone from everything else that happens to an SLO.
//!
//! Statuses change all the time and concern no pipeline. A filter by generation would do, were it not
//! that an SLO is deleted with the generation that it had; but with the status that it had, too.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use kube::ResourceExt;
use parking_lot::Mutex;
use weir_crds::v1alpha1::StreamSLO;

/// What was last seen of each SLO.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    seen: Mutex<HashMap<String, Seen>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    generation: Option<i64>,
    status: u64,
}

impl Statuses {
    /// Whether nothing but the status differs from what was last seen.
    pub(super) fn is_mere_status(&self, slo: &StreamSLO) -> bool {
        let uid = slo.uid().unwrap_or_default();
        let now = Seen { generation: slo.metadata.generation, status: status(slo) };
        let mut seen = self.seen.lock();
        let Some(before) = seen.remove(&uid) else {
            seen.insert(uid, now);
            return false;
        };
        // Nothing that is noted differs: it was deleted, so it is forgotten; or its labels changed, and
        // the next change of its status counts for one too many.
        if before == now {
            return false;
        }
        let is_mere_status = before.generation == now.generation;
        seen.insert(uid, now);
        is_mere_status
    }
}

fn status(slo: &StreamSLO) -> u64 {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(&slo.status).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use weir_crds::v1alpha1::StreamSLOStatus;

    use super::*;
    use crate::testing::slo;

    fn with(generation: i64, observed: i64) -> StreamSLO {
        let mut slo = slo("speed", "orders");
        slo.metadata.generation = Some(generation);
        let status =
            StreamSLOStatus { observed_generation: Some(observed), ..StreamSLOStatus::default() };
        slo.status = Some(status);
        slo
    }

    #[test]
    fn only_a_change_of_the_status_alone_is_one() {
        let statuses = Statuses::default();
        let is_mere = |generation, observed| statuses.is_mere_status(&with(generation, observed));
        assert!(!is_mere(1, 0), "created");
        assert!(is_mere(1, 1), "status");
        assert!(is_mere(1, 2), "status again");
        assert!(!is_mere(2, 2), "spec");
        assert!(!is_mere(3, 3), "spec and status at once");
        assert!(!is_mere(3, 3), "deleted");
        assert!(statuses.seen.lock().is_empty());
    }
}
