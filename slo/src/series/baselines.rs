//! Remembers each instance's newest reading, so that only growth is counted.
//!
//! Laws: a baseline only moves forward. What an instance had counted when it was forgotten is never
//! counted again: an unknown instance that started before the last forgotten one was seen may be
//! that one, and then its first reading is only a baseline.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::samples::Snapshot;
use crate::tally::Tally;
use crate::time::{Millis, STEP, Timestamp};

/// After this long without a reading an instance is taken for gone. A network partition of less
/// costs nothing, and a day's rollouts are few enough to remember.
const FORGET_AFTER: Millis = Millis::from_days(1);

/// A jump of the data's time by more than this means that the reader was away, and so proves
/// nothing about the instances that it has not asked yet.
const READER_AWAY: Millis = Millis::from_mins(10);

/// Instances remembered at once: bounds the persisted object where pods restart all the time.
const MOST: usize = 1_024;

/// What a counter grew by, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Growth {
    pub(super) from: Timestamp,
    /// After `from`.
    pub(super) to: Timestamp,
    pub(super) amount: Tally,
}

/// The newest reading of every instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Baselines {
    instances: BTreeMap<String, Baseline>,
    /// When the latest-seen of the forgotten instances was seen.
    forgotten_until: Option<Timestamp>,
    /// The data's time when the reader began, or began again, to ask.
    #[serde(skip)]
    resumed_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Baseline {
    started_at: Timestamp,
    #[serde(flatten)]
    reading: Snapshot,
}

impl Baselines {
    /// What an instance's counter grew by up to a reading that is not after `latest`; nothing when
    /// the reading is not newer than the last one.
    pub(super) fn growth(
        &mut self,
        instance: &str,
        started_at: Timestamp,
        reading: Snapshot,
        latest: Timestamp,
    ) -> Option<Growth> {
        let reading = Snapshot { counts: normal(reading.counts), ..reading };
        if let Some(baseline) = self.instances.get_mut(instance) {
            return baseline.advance(started_at, reading, latest);
        }
        let known = self.forgotten_until.is_some_and(|until| started_at <= until);
        let zero = Snapshot { at: started_at, counts: Counts::ZERO };
        let mut baseline = Baseline { started_at, reading: if known { reading } else { zero } };
        let growth = if known { None } else { baseline.grow(reading) };
        self.instances.insert(instance.to_owned(), baseline);
        growth
    }

    pub(super) fn seen_until(&self, instance: &str) -> Option<Timestamp> {
        self.instances.get(instance).map(|baseline| baseline.reading.at)
    }

    /// Forgets instances that are gone, after the data's time went on from `before` to `head`.
    pub(super) fn forget_the_unseen(&mut self, before: Timestamp, head: Timestamp) {
        if head.saturating_sub(before) > READER_AWAY {
            self.resumed_at = Some(head);
        }
        let resumed_at = *self.resumed_at.get_or_insert(head);
        let gone = |seen: Timestamp| head.saturating_sub(seen.max(resumed_at)) > FORGET_AFTER;
        let forgotten = self.instances.extract_if(.., |_, baseline| gone(baseline.reading.at));
        let mut until = forgotten.map(|(_, baseline)| baseline.reading.at).max();
        while self.instances.len() > MOST {
            until = until.max(self.forget_the_oldest());
        }
        self.forgotten_until = self.forgotten_until.max(until);
    }

    fn forget_the_oldest(&mut self) -> Option<Timestamp> {
        let (oldest, _) = self.instances.iter().min_by_key(|(_, baseline)| baseline.reading.at)?;
        let oldest = oldest.clone();
        self.instances.remove(&oldest).map(|baseline| baseline.reading.at)
    }
}

impl Baseline {
    fn advance(
        &mut self,
        started_at: Timestamp,
        reading: Snapshot,
        latest: Timestamp,
    ) -> Option<Growth> {
        if self.reading.at > latest && reading.counts.delta(self.reading.counts).is_some() {
            // The clocks went back after this baseline was taken: keep its count, not its time. A
            // smaller count is an old reading then, and no restart.
            self.reading.at = reading.at.before(STEP);
        }
        if reading.at <= self.reading.at {
            return None;
        }
        if self.is_restarted(started_at, reading.counts) {
            let at = self.reading.at.max(started_at);
            *self = Self { started_at, reading: Snapshot { at, counts: Counts::ZERO } };
        }
        self.grow(reading)
    }

    fn is_restarted(&self, started_at: Timestamp, counts: Counts) -> bool {
        let later = started_at > self.started_at && started_at > self.reading.at;
        later || counts.delta(self.reading.counts).is_none()
    }

    /// Moves to a reading of the same counter. Good that grew by more than all did, which a reading
    /// torn between two counters can show, waits for the rest of its events.
    fn grow(&mut self, reading: Snapshot) -> Option<Growth> {
        let since = self.reading;
        let grown = normal(reading.counts.delta(since.counts).unwrap_or_default());
        let counts = since.counts.saturating_add(grown);
        self.reading = Snapshot { at: reading.at, counts };
        if since.at < reading.at {
            return Some(Growth { from: since.at, to: reading.at, amount: Tally::of(grown) });
        }
        // A counter that is read at its very start has nothing to say. One that has grown by then
        // was started by another clock: the growth is real, and its time is not known better.
        let to = reading.at.max(Timestamp::from_millis(1));
        (grown.total > 0).then(|| Growth { from: to.before(STEP), to, amount: Tally::of(grown) })
    }
}

/// The counts with no more good than all.
const fn normal(counts: Counts) -> Counts {
    Counts::new(counts.good, counts.total)
}
