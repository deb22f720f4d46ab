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
