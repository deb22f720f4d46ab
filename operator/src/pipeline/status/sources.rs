//! The condition SourcesHealthy: every source of every replica delivers, or would if there were events.

use weir_crds::names::port;

use super::census::Census;
use super::{condition, count, some};
use crate::conditions::{Finding, Status};
use crate::pipeline::observe::Observed;

/// How many sources, or replicas, are named.
const MOST_NAMES: usize = 5;

/// Finds the condition.
pub(super) fn find(observed: &Observed, census: &Census) -> Finding {
    let answered = observed.replicas.len().saturating_sub(census.silent.len());
    let (status, reason, message) = match census {
        Census { ready: 0, .. } => (
            Status::Unknown,
            "NoReplicaReady",
            "no replica is ready that could say: see EndpointsReady".to_owned(),
        ),
        Census { unhealthy, .. } if !unhealthy.is_empty() => (
            Status::False,
            "SourceUnhealthy",
            format!("not healthy: {}", some(unhealthy, MOST_NAMES)),
        ),
        Census { silent, .. } if !silent.is_empty() => {
            (Status::Unknown, "ReplicaSilent", silent_message(silent))
        }
        Census { .. } if answered == 0 => {
            (Status::Unknown, "NoReplicaReady", "no replica has been asked yet".to_owned())
        }
        Census { ready, desired, .. } => {
            let missing = desired.saturating_sub(*ready).max(0);
            (Status::True, "Healthy", healthy_message(observed, missing))
        }
    };
    Finding { type_: condition::SOURCES_HEALTHY, status, reason, message }
}

fn silent_message(silent: &[String]) -> String {
    format!(
        "no answer from {}: let the operator reach port {} of the pods (a NetworkPolicy may keep it \
         from them)",
        some(silent, MOST_NAMES),
        port::ADMIN
    )
}

fn healthy_message(observed: &Observed, missing: i32) -> String {
    let sources = i32::try_from(observed.pipeline.spec.sources.len()).unwrap_or(i32::MAX);
    let healthy = format!("{} healthy on every ready replica", count(sources, "source"));
    match missing {
        0 => healthy,
        missing => format!("{healthy}; {} not ready", count(missing, "replica")),
    }
}
