//! Decides what a candidate does with the lease that it sees. Pure: time comes in.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

use super::Timing;

/// A candidate's view of the lease.
#[derive(Debug)]
pub(super) struct Candidate {
    identity: String,
    timing: Timing,
    seen: Option<Seen>,
}

/// A state of the lease, and when it was first seen.
#[derive(Debug)]
struct Seen {
    spec: LeaseSpec,
    since: Instant,
}

/// What to do with the lease.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// There is none: create it with this spec.
    Create(LeaseSpec),
    /// Write this spec over the version that was read.
    Replace(LeaseSpec),
    /// Another candidate holds it.
    Wait,
}

impl Candidate {
    pub(super) const fn new(identity: String, timing: Timing) -> Self {
        Self { identity, timing, seen: None }
    }

    /// Takes note of the lease as read at `now`, and decides. `wall` is for people who read the lease.
    pub(super) fn decide(&mut self, found: Option<&Lease>, now: Instant, wall: Timestamp) -> Step {
        let Some(lease) = found else {
            self.seen = None;
            return Step::Create(self.spec(None, wall));
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let since = self.note(&spec, now);
        if self.is_held_by_other(&spec) && now.duration_since(since) < self.timing.lease {
            return Step::Wait;
        }
        Step::Replace(self.spec(Some(&spec), wall))
    }

    /// The spec that releases the lease, if this candidate holds it.
    pub(super) fn release(&self, found: &Lease, wall: Timestamp) -> Option<LeaseSpec> {
        let spec = found.spec.as_ref().filter(|spec| self.is_mine(spec))?;
        Some(LeaseSpec {
            holder_identity: None,
            renew_time: Some(MicroTime(wall)),
            lease_duration_seconds: Some(1),
            ..spec.clone()
        })
    }

    /// When this state of the lease was first seen.
    fn note(&mut self, spec: &LeaseSpec, now: Instant) -> Instant {
        match &self.seen {
            Some(seen) if seen.spec == *spec => seen.since,
            Some(_) | None => {
                self.seen = Some(Seen { spec: spec.clone(), since: now });
                now
            }
        }
    }

    fn is_mine(&self, spec: &LeaseSpec) -> bool {
        spec.holder_identity.as_deref() == Some(&self.identity)
    }

    fn is_held_by_other(&self, spec: &LeaseSpec) -> bool {
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        !holder.is_empty() && holder != self.identity
    }

    /// The lease as this candidate holds it from now on.
    fn spec(&self, before: Option<&LeaseSpec>, wall: Timestamp) -> LeaseSpec {
        let mine = before.filter(|spec| self.is_mine(spec));
        let transitions = before.map_or(0, |spec| spec.lease_transitions.unwrap_or(0));
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.timing.lease.as_secs()).ok(),
            renew_time: Some(MicroTime(wall)),
            acquire_time: mine.and_then(|spec| spec.acquire_time.clone()).or(Some(MicroTime(wall))),
            lease_transitions: Some(match (before, mine) {
                (Some(_), None) => transitions.saturating_add(1),
                (Some(_), Some(_)) | (None, _) => transitions,
            }),
            ..LeaseSpec::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn candidate() -> Candidate {
        Candidate::new("me".to_owned(), Timing::default())
    }

    fn wall(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn held_by(holder: &str, renewed: i64) -> Lease {
        let spec = LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            renew_time: Some(MicroTime(wall(renewed))),
            acquire_time: Some(MicroTime(wall(1))),
            lease_transitions: Some(4),
            ..LeaseSpec::default()
        };
        Lease { spec: Some(spec), ..Lease::default() }
    }

    #[test]
    fn a_lease_that_is_not_there_is_created() {
        let step = candidate().decide(None, Instant::now(), wall(9));
        let Step::Create(spec) = step else { panic!("{step:?}") };
        assert_eq!(spec.holder_identity.as_deref(), Some("me"));
        assert_eq!((spec.lease_duration_seconds, spec.lease_transitions), (Some(15), Some(0)));
    }

    #[test]
    fn a_lease_of_another_is_waited_for_however_old_its_time_stamp_looks() {
        let mut candidate = candidate();
        let now = Instant::now();
        let lease = held_by("other", 0);
        assert_eq!(candidate.decide(Some(&lease), now, wall(999_999)), Step::Wait);
        assert_eq!(candidate.decide(Some(&lease), now + 14 * SECOND, wall(999_999)), Step::Wait);
    }

    #[test]
    fn a_lease_that_was_not_renewed_for_its_whole_duration_is_taken_over() {
        let mut candidate = candidate();
        let now = Instant::now();
        let lease = held_by("other", 0);
        candidate.decide(Some(&lease), now, wall(0));
        let step = candidate.decide(Some(&lease), now + 15 * SECOND, wall(20));
        let Step::Replace(spec) = step else { panic!("{step:?}") };
        assert_eq!(spec.lease_transitions, Some(5));
        assert_eq!(spec.acquire_time, Some(MicroTime(wall(20))));
    }

    #[test]
    fn every_renewal_that_is_seen_begins_the_wait_anew() {
        let mut candidate = candidate();
        let now = Instant::now();
        candidate.decide(Some(&held_by("other", 0)), now, wall(0));
        candidate.decide(Some(&held_by("other", 1)), now + 14 * SECOND, wall(0));
        let step = candidate.decide(Some(&held_by("other", 1)), now + 28 * SECOND, wall(0));
        assert_eq!(step, Step::Wait);
    }

    #[test]
    fn a_renewal_keeps_the_acquisition_and_the_transitions() {
        let step = candidate().decide(Some(&held_by("me", 2)), Instant::now(), wall(30));
        let Step::Replace(spec) = step else { panic!("{step:?}") };
        assert_eq!(spec.acquire_time, Some(MicroTime(wall(1))));
        assert_eq!(spec.renew_time, Some(MicroTime(wall(30))));
        assert_eq!(spec.lease_transitions, Some(4));
    }

    #[test]
    fn a_released_lease_is_taken_at_once_and_only_the_holder_releases() {
        let me = candidate();
        assert_eq!(me.release(&held_by("other", 1), wall(2)), None);
        let released = me.release(&held_by("me", 1), wall(2)).unwrap();
        let lease = Lease { spec: Some(released), ..Lease::default() };
        let mut next = Candidate::new("next".to_owned(), Timing::default());
        let step = next.decide(Some(&lease), Instant::now(), wall(2));
        assert!(matches!(step, Step::Replace(_)), "{step:?}");
    }
}
