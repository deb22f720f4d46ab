//! Amounts of good, bad and excluded, and the part of an amount that falls into part of its time.

use crate::counts::Counts;

/// What happened in some span of time. Good and bad are kept apart so that a part of it can never
/// hold more good than all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) good: u64,
    pub(crate) bad: u64,
    pub(crate) excluded: u64,
}

impl Tally {
    pub(crate) const fn of(counts: Counts) -> Self {
        Self { good: counts.good, bad: counts.bad(), excluded: 0 }
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.good == 0 && self.bad == 0 && self.excluded == 0
    }

    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            good: self.good.saturating_add(other.good),
            bad: self.bad.saturating_add(other.bad),
            excluded: self.excluded.saturating_add(other.excluded),
        }
    }

    pub(crate) const fn counts(self) -> Counts {
        Counts::new(self.good, self.good.saturating_add(self.bad))
    }

    /// The part between the offsets `from` and `to` of a span that the amount is spread over
    /// evenly. Parts that lie end to end add up to the whole: what rounding keeps from one part,
    /// the next one gets.
    pub(crate) fn part(self, from: u64, to: u64, span: u64) -> Self {
        let share = |amount| until(amount, to, span).saturating_sub(until(amount, from, span));
        Self { good: share(self.good), bad: share(self.bad), excluded: share(self.excluded) }
    }
}

/// How much of `amount` lies before the offset `to` of `span`.
fn until(amount: u64, to: u64, span: u64) -> u64 {
    if to >= span {
        return amount;
    }
    u64::try_from(u128::from(amount) * u128::from(to) / u128::from(span)).unwrap_or(amount)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_end_to_end_add_up_to_the_whole(
            good: u64, bad: u64, span in 1u64..10_000, cuts in (0u64..10_000, 0u64..10_000),
        ) {
            let tally = Tally { good, bad, excluded: good ^ bad };
            let (first, second) = (cuts.0.min(cuts.1).min(span), cuts.0.max(cuts.1).min(span));
            let parts = [(0, first), (first, second), (second, span)]
                .map(|(from, to)| tally.part(from, to, span));
            prop_assert_eq!(parts.into_iter().fold(Tally::default(), Tally::plus), tally);
        }
    }
}
