//! A histogram for display: verdicts are taken from exact counters.

use std::time::Duration;

use super::Tally;

/// The buckets' inclusive upper bounds in microseconds, around what subscribers are promised: 50 ms
/// for WebSocket and 100 ms for SSE.
pub const BOUNDS_MICROS: [u64; 14] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000, 30_000_000,
];

/// How many buckets there are: the last has no bound.
pub(super) const BUCKETS: usize = BOUNDS_MICROS.len() + 1;

/// The bucket of a duration.
pub(super) fn bucket(duration: Duration) -> usize {
    let micros = micros(duration);
    BOUNDS_MICROS.partition_point(|&bound| bound < micros)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Counts durations by bucket.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Tally; BUCKETS],
    sum_micros: Tally,
}

/// What histograms held when they were read, merged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistogramReading {
    /// Durations by bucket, the last without bound.
    pub buckets: [u64; BUCKETS],
    /// The sum of all durations in microseconds.
    pub sum_micros: u64,
}

impl Histogram {
    /// Counts a duration.
    pub fn record(&self, duration: Duration) {
        if let Some(bucket) = self.buckets.get(bucket(duration)) {
            bucket.add(1);
        }
        self.sum_micros.add(micros(duration));
    }

    /// Adds what this histogram holds to a reading.
    pub fn merge_into(&self, reading: &mut HistogramReading) {
        let Self { buckets, sum_micros } = self;
        reading.buckets.iter_mut().zip(buckets).for_each(|(sum, bucket)| *sum += bucket.get());
        reading.sum_micros = reading.sum_micros.wrapping_add(sum_micros.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_on_a_bound_is_inside_it() {
        let histogram = Histogram::default();
        for micros in [250, 251, 50_000, 60_000_000] {
            histogram.record(Duration::from_micros(micros));
        }
        let mut reading = HistogramReading::default();
        histogram.merge_into(&mut reading);
        assert_eq!(reading.buckets, [1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(reading.sum_micros, 60_050_501);
    }
}
