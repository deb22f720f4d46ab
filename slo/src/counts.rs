//! A pair of monotonic counters: how many events there were, and how many of them were good.

use serde::{Deserialize, Serialize};

/// How many events were good, out of how many. As a counter both only grow while the process that
/// counts lives, and `good <= total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Events that met the objective.
    pub good: u64,
    /// All events that counted, good and bad.
    pub total: u64,
}

impl Counts {
    /// Nothing counted.
    pub const ZERO: Self = Self { good: 0, total: 0 };

    /// `good` events out of `total`; more good than all is read as all being good.
    #[must_use]
    pub const fn new(good: u64, total: u64) -> Self {
        Self { good: if good < total { good } else { total }, total }
    }

    /// Events that did not meet the objective.
    #[must_use]
    pub const fn bad(self) -> u64 {
        self.total.saturating_sub(self.good)
    }

    /// The sum, or nothing when either counter would overflow.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Some(Self {
            good: self.good.checked_add(other.good)?,
            total: self.total.checked_add(other.total)?,
        })
    }

    /// The sum; each counter stops at its largest value.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self::new(self.good.saturating_add(other.good), self.total.saturating_add(other.total))
    }

    /// What was counted after `since`; nothing when a counter is smaller than it was, so the two
    /// cannot be readings of one counter in that order.
    #[must_use]
    pub fn delta(self, since: Self) -> Option<Self> {
        Some(Self {
            good: self.good.checked_sub(since.good)?,
            total: self.total.checked_sub(since.total)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_of_a_counter_that_fell_is_nothing() {
        let older = Counts::new(5, 9);
        assert_eq!(Counts::new(7, 12).delta(older), Some(Counts::new(2, 3)));
        assert_eq!(Counts::new(4, 12).delta(older), None);
        assert_eq!(Counts::new(5, 8).delta(older), None);
    }

    #[test]
    fn sums_stop_at_the_largest_value_and_keep_good_within_total() {
        let most = Counts::new(u64::MAX - 1, u64::MAX);
        assert_eq!(most.checked_add(Counts::new(1, 1)), None);
        assert_eq!(most.saturating_add(Counts::new(9, 9)), Counts::new(u64::MAX, u64::MAX));
        assert_eq!(Counts::new(9, 3), Counts { good: 3, total: 3 });
    }
}
