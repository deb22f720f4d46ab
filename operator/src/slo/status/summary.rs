//! Words the columns: how many objectives are met, and how the worst of them stands.

use weir_crds::v1alpha1::SloSummary;
use weir_slo::{Method, Percent, Verdict};

use super::figures;
use crate::slo::data::{Data, Flaw};
use crate::slo::evaluators::Judged;

/// What the columns show.
pub(super) fn summary(judged: &[Judged], data: &Data) -> SloSummary {
    let met = judged.iter().filter(|judged| judged.evaluation.verdict == Verdict::Met).count();
    let worst = worst(judged);
    let evaluation = worst.map(|worst| &worst.evaluation);
    let budget = evaluation.and_then(|evaluation| evaluation.budget);
    SloSummary {
        met: format!("{met}/{}", judged.len()),
        worst: evaluation.map(|evaluation| evaluation.name.clone()),
        sli: evaluation.and_then(|evaluation| evaluation.sli).map(figures::sli),
        budget: budget.map(|budget| figures::budget(budget.remaining_percent)),
        burn: worst.and_then(|worst| worst.burn).map(|burn| figures::burn(burn.rate)),
        data: data.flaw.map_or("OK", Flaw::as_str).to_owned(),
    }
}

/// The objective with the least budget left, of those of which something is known; the first of
/// several.
fn worst(judged: &[Judged]) -> Option<&Judged> {
    let known = judged.iter().filter_map(|judged| Some((left(judged)?, judged)));
    known.min_by_key(|&(left, _)| left).map(|(_, judged)| judged)
}

/// What is left of the budget. A strict objective has none: it is whole, or it is missed, and nothing
/// is worse.
fn left(judged: &Judged) -> Option<Percent> {
    let evaluation = &judged.evaluation;
    match (&judged.demand.method, evaluation.verdict) {
        (Method::Strict { .. }, Verdict::Missed) => Some(Percent::from_ppm(i64::MIN)),
        (Method::Strict { .. }, Verdict::Met | Verdict::Unknown(_)) => {
            evaluation.sli.map(|_| Percent::HUNDRED)
        }
        (Method::Occurrences | Method::Timeslices { .. }, _) => {
            evaluation.budget.map(|budget| budget.remaining_percent)
        }
    }
}
