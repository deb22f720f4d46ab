//! Finds out when the replicas of a gateway have so different numbers of subscribers that those with more are to
//! send some away.
//!
//! # Laws
//!
//! - Nobody is sent away while a replica is missing, leaving or silent: the others' numbers are about to change.
//! - What replicas are asked for is asked for once, for the time of the window; then it is left alone for as
//!   long again, so that subscribers have arrived elsewhere before anybody counts anew.

use std::collections::HashMap;
use std::time::Duration;

use kube::ResourceExt;
use parking_lot::Mutex;
use weir_crds::names::Share;
use weir_crds::v1alpha1::Rebalance;
use weir_slo::Subscribers;

use super::observe::{Observed, Report};
use crate::context::Notice;

/// A replica has far more than its share when it has more by this many hundredths.
const TOLERANCE: u64 = 25;
/// Fewer subscribers than this are not worth a reconnection.
const WORTHWHILE: u64 = 20;
/// What was asked for is remembered for that long: longer than the longest window and its pause.
const FORGOTTEN: u64 = 3_600;

/// What the replicas of each pipeline were asked for last.
#[derive(Debug, Default)]
pub(super) struct Shares(Mutex<HashMap<String, Share>>);

/// What the replicas are to come down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rebalancing {
    /// How many connections each may keep, and until when.
    pub(super) share: Share,
    /// How many the replicas with the fewest and the most have, where that was found out just now.
    pub(super) begins: Option<(u64, u64)>,
}

impl Shares {
    /// What the replicas are to come down to, in the second `now`; `None` where they are left alone.
    pub(super) fn decide(&self, observed: &Observed, now: u64) -> Option<Rebalancing> {
        let gateway = observed.pipeline.spec.placement.gateway.as_ref()?;
        let Rebalance { window } = gateway.rebalance.as_ref()?;
        let window = window.millis().div_ceil(1_000);
        let mut told = self.0.lock();
        told.retain(|_, share| now < share.until.saturating_add(FORGOTTEN));
        let uid = observed.pipeline.uid().unwrap_or_default();
        match told.get(&uid) {
            Some(share) if now < share.until => {
                return Some(Rebalancing { share: *share, begins: None });
            }
            Some(share) if now < share.until.saturating_add(window) => return None,
            Some(_) | None => {}
        }
        let connections = connections(observed)?;
        let fair = excessive(&connections)?;
        let share = Share { connections: fair, until: now.saturating_add(window) };
        told.insert(uid, share);
        let range = (connections.iter().min().copied()?, connections.iter().max().copied()?);
        Some(Rebalancing { share, begins: Some(range) })
    }
}

/// How many subscribers each replica has; `None` where that is not known of all, or about to change.
fn connections(observed: &Observed) -> Option<Vec<u64>> {
    let wanted = usize::try_from(observed.wanted_replicas()?).ok()?;
    let settled = observed.pods.len() == wanted && observed.replicas.len() == wanted;
    let count = |report: &Report| match report {
        Report::Serving(sample) => {
            let Subscribers { sse, websocket } = sample.subscribers;
            Some(sse.saturating_add(websocket))
        }
        Report::NotServing | Report::Silent(_) => None,
    };
    settled
        .then(|| observed.replicas.iter().map(|replica| count(&replica.report)).collect())
        .flatten()
}

/// The fair share, where a replica has far more than that.
fn excessive(connections: &[u64]) -> Option<u64> {
    let all: u64 = connections.iter().fold(0, |all, one| all.saturating_add(*one));
    let fair = all.div_ceil(u64::try_from(connections.len()).ok().filter(|count| *count > 1)?);
    let most = connections.iter().max().copied()?;
    let far = most.saturating_mul(100) > fair.saturating_mul(100 + TOLERANCE);
    (far && most.saturating_sub(fair) >= WORTHWHILE).then_some(fair)
}

/// The Event about a rebalancing that begins.
pub(super) fn begun(rebalancing: &Rebalancing, window: Duration) -> Option<Notice> {
    let Rebalancing { share, begins } = rebalancing;
    let (fewest, most) = (*begins)?;
    let note = format!(
        "replicas have from {fewest} to {most} subscribers: those with more than {} send some of them away \
         within {} s",
        share.connections,
        window.as_secs()
    );
    Some(Notice { warning: false, reason: "Rebalancing".to_owned(), note })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pipeline::testing::running;
    use crate::testing::gateway;

    /// A gateway whose replicas have so many subscribers.
    fn observed(connections: &[u64]) -> Observed {
        let names: Vec<_> = (0..connections.len()).map(|n| format!("g-{n}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let mut pipeline = gateway("orders", i32::try_from(connections.len()).unwrap());
        pipeline.spec.placement.gateway.as_mut().unwrap().rebalance =
            serde_json::from_value(json!({ "window": "30s" })).unwrap();
        let mut observed = running(&pipeline, &names);
        for (replica, connections) in observed.replicas.iter_mut().zip(connections) {
            let Report::Serving(sample) = &mut replica.report else { panic!("{replica:?}") };
            sample.subscribers = Subscribers { sse: *connections, websocket: 0 };
        }
        observed
    }

    #[test]
    fn a_replica_with_far_more_than_its_share_is_excessive() {
        for (connections, fair) in [
            (&[300, 0][..], Some(150)),
            (&[100, 100, 100], None),
            (&[125, 75], None),
            (&[126, 74], Some(100)),
            // A quarter more, and yet not worth it.
            (&[30, 10], None),
            (&[1_000], None),
            (&[], None),
        ] {
            assert_eq!(excessive(connections), fair, "{connections:?}");
        }
    }

    #[test]
    fn it_is_asked_for_once_then_left_alone_and_then_looked_at_anew() {
        let (shares, unequal) = (Shares::default(), observed(&[300, 0]));
        let begun = shares.decide(&unequal, 1_000).unwrap();
        let share = Share { connections: 150, until: 1_030 };
        assert_eq!(begun, Rebalancing { share, begins: Some((0, 300)) });
        let still = Rebalancing { share, begins: None };
        assert_eq!(shares.decide(&unequal, 1_029), Some(still));
        assert_eq!(shares.decide(&unequal, 1_030), None);
        assert_eq!(shares.decide(&unequal, 1_059), None);
        assert_eq!(shares.decide(&observed(&[160, 140]), 1_060), None);
        assert_eq!(shares.decide(&unequal, 1_060).unwrap().share.until, 1_090);
    }

    #[test]
    fn nothing_is_asked_for_while_a_replica_is_missing_or_silent_or_nobody_wants_it() {
        let shares = Shares::default();
        let mut missing = observed(&[300, 0]);
        missing.pods.pop();
        assert_eq!(shares.decide(&missing, 1), None);
        let mut silent = observed(&[300, 0]);
        silent.replicas[1].report = Report::Silent("refused".to_owned());
        assert_eq!(shares.decide(&silent, 1), None);
        let mut unasked = observed(&[300, 0]);
        unasked.pipeline.spec.placement.gateway.as_mut().unwrap().rebalance = None;
        assert_eq!(shares.decide(&unasked, 1), None);
    }
}
