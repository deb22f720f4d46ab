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
    /// with it,
    /// and a start that would lie in the future moves to `now`.
    pub fn observe(&mut self, now: Timestamp, counts: Counts) {
        let counts = Counts::new(counts.good, counts.total);
        self.current = counts;
        while self.recent.back().is_some_and(|last| last.at > now.after(STEP)) {
            self.recent.pop_back();
        }
        if self.started_at > now.after(STEP) {
            self.started_at = now;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    fn count(total: u64) -> Counts {
        Counts::new(total, total)
    }

    fn recorded(readings: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
        let mut recorder = Recorder::new(at(7));
        readings.into_iter().for_each(|(secs, total)| recorder.observe(at(secs), count(total)));
        let seen = |snapshot: Snapshot| (snapshot.at.as_millis() / 1_000, snapshot.counts.total);
        recorder.since(Timestamp::default()).into_iter().map(seen).collect()
    }

    #[test]
    fn readings_become_snapshots_of_the_step_that_has_just_passed() {
        let readings = [(8, 1), (10, 2), (16, 3), (19, 4), (20, 5)];
        assert_eq!(recorded(readings), [(10, 2), (15, 3), (20, 5)]);
    }

    #[test]
    fn a_step_that_nobody_looked_at_is_left_out() {
        assert_eq!(recorded([(10, 1), (30, 9)]), [(10, 1), (30, 9)]);
    }

    #[test]
    fn a_clock_that_goes_back_takes_the_wrong_future_with_it() {
        assert_eq!(recorded([(10, 1), (90_000, 2), (15, 3)]), [(10, 1), (15, 3)]);
        assert_eq!(recorded([(10, 1), (15, 2), (14, 3), (20, 4)]), [(10, 1), (15, 2), (20, 4)]);
    }

    #[test]
    fn a_start_in_the_wrong_future_moves_back_with_the_clock() {
        let mut recorder = Recorder::new(at(1_000_000));
        recorder.observe(at(1_000_001), count(1));
        recorder.observe(at(101), count(2));
        recorder.observe(at(105), count(3));
        let sample = recorder.sample("errors", "f", at(100));
        assert_eq!(sample.started_at, Some(at(101)));
        assert_eq!(sample.current, count(3));
        assert_eq!(sample.recent, [Snapshot { at: at(105), counts: count(3) }]);
    }

    #[test]
    fn the_last_hour_is_kept_and_read_from_any_instant() {
        let mut recorder = Recorder::new(at(0));
        (1..=1_000).for_each(|step| recorder.observe(at(step * 5), count(step)));
        let all = recorder.since(Timestamp::default());
        assert_eq!((all.len(), all[0].at), (KEPT, at(281 * 5)));
        assert_eq!(recorder.since(at(4_995)).len(), 1);
        assert_eq!(recorder.since(at(5_000)), []);
    }
}
