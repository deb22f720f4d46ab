//! Keeps the last hour of one counter's aligned snapshots inside a sidecar.
//!
//! Laws: snapshots lie on multiples of [`STEP`], strictly ascending, at most [`KEPT`] of them. A step
//! at which nobody looked is left out rather than made up: the growth over it is known only as a
//! sum, and whoever reads the snapshots either side spreads it or calls it unmeasured.

use std::collections::VecDeque;

use crate::counts::Counts;
use crate::samples::{ObjectiveSample, Snapshot};
use crate::time::{STEP, Timestamp};

/// Snapshots kept: an hour of steps, so that an evaluator that was away for less loses nothing.
pub const KEPT: usize = 720;

/// The recent past of one counter.
#[derive(Clone, Debug)]
pub struct Recorder {
    started_at: Timestamp,
    current: Counts,
    recent: VecDeque<Snapshot>,
}

impl Recorder {
    /// A recorder of a counter that stands at zero at `started_at`.
    #[must_use]
    pub const fn new(started_at: Timestamp) -> Self {
        Self { started_at, current: Counts::ZERO, recent: VecDeque::new() }
    }

    /// Takes the counter's reading at `now`; to be called right after every multiple of [`STEP`].
    ///
    /// The reading becomes the snapshot of the latest multiple of the step that has passed, unless
    /// that one is taken. A late call therefore dates the growth since the step up to one step too
    /// early. A clock that went back by more than a step takes the snapshots of the wrong future
    /// with it.
    pub fn observe(&mut self, now: Timestamp, counts: Counts) {
        let counts = Counts::new(counts.good, counts.total);
        self.current = counts;
        while self.recent.back().is_some_and(|last| last.at > now.after(STEP)) {
            self.recent.pop_back();
        }
        let at = now.align_down(STEP);
        if at < self.started_at || self.recent.back().is_some_and(|last| last.at >= at) {
            return;
        }
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(Snapshot { at, counts });
    }

    /// When the counter stood at zero.
    #[must_use]
    pub const fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// The snapshots after `since`, oldest first.
    #[must_use]
    pub fn since(&self, since: Timestamp) -> Vec<Snapshot> {
        let first = self.recent.partition_point(|snapshot| snapshot.at <= since);
        self.recent.range(first..).copied().collect()
    }

    /// The counter as it stands in [`crate::Samples`].
    #[must_use]
    pub fn sample(&self, name: &str, fingerprint: &str, since: Timestamp) -> ObjectiveSample {
        ObjectiveSample {
            name: name.to_owned(),
            fingerprint: fingerprint.to_owned(),
            started_at: Some(self.started_at),
            current: self.current,
            recent: self.since(since),
        }
    }
}
