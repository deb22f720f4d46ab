//! The conditions ScalingActive and ScalingLimited: whether the number of replicas follows what they have to
//! do, and what holds it back. What is said has no number that changes with every look.

use weir_crds::v1alpha1::AutoscalingStatus;

use super::census::Census;
use super::condition;
use crate::conditions::{Finding, Status};
use crate::context::Notice;
use crate::pipeline::observe::Observed;
use crate::scaling::{Decision, Limit};

/// What autoscaling has come to.
pub(super) fn status(observed: &Observed) -> Option<AutoscalingStatus> {
    let Decision { current: _, desired, recommended: _, by, limit: _ } =
        observed.scaling.as_ref()?;
    Some(AutoscalingStatus {
        desired: *desired,
        metric: by.map(|(metric, _)| metric.field().to_owned()),
        load: by.map(|(_, percent)| rounded(percent)),
    })
}

/// What it had come to before.
pub(super) fn before(observed: &Observed) -> Option<AutoscalingStatus> {
    observed.scaling.as_ref()?;
    observed.pipeline.status.as_ref()?.autoscaling.clone()
}

/// To the nearest ten percent: a status that followed every subscriber would be written all the time.
fn rounded(percent: u64) -> String {
    format!("{}%", percent.saturating_add(5) / 10 * 10)
}

/// Finds the condition ScalingActive; `None` where the number of replicas is given.
pub(super) fn active(observed: &Observed, census: &Census) -> Option<Finding> {
    let decision = observed.scaling.as_ref()?;
    let (status, reason, message) = match decision.by {
        Some((metric, _)) => (
            Status::True,
            "LoadKnown",
            format!("there are to be {}: {} decides", replicas(decision.desired), metric.field()),
        ),
        None if census.ready == 0 => (
            Status::Unknown,
            "NoReplicaReady",
            "no replica is ready that could say what it has to do: see EndpointsReady".to_owned(),
        ),
        None => (
            Status::False,
            "LoadUnknown",
            format!(
                "no replica says what it has to do, so that there stay {}: see SourcesHealthy for the remedy",
                replicas(decision.desired)
            ),
        ),
    };
    Some(Finding { type_: condition::SCALING_ACTIVE, status, reason, message })
}

/// Finds the condition ScalingLimited; `None` where the number of replicas is given.
pub(super) fn limited(observed: &Observed) -> Option<Finding> {
    let decision = observed.scaling.as_ref()?;
    let autoscaling = observed.pipeline.spec.placement.gateway.as_ref()?.autoscaling.as_ref()?;
    let (min_replicas, max_replicas) = (autoscaling.min_replicas, autoscaling.max_replicas);
    let (holds, reason, message) = match decision.limit {
        Limit::None => (false, "AsAsked", "there are as many as the load asks for".to_owned()),
        Limit::StabilizedUp => (
            false,
            "ScaleUpStabilized",
            "more are wanted, and come once that has lasted for scaleUp.stabilizationWindow"
                .to_owned(),
        ),
        Limit::StabilizedDown => (
            false,
            "ScaleDownStabilized",
            "fewer would do, and some go once that has lasted for scaleDown.stabilizationWindow"
                .to_owned(),
        ),
        Limit::Most => (
            true,
            "TooManyReplicas",
            format!(
                "the load asks for more than maxReplicas ({max_replicas}): raise it, or the target"
            ),
        ),
        Limit::Fewest => (
            true,
            "TooFewReplicas",
            format!("the load asks for fewer than minReplicas ({min_replicas})"),
        ),
        Limit::PaceUp => {
            (true, "ScaleUpLimit", "scaleUp.policies let no more come just now".to_owned())
        }
        Limit::PaceDown => {
            (true, "ScaleDownLimit", "scaleDown.policies let no more go just now".to_owned())
        }
    };
    Some(Finding { type_: condition::SCALING_LIMITED, status: holds.into(), reason, message })
}

/// The Event about a number that has changed.
pub(in crate::pipeline) fn scaled(decision: &Decision) -> Option<Notice> {
    let Decision { current, desired, recommended: _, by, limit: _ } = decision;
    let why = match by {
        Some((metric, percent)) => {
            format!("the load is {} of {}", rounded(*percent), metric.field())
        }
        None => "the bounds have changed".to_owned(),
    };
    let note = format!("{current} replicas become {desired}: {why}");
    (current != desired).then(|| Notice { warning: false, reason: "Scaled".to_owned(), note })
}

fn replicas(number: i32) -> String {
    super::count(number, "replica")
}
