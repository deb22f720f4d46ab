//! Says how a pipeline fares: the status as a function of what was observed and of the outcome. Pure.
//!
//! One file for each condition. A condition that does not hold names the remedy.

mod census;
mod complete;
mod contested;
mod current;
mod endpoints;
mod exposed;
mod injected;
mod ready;
mod refused;
mod remedy;
mod scaling;
mod secrets;
mod sources;
mod transitions;
mod urls;

use jiff::Timestamp;
use kube::ResourceExt;
use weir_crds::v1alpha1::{
    GenerationStatus, InjectionStatus, ReplicaStatus, RestartStatus, StreamPipeline,
    StreamPipelineStatus,
};

use self::census::Census;
pub(super) use self::scaling::scaled;
pub(super) use self::transitions::transitions;
use super::observe::Observed;
use super::repair::{Repair, remember};
use super::{Error, Outcome, Stands};
use crate::conditions::{Finding, Status, merge};
use crate::{labels, selector};

/// How many generations are listed.
const MOST_GENERATIONS: usize = 5;

/// The types of the conditions on a pipeline.
pub(super) mod condition {
    /// Everything that was asked for stands, and at least one replica serves.
    pub(in crate::pipeline) const READY: &str = "Ready";
    /// Every source of every replica delivers, or would if there were events.
    pub(in crate::pipeline) const SOURCES_HEALTHY: &str = "SourcesHealthy";
    /// Subscribers are served at the URLs.
    pub(in crate::pipeline) const ENDPOINTS_READY: &str = "EndpointsReady";
    /// Every ready replica runs the newest generation of the spec.
    pub(in crate::pipeline) const UP_TO_DATE: &str = "UpToDate";
    /// The Secrets that the pipeline names are there; absent where it names none.
    pub(in crate::pipeline) const SECRETS_PRESENT: &str = "SecretsPresent";
    /// Every selected pod carries the sidecar.
    pub(in crate::pipeline) const INJECTED: &str = "Injected";
    /// A subscriber gets every event, whichever replica it is connected to.
    pub(in crate::pipeline) const STREAM_COMPLETE: &str = "StreamComplete";

    /// Subscribers outside the cluster reach the pipeline.
    pub(in crate::pipeline) const EXPOSED: &str = "Exposed";
    /// The number of replicas follows what they have to do.
    pub(in crate::pipeline) const SCALING_ACTIVE: &str = "ScalingActive";
    /// The number of replicas is held back from what they have to do.
    pub(in crate::pipeline) const SCALING_LIMITED: &str = "ScalingLimited";

    /// Somebody has lately changed what is made for the pipeline, which was put right.
    pub(in crate::pipeline) const CONTESTED: &str = "Contested";

    /// All of them.
    pub(in crate::pipeline) const ALL: [&str; 11] = [
        READY,
        SOURCES_HEALTHY,
        ENDPOINTS_READY,
        UP_TO_DATE,
        SECRETS_PRESENT,
        INJECTED,
        STREAM_COMPLETE,
        EXPOSED,
        SCALING_ACTIVE,
        SCALING_LIMITED,
        CONTESTED,
    ];
}

/// The status after a reconcile that observed the cluster.
pub(super) fn status(
    observed: &Observed,
    outcome: &Outcome,
    repairs: &[Repair],
    now: Timestamp,
) -> StreamPipelineStatus {
    let pipeline = &observed.pipeline;
    let census = Census::of(observed);
    let findings = [
        Some(ready::find(observed, &census, outcome)),
        Some(sources::find(observed, &census)),
        Some(endpoints::find(observed, &census, outcome)),
        Some(current::find(observed, &census, outcome)),
        secrets::find(observed, &census),
        injected::find(observed, &census, repairs),
        complete::find(observed, &census),
        exposed::find(observed, outcome),
        scaling::active(observed, &census),
        scaling::limited(observed),
        contested::find(observed, now),
    ];
    let name = pipeline.name_any();
    let is_gateway = pipeline.spec.placement.gateway.is_some();
    let generation = pipeline.metadata.generation;
    StreamPipelineStatus {
        observed_generation: generation,
        conditions: merge(
            conditions(pipeline),
            findings.into_iter().flatten().collect(),
            generation,
            now,
        ),
        endpoints: match outcome {
            Outcome::Applied(_) => Some(urls::of(observed)),
            Outcome::Rejected(_) | Outcome::Failed(_) => None,
        },
        replicas: Some(ReplicaStatus {
            desired: census.desired,
            ready: census.ready,
            outdated: census.outdated,
            generations: generations(&census),
            current: census.current,
            selector: is_gateway.then(|| selector::of_labels(&labels::of_gateway(&name))),
            summary: format!("{}/{}", census.ready, census.desired),
        }),
        // What could not be brought about is not where the next decision goes on from.
        autoscaling: match outcome {
            Outcome::Applied(_) => scaling::status(observed),
            Outcome::Rejected(_) | Outcome::Failed(_) => scaling::before(observed),
        },
        injection: pipeline.spec.placement.sidecar.is_some().then(|| InjectionStatus {
            selected: census.desired,
            injected: census.injected,
            missing: census.missing.iter().take(injected::MOST_NAMES).cloned().collect(),
            outdated: census.incomplete,
            restarts: restarts(pipeline, repairs, now),
        }),
        pod_templates: pod_templates(pipeline, outcome),
    }
}

/// What the gateway's pods were given; as before, where it isn't known whether they were given something else.
fn pod_templates(pipeline: &StreamPipeline, outcome: &Outcome) -> Vec<String> {
    match outcome {
        Outcome::Applied(Stands { held: _, noted }) => noted.iter().cloned().collect(),
        Outcome::Rejected(_) | Outcome::Failed(_) => {
            pipeline.status.as_ref().map(|status| status.pod_templates.clone()).unwrap_or_default()
        }
    }
}

/// The restarts that stand in the status so that they are not repeated.
fn restarts(pipeline: &StreamPipeline, repairs: &[Repair], now: Timestamp) -> Vec<RestartStatus> {
    let before = pipeline.status.as_ref().and_then(|status| status.injection.as_ref());
    let before = before.map_or(&[][..], |injection| &injection.restarts);
    remember(before, repairs.iter().filter_map(|repair| repair.restarted.clone()), now)
}

/// The status after a reconcile that could not even observe the cluster: what was known is not known
/// any more.
pub(super) fn unobserved(
    pipeline: &StreamPipeline,
    error: &Error,
    now: Timestamp,
) -> StreamPipelineStatus {
    let before = conditions(pipeline);
    let others = condition::ALL.into_iter().filter(|&type_| type_ != condition::READY);
    let known = others.filter(|type_| crate::conditions::get(before, type_).is_some());
    let unknown = known.map(|type_| Finding {
        type_,
        status: Status::Unknown,
        reason: "NotObserved",
        message: "the state of the cluster could not be read: see Ready".to_owned(),
    });
    let findings = std::iter::once(ready::failed(error)).chain(unknown).collect();
    let generation = pipeline.metadata.generation;
    StreamPipelineStatus {
        observed_generation: generation,
        conditions: merge(before, findings, generation, now),
        ..pipeline.status.clone().unwrap_or_default()
    }
}

/// Whether no replica has yet to take up the configuration or to come to serve, no source to recover, and no
/// workload to say why it makes no pods; that is seen by asking alone.
pub(super) fn is_settled(observed: &Observed) -> bool {
    let census = Census::of(observed);
    let is_served = census.barren.is_empty() && observed.unready.is_empty();
    is_served
        && census.outdated == 0
        && census.unhealthy.is_empty()
        && refused::pending(observed).is_none()
}

fn conditions(
    pipeline: &StreamPipeline,
) -> &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition] {
    pipeline.status.as_ref().map_or(&[], |status| &status.conditions)
}

/// How many serve each generation, newest first.
fn generations(census: &Census) -> Vec<GenerationStatus> {
    let newest = census.generations.iter().rev().take(MOST_GENERATIONS);
    newest.map(|(&generation, &replicas)| GenerationStatus { generation, replicas }).collect()
}

/// Which replicas refused a configuration, and why the first of them did.
fn refusal(refusing: &[(String, String)], most: usize) -> (String, &str) {
    let pods: Vec<String> = refusing.iter().map(|(pod, _)| pod.clone()).collect();
    let why = refusing.first().map_or("no reason given", |(_, why)| why.as_str());
    (some(&pods, most), why)
}

/// What helps where a configuration is refused.
const REFUSED_REMEDY: &str = "mend the spec, or bring the sidecars to the operator's version";

/// The first few of some texts, and how many more there are.
fn some(texts: &[String], most: usize) -> String {
    let first: Vec<&str> = texts.iter().take(most).map(String::as_str).collect();
    match texts.len().saturating_sub(most) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// A number of things: `1 pod`, `2 pods`.
fn count(number: i32, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

#[cfg(test)]
mod tests;
