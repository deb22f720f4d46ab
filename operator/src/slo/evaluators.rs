//! Keeps the evaluators of every SLO from one evaluation to the next.
//!
//! # Laws
//!
//! - An SLO is known by its uid: one that was made anew under its old name begins anew.
//! - What a sidecar counted is counted once, whoever asks it and however often.
//! - While what is counted stays the same, the counts survive a change of the spec.
//! - An SLO that is gone is forgotten.
//!
//! Nothing here outlives the process: a new one asks the sidecars for all that they remember, which is
//! the last hour.

mod tracked;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

pub(super) use tracked::{Judged, Problem, Subject, Tracked};

/// The evaluators of every SLO.
#[derive(Default)]
pub(super) struct Evaluators {
    slos: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Tracked>>>>,
}

impl Evaluators {
    /// What is kept of the SLO `uid`: nothing yet, if it is new.
    pub(super) fn of(&self, uid: &str) -> Arc<tokio::sync::Mutex<Tracked>> {
        Arc::clone(self.slos.lock().entry(uid.to_owned()).or_default())
    }

    /// Forgets every SLO that is not among `living`, and tells their uids.
    pub(super) fn forget_others(&self, living: &HashSet<String>) -> Vec<String> {
        let mut slos = self.slos.lock();
        let gone: Vec<_> = slos.keys().filter(|uid| !living.contains(*uid)).cloned().collect();
        for uid in &gone {
            slos.remove(uid);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_slo_that_is_gone_is_forgotten_and_the_others_are_kept() {
        let evaluators = Evaluators::default();
        let kept = evaluators.of("kept");
        let gone = evaluators.of("gone");
        assert_eq!(evaluators.forget_others(&HashSet::from(["kept".to_owned()])), ["gone"]);
        assert!(Arc::ptr_eq(&kept, &evaluators.of("kept")));
        assert!(!Arc::ptr_eq(&gone, &evaluators.of("gone")));
    }
}
