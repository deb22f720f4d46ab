//! The condition UpToDate: every ready replica runs the newest generation of the spec.
//!
//! A replica that refuses a configuration goes on with the one before, so a pipeline that is not up to date
//! is served all the same, where there was one. One that is of another release than the operator is up to date as long as it runs the
//! newest generation; the condition says that it could be brought to this one, and how.

use weir_crds::names::reason::UPGRADE_AVAILABLE;

use super::census::Census;
use super::{REFUSED_REMEDY, condition, refusal, some};
use crate::conditions::{Finding, Status};
use crate::injection::Lack;
use crate::pipeline::given::HeldBack;
use crate::pipeline::observe::Observed;
use crate::pipeline::{Outcome, Stands};

/// How many replicas are named.
const MOST_NAMES: usize = 3;

/// Finds the condition.
pub(super) fn find(observed: &Observed, census: &Census, outcome: &Outcome) -> Finding {
    let generation = observed.pipeline.metadata.generation.unwrap_or_default();
    let (status, reason, message) = match outcome {
        Outcome::Applied(Stands { held, noted: _ }) => {
            let other = held.as_ref().map(|held| held_back(observed, held));
            let runs = runs(census, generation, left(observed));
            judge(runs, other.or_else(|| injected(observed)).as_deref())
        }
        Outcome::Rejected(_) | Outcome::Failed(_) => (
            Status::False,
            "NotApplied",
            format!("generation {generation} is not given to the replicas: see Ready"),
        ),
    };
    let message = match observed.upgrade.misspelt() {
        Some(misspelt) => format!("{message}; {misspelt}"),
        None => message,
    };
    Finding { type_: condition::UP_TO_DATE, status, reason, message }
}

/// Status, reason and message.
type Judgement = (Status, &'static str, String);

/// Judges; `other` says what is of another release, where something is.
fn judge(runs: Judgement, other: Option<&str>) -> Judgement {
    let (status, reason, message) = runs;
    match (other, status) {
        (None, _) => (status, reason, message),
        (Some(other), Status::False) => (status, reason, format!("{message}; {other}")),
        (Some(other), Status::True | Status::Unknown) => {
            (status, UPGRADE_AVAILABLE, format!("{message}; {other}"))
        }
    }
}

/// How many pods of the gateway are still to be replaced, because a change makes new pods.
pub(super) fn left(observed: &Observed) -> i32 {
    let Observed { existing, .. } = observed;
    let deployment = existing.deployment.as_ref().and_then(|deployment| {
        let status = deployment.status.as_ref()?;
        Some((status.replicas.unwrap_or(0), status.updated_replicas.unwrap_or(0)))
    });
    let stateful_set = existing.stateful_set.as_ref().and_then(|stateful_set| {
        let status = stateful_set.status.as_ref()?;
        // Once all are replaced, the update is what is current, and no number of updated ones stands there.
        let is_rolling = status.current_revision != status.update_revision;
        is_rolling.then(|| (status.replicas, status.updated_replicas.unwrap_or(0)))
    });
    let (all, updated) = deployment.or(stateful_set).unwrap_or_default();
    all.saturating_sub(updated).max(0)
}

/// What the replicas run, of whose pods some are `left` to be replaced.
fn runs(census: &Census, generation: i64, left: i32) -> Judgement {
    let Census { ready, outdated, refusing, barren, silent, .. } = census;
    match (ready, outdated) {
        _ if !barren.is_empty() || !refusing.is_empty() => {
            (Status::False, "ConfigurationRefused", refused(census, generation))
        }
        (0, _) => (
            Status::Unknown,
            "NoReplicaReady",
            "no replica is ready that could say: see EndpointsReady".to_owned(),
        ),
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
        _ if left > 0 => (
            Status::False,
            "Replacing",
            format!(
                "{} as before the last change of the gateway's pods: see EndpointsReady, and \
                 `kubectl rollout status`, if it stays so",
                if left == 1 {
                    "1 pod is still".to_owned()
                } else {
                    format!("{left} pods are still")
                }
            ),
        ),
        _ => (
            Status::True,
            "UpToDate",
            format!("{ready} of {ready} ready replicas run generation {generation}"),
        ),
    }
}

/// What the gateway's pods are kept at, and how they come to be what this release makes.
fn held_back(observed: &Observed, HeldBack { release, image }: &HeldBack) -> String {
    let Observed { pipeline, upgrade, .. } = observed;
    let image = image.as_deref().unwrap_or("no image");
    format!(
        "the gateway is kept as release {release} makes it ({image}), and the operator is now of release {} ({}): its \
         pods are replaced with the next change that makes new pods, or when that is asked for: {}",
        upgrade.release,
        upgrade.image,
        upgrade.command(pipeline)
    )
}

/// Which pods carry the sidecar of another release.
fn injected(observed: &Observed) -> Option<String> {
    let is_other = |lack: &Lack| !lack.is_needed();
    let pods = observed.pods.iter().filter(|pod| pod.selected && pod.lacks.iter().any(is_other));
    let names: Vec<String> = pods.map(|pod| pod.name.clone()).collect();
    let names = Some(names).filter(|names| !names.is_empty())?;
    let release = &observed.upgrade.release;
    let some = some(&names, MOST_NAMES);
    Some(format!("the sidecar of {some} is not of the operator's release, {release}: see Injected"))
}

/// By which replicas the generation was refused, and what they serve.
fn refused(census: &Census, generation: i64) -> String {
    let Census { refusing, barren, .. } = census;
    let instead = [
        (refusing, "where the one before is served on"),
        (barren, "where nothing is served, as there was none before"),
    ];
    let instead = instead.into_iter().filter(|(pods, _)| !pods.is_empty());
    let words = instead.map(|(pods, instead)| {
        let (pods, why) = refusal(pods, MOST_NAMES);
        format!("by {pods}, {instead} ({why})")
    });
    let words: Vec<String> = words.collect();
    format!("generation {generation} was refused {}: {REFUSED_REMEDY}", words.join(", and "))
}
