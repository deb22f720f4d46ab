//! Finds out when the replicas of a gateway have so different numbers of subscribers that those with more are to
//! send some away.
//!
//! # Laws
//!
//! - Nobody is sent away while a replica is missing, leaving or silent: the others' numbers are about to change.
//!   What has begun ends there.
//! - What replicas are asked for is asked for once, for the time of the window; then it is left alone for as
//!   long again, so that subscribers have arrived elsewhere before anybody counts anew.
//! - What was asked for last stands in an annotation of the ConfigMap, so that another leader goes on from it; this
//!   one remembers it when it has been written, not before.

use std::collections::HashMap;
use std::time::Duration;

use kube::ResourceExt;
use parking_lot::Mutex;
use weir_crds::names::{Share, annotation};
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

/// What the replicas are to come down to, or were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rebalancing {
    /// How many connections each may keep, and until when.
    pub(super) share: Share,
    /// Whether they are to now.
    pub(super) is_on: bool,
    /// How many the replicas with the fewest and the most have, where that was found out just now.
    pub(super) begins: Option<(u64, u64)>,
}

impl Shares {
    /// What the replicas are to come down to, in the second `now`, or were before; `None` where there never was
    /// anything, or nobody wants it.
    pub(super) fn decide(&self, observed: &Observed, now: u64) -> Option<Rebalancing> {
        let gateway = observed.pipeline.spec.placement.gateway.as_ref()?;
        let Rebalance { window } = gateway.rebalance.as_ref()?;
        let window = window.millis().div_ceil(1_000);
        let last = self.last(observed);
        let connections = connections(observed);
        match (last, &connections) {
            (Some(share), Some(_)) if now < share.until => {
                return Some(Rebalancing { share, is_on: true, begins: None });
            }
            (Some(share), None) if now < share.until => {
                let ended = Share { until: now, ..share };
                return Some(Rebalancing { share: ended, is_on: false, begins: None });
            }
            (Some(share), _) if now < share.until.saturating_add(window) => {
                return Some(Rebalancing { share, is_on: false, begins: None });
            }
            (Some(_) | None, _) => {}
        }
        let begun = connections.and_then(|connections| begin(&connections, now, window));
        let left_alone = last.map(|share| Rebalancing { share, is_on: false, begins: None });
        begun.or(left_alone)
    }

    /// Takes note that what was decided stands in the ConfigMap.
    pub(super) fn note(&self, observed: &Observed, now: u64) {
        let uid = observed.pipeline.uid().unwrap_or_default();
        let mut told = self.0.lock();
        told.retain(|_, share| now < share.until.saturating_add(FORGOTTEN));
        match &observed.rebalancing {
            Some(Rebalancing { share, .. }) => told.insert(uid, *share),
            None => told.remove(&uid),
        };
    }

    /// What was asked for last, by this leader or an earlier one.
    fn last(&self, observed: &Observed) -> Option<Share> {
        let uid = observed.pipeline.uid().unwrap_or_default();
        // A watch may not have told yet of what was written here.
        let told = self.0.lock().get(&uid).copied();
        told.or_else(|| {
            let noted = observed.existing.config_map.as_ref()?.metadata.annotations.as_ref()?;
            noted.get(annotation::LAST_SHARE)?.parse().ok()
        })
    }
}

/// What begins now, where a replica has far more than its share.
fn begin(connections: &[u64], now: u64, window: u64) -> Option<Rebalancing> {
    let share = Share { connections: excessive(connections)?, until: now.saturating_add(window) };
    let range = (connections.iter().min().copied()?, connections.iter().max().copied()?);
    Some(Rebalancing { share, is_on: true, begins: Some(range) })
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
    let Rebalancing { share, is_on: _, begins } = rebalancing;
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
    use k8s_openapi::api::core::v1::ConfigMap;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
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

    /// What is decided, and done.
    fn decided(shares: &Shares, observed: &mut Observed, now: u64) -> Option<Rebalancing> {
        observed.rebalancing = shares.decide(observed, now);
        shares.note(observed, now);
        observed.rebalancing
    }

    const SHARE: Share = Share { connections: 150, until: 1_030 };

    const fn on(share: Share) -> Option<Rebalancing> {
        Some(Rebalancing { share, is_on: true, begins: None })
    }

    const fn off(share: Share) -> Option<Rebalancing> {
        Some(Rebalancing { share, is_on: false, begins: None })
    }

    #[test]
    fn it_is_asked_for_once_then_left_alone_and_then_looked_at_anew() {
        let (shares, mut unequal) = (Shares::default(), observed(&[300, 0]));
        let begun = decided(&shares, &mut unequal, 1_000).unwrap();
        assert_eq!(begun, Rebalancing { share: SHARE, is_on: true, begins: Some((0, 300)) });
        assert_eq!(decided(&shares, &mut unequal, 1_029), on(SHARE));
        assert_eq!(decided(&shares, &mut unequal, 1_030), off(SHARE));
        assert_eq!(decided(&shares, &mut unequal, 1_059), off(SHARE));
        assert_eq!(decided(&shares, &mut observed(&[160, 140]), 1_060), off(SHARE));
        assert_eq!(decided(&shares, &mut unequal, 1_060).unwrap().share.until, 1_090);
    }

    #[test]
    fn another_leader_goes_on_from_what_the_config_map_says() {
        let mut unequal = observed(&[300, 0]);
        let noted = [(annotation::LAST_SHARE.to_owned(), SHARE.to_string())];
        let metadata = ObjectMeta { annotations: Some(noted.into()), ..ObjectMeta::default() };
        let config_map = ConfigMap { metadata, ..ConfigMap::default() };
        unequal.existing.config_map = Some(config_map);
        for (now, expected) in [(1_029, on(SHARE)), (1_059, off(SHARE))] {
            assert_eq!(Shares::default().decide(&unequal, now), expected, "{now}");
        }
        assert_eq!(Shares::default().decide(&unequal, 1_060).unwrap().share.until, 1_090);
        // What this leader has written since counts for more.
        let shares = Shares::default();
        assert_eq!(decided(&shares, &mut unequal, 1_060).unwrap().share.until, 1_090);
        assert!(shares.decide(&unequal, 1_061).unwrap().is_on);
    }

    #[test]
    fn what_has_begun_ends_where_a_replica_is_missed_and_does_not_begin_again_at_once() {
        for missed in [
            |observed: &mut Observed| drop(observed.pods.pop()),
            |observed: &mut Observed| {
                observed.replicas[1].report = Report::Silent("refused".to_owned());
            },
        ] {
            let (shares, mut unequal) = (Shares::default(), observed(&[300, 0]));
            decided(&shares, &mut unequal, 1_000).unwrap();
            let mut without = unequal.clone();
            missed(&mut without);
            let ended = Share { until: 1_010, ..SHARE };
            assert_eq!(decided(&shares, &mut without, 1_010), off(ended));
            assert_eq!(decided(&shares, &mut unequal, 1_011), off(ended));
            assert_eq!(decided(&shares, &mut unequal, 1_040).unwrap().share.until, 1_070);
        }
    }

    #[test]
    fn what_could_not_be_written_has_not_begun() {
        let (shares, unequal) = (Shares::default(), observed(&[300, 0]));
        assert!(shares.decide(&unequal, 1_000).unwrap().begins.is_some());
        assert!(shares.decide(&unequal, 1_001).unwrap().begins.is_some());
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
