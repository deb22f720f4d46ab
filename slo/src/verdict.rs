//! The rules that turn counts into a verdict and a budget.
//!
//! Laws: `Met` means that good/total is at least the target exactly, which is when the remaining
//! budget is not negative. Nothing here rounds before it decides.

use crate::evaluation::{ErrorBudget, Unknown, Verdict};
use crate::figures::Percent;
use crate::objective::{Method, Objective};
use crate::ratio::{Ratio, WHOLE};
use crate::series::WindowCounts;

/// What the counts of the objective's window say about it.
pub(crate) fn verdict(objective: &Objective, counted: &WindowCounts) -> Verdict {
    let covered = objective.min_coverage.is_reached_by(counted.measured.0, objective.window.0);
    match objective.method {
        Method::Strict { max_lost } => strict(max_lost, counted, covered),
        Method::Occurrences | Method::Timeslices { .. } => {
            share(objective.target, counted, covered)
        }
    }
}

/// A loss is a loss however little was measured; that there was none takes the whole window.
fn strict(max_lost: u64, counted: &WindowCounts, covered: bool) -> Verdict {
    if counted.counts.bad() > max_lost {
        Verdict::Missed
    } else if counted.measured.0 == 0 {
        Verdict::Unknown(Unknown::NoData)
    } else if covered {
        Verdict::Met
    } else {
        Verdict::Unknown(Unknown::WindowFilling)
    }
}

fn share(target: Ratio, counted: &WindowCounts, covered: bool) -> Verdict {
    if counted.counts.total == 0 {
        Verdict::Unknown(Unknown::NoData)
    } else if !covered {
        Verdict::Unknown(Unknown::WindowFilling)
    } else if target.is_reached_by(counted.counts.good, counted.counts.total) {
        Verdict::Met
    } else {
        Verdict::Missed
    }
}

/// The budget that the counts allow; nothing where nothing was counted, or the objective is strict.
pub(crate) fn budget(objective: &Objective, counted: &WindowCounts) -> Option<ErrorBudget> {
    match objective.method {
        Method::Strict { .. } => None,
        Method::Occurrences | Method::Timeslices { .. } if counted.counts.total == 0 => None,
        Method::Occurrences | Method::Timeslices { .. } => {
            Some(budget_of(objective.target, counted.counts.total, counted.counts.bad()))
        }
    }
}

fn budget_of(target: Ratio, total: u64, consumed: u64) -> ErrorBudget {
    let allowed_ppm = u128::from(total) * u128::from(target.complement().ppm());
    let allowed = allowed_ppm / u128::from(WHOLE);
    ErrorBudget {
        total: u64::try_from(allowed).unwrap_or(total),
        consumed,
        remaining_percent: remaining(allowed_ppm, consumed),
    }
}

/// One minus the used share of the budget, cut towards the worse so that its sign is exact.
fn remaining(allowed_ppm: u128, consumed: u64) -> Percent {
    let whole = u128::from(WHOLE);
    let used = match allowed_ppm {
        0 if consumed == 0 => 0,
        // Nothing was allowed: the first error uses twice of what there is, and so on.
        0 => (u128::from(consumed) + 1) * whole,
        _ => (u128::from(consumed) * whole * whole).div_ceil(allowed_ppm),
    };
    let used = i64::try_from(used).unwrap_or(i64::MAX);
    Percent::from_ppm(Percent::HUNDRED.ppm() - used)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_budget_is_shown_as_it_stands_on_the_resource() {
        let budget = budget_of("99.5".parse().unwrap(), 38_328, 226);
        assert_eq!((budget.total, budget.consumed), (191, 226));
        assert_eq!(budget.remaining_percent.to_string(), "-17.9");
    }

    #[test]
    fn a_budget_spent_to_the_last_error_is_not_negative() {
        let budget = |consumed| budget_of("99".parse().unwrap(), 1_000, consumed);
        assert_eq!(budget(10).remaining_percent.to_string(), "0.0");
        assert_eq!(budget(11).remaining_percent.to_string(), "-10.0");
    }

    proptest! {
        #[test]
        fn the_target_is_reached_exactly_when_the_budget_is_not_negative(
            target in prop_oneof![Just(0u32), Just(1_000_000), 0u32..=1_000_000],
            total in prop_oneof![1u64..5_000, 1..=u64::MAX],
            bad in prop_oneof![0u64..50, any::<u64>()],
        ) {
            let (target, bad) = (Ratio::from_ppm(target).unwrap(), bad.min(total));
            let budget = budget_of(target, total, bad);
            let reached = target.is_reached_by(total - bad, total);
            prop_assert_eq!(!budget.remaining_percent.is_negative(), reached);
            prop_assert_eq!(budget.consumed <= budget.total, reached);
        }

        #[test]
        fn the_edge_of_a_target_is_decided_exactly(target in 0u32..=1_000_000, total: u64) {
            let target = Ratio::from_ppm(target).unwrap();
            let total = total.max(1);
            let least = (u128::from(target.ppm()) * u128::from(total)).div_ceil(1_000_000) as u64;
            let negative =
                |good| budget_of(target, total, total - good).remaining_percent.is_negative();
            prop_assert!(!negative(least));
            prop_assert!(least == 0 || negative(least - 1));
        }
    }
}
