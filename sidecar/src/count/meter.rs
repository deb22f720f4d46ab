//! Meters: the exact counter of one objective.

use std::time::Duration;

use parking_lot::Mutex;
use weir_slo::{Counts, ObjectiveSample, Recorder, Timestamp};

use super::Tally;

/// Decides which deliveries are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judge {
    /// Of the written, those that took at most this long. A dropped delivery has no latency.
    Latency(Duration),
    /// Of all that ended while the subscriber stayed, the written.
    Written,
    /// Of all that ended while the subscriber stayed, those written within this time.
    Settled(Duration),
}

/// Whose meter it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MeterName {
    /// The StreamSLO's namespace.
    pub namespace: String,
    /// The StreamSLO's name.
    pub slo: String,
    /// The objective's name.
    pub objective: String,
}

/// The counter of one objective. It starts at zero when the objective is first seen.
#[derive(Debug)]
pub struct Meter {
    name: MeterName,
    judge: Judge,
    cells: Box<[Cell]>,
    recorder: Mutex<Recorder>,
}

/// One shard's part. Aligned, so that no two shards share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell {
    good: Tally,
    total: Tally,
}

impl Meter {
    /// A meter at zero, for as many shards and for the lane.
    #[must_use]
    pub fn new(name: MeterName, judge: Judge, shards: usize, now: Timestamp) -> Self {
        Self {
            name,
            judge,
            cells: (0..=shards).map(|_| Cell::default()).collect(),
            recorder: Mutex::new(Recorder::new(now)),
        }
    }

    /// Whose meter it is.
    #[must_use]
    pub const fn name(&self) -> &MeterName {
        &self.name
    }

    /// What it judges by.
    #[must_use]
    pub const fn judge(&self) -> Judge {
        self.judge
    }

    /// Names what is counted: a changed judge is another series.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        match self.judge {
            Judge::Latency(threshold) => format!("latency/{}ms", threshold.as_millis()),
            Judge::Written => "written".to_owned(),
            Judge::Settled(within) => format!("settled/{}ms", within.as_millis()),
        }
    }

    /// Counts a delivery that a shard has written.
    pub(super) fn written(&self, shard: usize, latency: Duration) {
        let good = match self.judge {
            Judge::Latency(bound) | Judge::Settled(bound) => latency <= bound,
            Judge::Written => true,
        };
        self.count(shard, u64::from(good), 1);
    }

    /// Counts deliveries that a shard has given up while the subscriber stayed.
    pub(super) fn dropped(&self, shard: usize, count: u64) {
        match self.judge {
            Judge::Latency(_) => {}
            Judge::Written | Judge::Settled(_) => self.count(shard, 0, count),
        }
    }

    fn count(&self, shard: usize, good: u64, total: u64) {
        if let Some(cell) = self.cells.get(shard) {
            cell.total.add(total);
            cell.good.add(good);
        }
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let good = self.cells.iter().map(|cell| cell.good.get()).sum();
        let total = self.cells.iter().map(|cell| cell.total.get()).sum();
        Counts::new(good, total)
    }

    /// Takes a snapshot for the record. To be called at least once in each step of the grid.
    pub fn observe(&self, now: Timestamp) {
        let mut recorder = self.recorder.lock();
        recorder.observe(now, self.counts());
    }

    /// What the evaluator is told.
    #[must_use]
    pub fn sample(&self, since: Timestamp) -> ObjectiveSample {
        let mut sample =
            self.recorder.lock().sample(&self.name.objective, &self.fingerprint(), since);
        sample.current = self.counts();
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(judge: Judge) -> Meter {
        let name = MeterName {
            namespace: "shop".to_owned(),
            slo: "feed".to_owned(),
            objective: "fast".to_owned(),
        };
        Meter::new(name, judge, 2, Timestamp::from_millis(0))
    }

    fn counts_after(judge: Judge) -> (u64, u64) {
        let meter = meter(judge);
        meter.written(0, Duration::from_millis(50));
        meter.written(1, Duration::from_millis(51));
        meter.dropped(1, 3);
        let counts = meter.counts();
        (counts.good, counts.total)
    }

    #[test]
    fn latency_counts_the_written_and_includes_its_threshold() {
        assert_eq!(counts_after(Judge::Latency(Duration::from_millis(50))), (1, 2));
    }

    #[test]
    fn written_counts_what_was_dropped_as_bad() {
        assert_eq!(counts_after(Judge::Written), (2, 5));
    }

    #[test]
    fn settled_counts_the_late_and_the_dropped_as_bad() {
        assert_eq!(counts_after(Judge::Settled(Duration::from_millis(50))), (1, 5));
    }

    #[test]
    fn a_changed_threshold_is_another_series() {
        let [a, b] =
            [50, 51].map(|ms| meter(Judge::Latency(Duration::from_millis(ms))).fingerprint());
        assert_ne!(a, b);
    }
}
