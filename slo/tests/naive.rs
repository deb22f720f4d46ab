//! A slow model of what the crate computes: one array element per step, no thinning, no baselines.

use std::collections::BTreeMap;

use weir_slo::{Counts, STEP, Snapshot, Timestamp};

/// Where the model's time begins: a multiple of every cell's width.
pub(crate) const EPOCH: u64 = 1_700_000_000_000 - 1_700_000_000_000 % 86_400_000;

/// The instant `step` steps after the model's time begins.
pub(crate) fn at(step: usize) -> Timestamp {
    Timestamp::from_millis(EPOCH + step as u64 * STEP.0)
}

/// The step that an aligned instant is.
pub(crate) fn step(at: Timestamp) -> usize {
    ((at.as_millis() - EPOCH) / STEP.0) as usize
}

/// One life of one instance: it stands at zero at `started`, and then counts `events[i]` during the
/// step that ends at `started + i + 1`.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) instance: String,
    pub(crate) started: usize,
    pub(crate) events: Vec<Counts>,
}

impl Life {
    /// The counter at every step of the life, the first one included.
    pub(crate) fn snapshots(&self) -> Vec<Snapshot> {
        let mut counts = Counts::ZERO;
        let mut snapshots = vec![Snapshot { at: at(self.started), counts }];
        for (index, events) in self.events.iter().enumerate() {
            counts = counts.saturating_add(*events);
            snapshots.push(Snapshot { at: at(self.started + index + 1), counts });
        }
        snapshots
    }

    pub(crate) fn end(&self) -> usize {
        self.started + self.events.len()
    }
}

/// A batch of snapshots of one life, as it arrives.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) instance: String,
    pub(crate) started: usize,
    pub(crate) snapshots: Vec<Snapshot>,
}

/// What is known of each step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steps {
    pub(crate) good: Vec<u64>,
    pub(crate) bad: Vec<u64>,
    pub(crate) measured: Vec<bool>,
}

impl Steps {
    /// Reads batches as they arrive: only snapshots newer than the newest of the instance count, and
    /// growth over more than `widest` steps does not.
    pub(crate) fn read(batches: &[Batch], steps: usize, widest: usize) -> Self {
        let mut known =
            Self { good: vec![0; steps], bad: vec![0; steps], measured: vec![false; steps] };
        let mut newest: BTreeMap<(String, usize), Snapshot> = BTreeMap::new();
        for batch in batches {
            let mut ordered = batch.snapshots.clone();
            ordered.sort_by_key(|snapshot| snapshot.at);
            let zero = Snapshot { at: at(batch.started), counts: Counts::ZERO };
            let last = newest.entry((batch.instance.clone(), batch.started)).or_insert(zero);
            for snapshot in ordered {
                if snapshot.at > last.at {
                    known.grow(*last, snapshot, widest);
                    *last = snapshot;
                }
            }
        }
        known
    }

    fn grow(&mut self, from: Snapshot, to: Snapshot, widest: usize) {
        let span = step(to.at) - step(from.at);
        if span > widest {
            return;
        }
        let good = to.counts.good - from.counts.good;
        let bad = to.counts.bad() - from.counts.bad();
        let share = |amount: u64, index: usize| {
            let until = |steps: usize| amount as u128 * steps as u128 / span as u128;
            (until(index + 1) - until(index)) as u64
        };
        for index in 0..span {
            self.good[step(from.at) + index] += share(good, index);
            self.bad[step(from.at) + index] += share(bad, index);
            self.measured[step(from.at) + index] = true;
        }
    }

    /// Good and total between two steps.
    pub(crate) fn counts(&self, from: usize, to: usize) -> Counts {
        let good: u64 = self.good[from..to].iter().sum();
        let bad: u64 = self.bad[from..to].iter().sum();
        Counts { good, total: good + bad }
    }

    /// Measured steps between two steps.
    pub(crate) fn measured(&self, from: usize, to: usize) -> u64 {
        self.measured[from..to].iter().filter(|measured| **measured).count() as u64
    }
}
