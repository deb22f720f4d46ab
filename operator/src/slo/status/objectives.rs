//! Words the status of one objective.

use weir_crds::v1alpha1::{BurnRateStatus, ErrorBudgetStatus, ObjectiveStatus};
use weir_slo::{BurnRate, ErrorBudget, Evaluation, Verdict};

use super::figures;
use crate::conditions::Status;
use crate::slo::evaluators::Judged;

/// The status of one objective.
pub(super) fn objective(judged: &Judged) -> ObjectiveStatus {
    let Evaluation { name, verdict, sli, good, total, excluded, coverage, budget, burn_rates } =
        &judged.evaluation;
    ObjectiveStatus {
        name: name.clone(),
        met: met(*verdict).as_str().to_owned(),
        sli: sli.map(|sli| sli.to_string()),
        good: figures::count(*good),
        total: figures::count(*total),
        excluded: figures::count(*excluded),
        coverage: figures::coverage(*coverage),
        error_budget: budget.map(error_budget),
        burn_rates: burn_rates.iter().map(burn_rate).collect(),
    }
}

/// A verdict as the status of a condition.
pub(super) const fn met(verdict: Verdict) -> Status {
    match verdict {
        Verdict::Met => Status::True,
        Verdict::Missed => Status::False,
        Verdict::Unknown(_) => Status::Unknown,
    }
}

fn error_budget(budget: ErrorBudget) -> ErrorBudgetStatus {
    let ErrorBudget { total, consumed, remaining_percent } = budget;
    ErrorBudgetStatus {
        total: figures::count(total),
        consumed: figures::count(consumed),
        remaining_percent: remaining_percent.to_string(),
    }
}

fn burn_rate(burn: &BurnRate) -> BurnRateStatus {
    let BurnRate { window, rate, bad: _, total: _ } = burn;
    BurnRateStatus { window: window.to_string(), rate: rate.to_string() }
}
