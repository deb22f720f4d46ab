//! Words the status of an SLO: a pure function of what came of its evaluation.

mod conditions;
mod figures;
mod objectives;
mod summary;

use jiff::Timestamp;
use weir_crds::v1alpha1::{SloSummary, StreamSLO, StreamSLOStatus};
use weir_crds::validate::Violation;

use super::data::Data;
use super::evaluators::Judged;
use crate::conditions::{self as history, Finding, Status};

/// What came of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The objectives were evaluated.
    Evaluated {
        /// What is known of each objective, in the order of the spec.
        judged: Vec<Judged>,
        /// Whether the counts are complete.
        data: Data,
    },
    /// The spec breaks these rules.
    InvalidSpec(Vec<Violation>),
    /// There is no pipeline of the name that the spec gives.
    PipelineNotFound,
}

/// The status of `slo`, whose last status tells since when each condition holds.
pub(super) fn status(slo: &StreamSLO, outcome: &Outcome, now: Timestamp) -> StreamSLOStatus {
    let (findings, summary, objectives) = match outcome {
        Outcome::Evaluated { judged, data } => (
            conditions::evaluated(slo, judged, data),
            summary::summary(judged, data),
            judged.iter().map(objectives::objective).collect(),
        ),
        Outcome::InvalidSpec(violations) => {
            let told: Vec<_> = violations.iter().map(ToString::to_string).collect();
            idle("InvalidSpec", told.join("; "))
        }
        Outcome::PipelineNotFound => {
            let name = &slo.spec.pipeline_ref.name;
            let message = format!(
                "there is no StreamPipeline {name} in this namespace: create it, or correct \
                 spec.pipelineRef.name"
            );
            idle("PipelineNotFound", message)
        }
    };
    let generation = slo.metadata.generation;
    let before = slo.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    StreamSLOStatus {
        observed_generation: generation,
        conditions: history::merge(before, findings, generation, now),
        summary: Some(summary),
        objectives,
    }
}

/// The status of an SLO that a failure kept from being evaluated: what was known before, and why there
/// is nothing newer.
pub(super) fn unobserved(slo: &StreamSLO, message: String, now: Timestamp) -> StreamSLOStatus {
    let mut status = slo.status.clone().unwrap_or_default();
    let failed =
        Finding { type_: "Ready", status: Status::False, reason: "EvaluationFailed", message };
    let generation = slo.metadata.generation;
    let ready = history::merge(&status.conditions, vec![failed], generation, now);
    status.conditions.retain(|condition| condition.type_ != "Ready");
    status.conditions.splice(0..0, ready);
    status
}

/// What there is to say of an SLO that can't be evaluated.
fn idle(
    reason: &'static str,
    message: String,
) -> (Vec<Finding>, SloSummary, Vec<weir_crds::v1alpha1::ObjectiveStatus>) {
    let finding = |type_, status, message| Finding { type_, status, reason, message };
    let unknown = "nothing is evaluated: see the condition Ready";
    let findings = vec![
        finding("Ready", Status::False, message),
        finding("Met", Status::Unknown, unknown.to_owned()),
        finding("BudgetHealthy", Status::Unknown, unknown.to_owned()),
        finding("DataAvailable", Status::Unknown, unknown.to_owned()),
    ];
    let summary =
        SloSummary { met: "-".to_owned(), data: reason.to_owned(), ..SloSummary::default() };
    (findings, summary, Vec::new())
}

#[cfg(test)]
mod tests;
