//! What a log does, stage by stage: how long its appends and its disk take, how large its groups are, why
//! events leave it.

use super::{Counter, Histogram, Tally};

/// Everything that is counted of the log of one pipeline.
#[derive(Debug, Default)]
pub struct LogCounts {
    /// The time from an append's beginning to its answer, whatever that is.
    pub appends: Histogram,
    /// The time that a disk takes to make sure of what was written.
    pub syncs: Histogram,
    /// How many events are written as one group.
    pub groups: Sizes,
    /// Reads of what is older than the tail that failed.
    pub unreadable: Counter,
    evicted: [Counter; Eviction::ALL.len()],
}

impl LogCounts {
    /// Counts events that have left.
    pub fn evicted(&self, why: Eviction, events: u64) {
        if let Some(count) = self.evicted.get(why as usize) {
            count.add(events);
        }
    }

    /// How many events have left, by the reason.
    pub fn evictions(&self) -> impl Iterator<Item = (Eviction, u64)> {
        Eviction::ALL.into_iter().zip(self.evicted.iter().map(Counter::get))
    }
}

/// Why events leave a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// A bound of the retention was passed.
    Retention,
    /// The disk has no more room.
    NoRoom,
    /// They can't be read any more.
    Damaged,
}

impl Eviction {
    /// Every reason, in the order in which they are declared.
    pub const ALL: [Self; 3] = [Self::Retention, Self::NoRoom, Self::Damaged];

    /// The value of the metrics' label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::NoRoom => "no_room",
            Self::Damaged => "damaged",
        }
    }
}

/// The buckets' inclusive upper bounds: a group is of a few publishers, or of their batches.
pub const SIZES: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 256, 1_024, 4_096];

/// How many buckets there are: the last has no bound.
const BUCKETS: usize = SIZES.len() + 1;

/// Counts sizes by bucket.
#[derive(Debug, Default)]
pub struct Sizes {
    buckets: [Tally; BUCKETS],
    sum: Tally,
}

impl Sizes {
    /// Counts a size.
    pub fn record(&self, size: u64) {
        if let Some(bucket) = self.buckets.get(SIZES.partition_point(|&bound| bound < size)) {
            bucket.add(1);
        }
        self.sum.add(size);
    }

    /// How many sizes are in each bucket, the last without bound; and their sum.
    #[must_use]
    pub fn read(&self) -> ([u64; BUCKETS], u64) {
        (self.buckets.each_ref().map(Tally::get), self.sum.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_on_a_bound_is_inside_it() {
        let sizes = Sizes::default();
        [1, 2, 3, 64, 65, 5_000].iter().for_each(|size| sizes.record(*size));
        assert_eq!(sizes.read(), ([1, 1, 1, 0, 0, 0, 1, 1, 0, 0, 1], 5_135));
    }

    #[test]
    fn each_reason_has_a_count_of_its_own() {
        let counts = LogCounts::default();
        for (n, why) in (1..).zip(Eviction::ALL) {
            counts.evicted(why, n);
        }
        let read: Vec<_> = counts.evictions().map(|(why, n)| (why.name(), n)).collect();
        assert_eq!(read, [("retention", 1), ("no_room", 2), ("damaged", 3)]);
    }
}
