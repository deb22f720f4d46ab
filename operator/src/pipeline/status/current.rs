//! The condition UpToDate: every ready replica runs the newest generation of the spec.
//!
//! A replica that refuses a configuration goes on with the one before, so a pipeline that is not up to date
//! is served all the same.

use super::census::Census;
use super::{condition, some};
use crate::conditions::{Finding, Status};
use crate::pipeline::Outcome;
use crate::pipeline::observe::Observed;

/// How many replicas are named.
const MOST_NAMES: usize = 3;

/// Finds the condition.
pub(super) fn find(observed: &Observed, census: &Census, outcome: &Outcome) -> Finding {
    let generation = observed.pipeline.metadata.generation.unwrap_or_default();
    let (status, reason, message) = match outcome {
        Outcome::Applied => judge(census, generation),
        Outcome::Rejected(_) | Outcome::Failed(_) => (
            Status::False,
            "NotApplied",
            format!("generation {generation} is not given to the replicas: see Ready"),
        ),
    };
    Finding { type_: condition::UP_TO_DATE, status, reason, message }
}

fn judge(census: &Census, generation: i64) -> (Status, &'static str, String) {
    let Census { ready, outdated, refusing, silent, .. } = census;
    match (ready, outdated) {
        (0, _) => (
            Status::Unknown,
            "NoReplicaReady",
            "no replica is ready that could say: see EndpointsReady".to_owned(),
        ),
        (_, 1..) if !refusing.is_empty() => {
            (Status::False, "ConfigurationRefused", refused(refusing, generation))
        }
        (_, 1..) => (
            Status::False,
            "Updating",
            format!(
                "{outdated} of {ready} replicas do not run generation {generation} yet: a change takes a few \
                 seconds to reach them"
            ),
        ),
        _ if !silent.is_empty() => (
            Status::Unknown,
            "ReplicaSilent",
            format!("what {} runs is not known: see SourcesHealthy", some(silent, MOST_NAMES)),
        ),
        _ => (
            Status::True,
            "UpToDate",
            format!("{ready} of {ready} ready replicas run generation {generation}"),
        ),
    }
}

fn refused(refusing: &[(String, String)], generation: i64) -> String {
    let pods: Vec<String> = refusing.iter().map(|(pod, _)| pod.clone()).collect();
    let pods = some(&pods, MOST_NAMES);
    let why = refusing.first().map_or("no reason given", |(_, why)| why.as_str());
    format!(
        "generation {generation} was refused by {pods}, where the one before is served on ({why}): mend the \
         spec, or bring the sidecars to the operator's version"
    )
}
