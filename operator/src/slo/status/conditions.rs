//! Words the conditions of an SLO that was evaluated.

use weir_crds::scalar::TimeWindow;
use weir_crds::v1alpha1::StreamSLO;
use weir_slo::{Method, Ratio, Unknown, Verdict};

use super::figures;
use crate::conditions::{Finding, Status};
use crate::slo::burn::{Burning, Speed};
use crate::slo::data::{Data, Flaw};
use crate::slo::evaluators::Judged;

/// The conditions of an SLO that was evaluated.
pub(super) fn evaluated(slo: &StreamSLO, judged: &[Judged], data: &Data) -> Vec<Finding> {
    let window = &slo.spec.time_window.duration;
    vec![ready(slo), met(judged, window), budget_healthy(judged, window), available(data)]
}

/// That the objectives are evaluated as asked; whether they are met is another matter.
fn ready(slo: &StreamSLO) -> Finding {
    let (count, interval) = (slo.spec.objectives.len(), &slo.spec.evaluation.interval);
    let plural = if count == 1 { "" } else { "s" };
    let message = format!("{count} objective{plural}, evaluated every {interval}");
    Finding { type_: "Ready", status: Status::True, reason: "Evaluating", message }
}

fn met(judged: &[Judged], window: &TimeWindow) -> Finding {
    let finding = |status, reason, message| Finding { type_: "Met", status, reason, message };
    let with = |wanted: fn(Verdict) -> bool| {
        judged.iter().filter(move |judged| wanted(judged.evaluation.verdict))
    };
    let missed: Vec<_> = with(|verdict| verdict == Verdict::Missed)
        .map(|judged| told_missed(judged, window))
        .collect();
    if !missed.is_empty() {
        return finding(Status::False, "ObjectiveMissed", missed.join("; "));
    }
    let unknown: Vec<_> = with(|verdict| matches!(verdict, Verdict::Unknown(_)))
        .map(|judged| told_unknown(judged, window))
        .collect();
    if unknown.is_empty() {
        let message = format!("{0} of {0} met over {window}", judged.len());
        return finding(Status::True, "ObjectivesMet", message);
    }
    let filling = with(|verdict| verdict == Verdict::Unknown(Unknown::WindowFilling)).count() > 0;
    let reason = if filling { "WindowFilling" } else { "NoData" };
    finding(Status::Unknown, reason, unknown.join("; "))
}

fn told_missed(judged: &Judged, window: &TimeWindow) -> String {
    let Judged { demand, evaluation, burn: _, burning: _ } = judged;
    let name = &demand.name;
    match (&demand.method, evaluation.sli) {
        (Method::Strict { max_lost }, _) => {
            let lost = evaluation.total.saturating_sub(evaluation.good);
            format!("{name} lost {lost}, where {max_lost} may be lost over {window}")
        }
        (Method::Occurrences | Method::Timeslices { .. }, Some(sli)) => {
            format!("{name} {}", below(sli, demand.target, window))
        }
        (Method::Occurrences | Method::Timeslices { .. }, None) => {
            format!("{name} missed {}% over {window}", demand.target)
        }
    }
}

fn below(sli: weir_slo::Sli, target: Ratio, window: &TimeWindow) -> String {
    format!("{} < {target}% over {window}", figures::sli(sli))
}

fn told_unknown(judged: &Judged, window: &TimeWindow) -> String {
    let Judged { demand, evaluation, burn: _, burning: _ } = judged;
    let name = &demand.name;
    if evaluation.verdict == Verdict::Unknown(Unknown::NoData) {
        return format!("{name}: nothing to count yet over {window}");
    }
    let measured = figures::rough_coverage(evaluation);
    format!("{name}: {measured} of {window} measured, {}% needed", demand.min_coverage)
}

fn budget_healthy(judged: &[Judged], window: &TimeWindow) -> Finding {
    let finding =
        |status, reason, message| Finding { type_: "BudgetHealthy", status, reason, message };
    for (speed, reason) in [(Speed::Fast, "FastBurn"), (Speed::Slow, "SlowBurn")] {
        let burning: Vec<_> =
            judged.iter().filter_map(|judged| told_burning(judged, speed)).collect();
        if !burning.is_empty() {
            return finding(Status::False, reason, burning.join("; "));
        }
    }
    let exhausted: Vec<_> = judged.iter().filter_map(told_exhausted).collect();
    if !exhausted.is_empty() {
        return finding(Status::False, "BudgetExhausted", exhausted.join("; "));
    }
    let budgets = judged.iter().filter(|judged| judged.evaluation.budget.is_some()).count();
    if budgets == 0 {
        let message = format!("no objective with a budget has counted anything over {window}");
        return finding(Status::Unknown, "NoData", message);
    }
    let message = "no budget is overspent or burns too fast".to_owned();
    finding(Status::True, "WithinBudget", message)
}

fn told_burning(judged: &Judged, wanted: Speed) -> Option<String> {
    let Burning { speed, long, short } = judged.burning?;
    (speed == wanted).then(|| {
        format!(
            "{} burns {} over {} and {} over {}",
            judged.demand.name,
            figures::burn(long.rate),
            long.window,
            figures::burn(short.rate),
            short.window,
        )
    })
}

fn told_exhausted(judged: &Judged) -> Option<String> {
    let left = judged.evaluation.budget?.remaining_percent;
    left.is_negative().then(|| {
        format!("{} has overspent its budget: {}", judged.demand.name, figures::budget(left))
    })
}

fn available(data: &Data) -> Finding {
    let Data { flaw, message } = data;
    Finding {
        type_: "DataAvailable",
        status: Status::from(flaw.is_none()),
        reason: flaw.map_or("Sampling", Flaw::as_str),
        message: message.clone(),
    }
}
