//! The time that was measured, as disjoint intervals.
//!
//! It is kept apart from the amounts because it is a union and not a sum: two instances that
//! measured the same minute measured one minute.

use serde::{Deserialize, Serialize};

use crate::time::{Millis, Timestamp};

/// Intervals kept. Time is measured without a break as long as one instance runs, so thousands of
/// breaks in a month mean something is restarting for good; then the shortest intervals go, which
/// can only make less pass for measured.
const MOST: usize = 4_096;

/// Measured time: ascending, disjoint, not touching, each half open and not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Coverage(Vec<(Timestamp, Timestamp)>);

impl Coverage {
    /// Counts the time between the two instants as measured.
    pub(crate) fn add(&mut self, from: Timestamp, to: Timestamp) {
        if from >= to {
            return;
        }
        let first = self.0.partition_point(|(_, end)| *end < from);
        let after = self.0.partition_point(|(start, _)| *start <= to);
        let touched = self.0.get(first..after).unwrap_or_default();
        let start = touched.first().map_or(from, |(start, _)| from.min(*start));
        let end = touched.last().map_or(to, |(_, end)| to.max(*end));
        self.0.splice(first..after.max(first), [(start, end)]);
        if self.0.len() > MOST {
            self.drop_shortest();
        }
    }

    /// How much of the time between the two instants was measured.
    pub(crate) fn within(&self, from: Timestamp, to: Timestamp) -> Millis {
        let first = self.0.partition_point(|(_, end)| *end <= from);
        self.0
            .iter()
            .skip(first)
            .take_while(|(start, _)| *start < to)
            .map(|(start, end)| (*end).min(to).saturating_sub((*start).max(from)))
            .fold(Millis::ZERO, Millis::saturating_add)
    }

    /// The first measured instant at or after `from`.
    pub(crate) fn next(&self, from: Timestamp) -> Option<Timestamp> {
        let first = self.0.partition_point(|(_, end)| *end <= from);
        self.0.get(first).map(|(start, _)| from.max(*start))
    }

    /// Drops what lies before `instant`.
    pub(crate) fn forget_before(&mut self, instant: Timestamp) {
        self.0.retain_mut(|(start, end)| {
            *start = instant.max(*start);
            start < end
        });
    }

    fn drop_shortest(&mut self) {
        let lengths = self.0.iter().map(|(start, end)| end.saturating_sub(*start));
        if let Some((shortest, _)) = lengths.enumerate().min_by_key(|(_, length)| *length) {
            self.0.remove(shortest);
        }
    }

    /// Brings persisted intervals, which may have been edited, under the laws.
    pub(crate) fn restored(state: &Self) -> Self {
        let mut coverage = Self::default();
        state.0.iter().for_each(|(from, to)| coverage.add(*from, *to));
        coverage
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    proptest! {
        #[test]
        fn measured_time_is_the_union_of_the_intervals(
            intervals in prop::collection::vec((0u64..200, 0u64..200), 0..40),
            window in (0u64..200, 0u64..200),
            forgotten in 0u64..100,
        ) {
            let mut coverage = Coverage::default();
            let mut naive = [false; 200];
            for (from, to) in intervals {
                coverage.add(at(from), at(to));
                (from..to).for_each(|ms| naive[ms as usize] = true);
            }
            coverage.forget_before(at(forgotten));
            (0..forgotten).for_each(|ms| naive[ms as usize] = false);
            let expected = (window.0..window.1).filter(|ms| naive[*ms as usize]).count() as u64;
            prop_assert_eq!(coverage.within(at(window.0), at(window.1)), Millis(expected));
            let next = (window.0..200).find(|ms| naive[*ms as usize]).map(at);
            prop_assert_eq!(coverage.next(at(window.0)), next);
            prop_assert!(coverage.0.windows(2).all(|pair| pair[0].1 < pair[1].0));
            prop_assert_eq!(Coverage::restored(&coverage), coverage);
        }
    }

    #[test]
    fn endless_breaks_use_bounded_memory_and_never_claim_more_than_was_measured() {
        let mut coverage = Coverage::default();
        (0..10_000).for_each(|step| coverage.add(at(step * 10), at(step * 10 + 5)));
        assert_eq!(coverage.0.len(), MOST);
        assert_eq!(coverage.within(at(0), at(u64::MAX)), Millis(MOST as u64 * 5));
    }
}
