//! The condition EndpointsReady: subscribers are served at the URLs.

use kube::ResourceExt;
use weir_crds::v1alpha1::PlacementKind;

use super::census::Census;
use super::remedy::{of_amounts, unspecified};
use super::{condition, current, refused, some};
use crate::conditions::{Finding, Status};
use crate::pipeline::Outcome;
use crate::pipeline::observe::{Observed, Report, refusal};
use crate::selector;

/// How many replicas are named with what keeps them from starting.
const MOST_TROUBLES: usize = 3;

/// Finds the condition.
pub(super) fn find(observed: &Observed, census: &Census, outcome: &Outcome) -> Finding {
    let (status, reason, message) = match outcome {
        Outcome::Rejected(_) => (
            Status::False,
            "NotApplied",
            "the pipeline's objects are not written: see Ready".to_owned(),
        ),
        Outcome::Applied(_) | Outcome::Failed(_) if census.ready == 0 => absent(observed, census),
        Outcome::Applied(_) | Outcome::Failed(_) => serving(observed, census),
    };
    Finding { type_: condition::ENDPOINTS_READY, status, reason, message }
}

fn serving(observed: &Observed, census: &Census) -> (Status, &'static str, String) {
    let Census { desired, ready, outdated, troubles, current: standing, .. } = census;
    let cut_off = cut_off(observed);
    let told = some(&cut_off, MOST_TROUBLES);
    if !cut_off.is_empty() && cut_off.len() == observed.replicas.len() {
        let message = format!("no replica reaches the log, so that all of them refuse: {told}");
        return (Status::False, "LogUnavailable", message);
    }
    let mut message = format!("{ready} of {desired} replicas serve");
    if *outdated > 0 {
        message.push_str(&format!(", {outdated} of them not yet the newest generation"));
    }
    if !cut_off.is_empty() {
        message.push_str(&format!("; without their log: {told}"));
    }
    if !troubles.is_empty() {
        message.push_str(&format!("; not up: {}", some(troubles, MOST_TROUBLES)));
    }
    if let Some(refused) = refused::find(observed) {
        message.push_str(&format!("; {refused}"));
    }
    if (standing < desired || current::left(observed) > 0)
        && let Some(refused) = gateway_refused(observed)
    {
        message.push_str(&format!("; no more pods can be made: {refused}"));
    }
    let reason = match (outdated, ready < desired || !cut_off.is_empty()) {
        (1.., _) => "Updating",
        (_, true) => "PartlyServing",
        (_, false) => "Serving",
    };
    (Status::True, reason, message)
}

/// The replicas that have no log to read or to write, and what each says of it.
fn cut_off(observed: &Observed) -> Vec<String> {
    let cut_off = observed.replicas.iter().filter_map(|replica| {
        let Report::Serving(sample) = &replica.report else { return None };
        let log = sample.log.as_ref().filter(|log| !log.healthy)?;
        let why = log.message.as_deref().unwrap_or("it does not say why");
        Some(format!("{} ({why})", replica.pod))
    });
    cut_off.collect()
}

/// Why nobody serves, and what to do.
fn absent(observed: &Observed, census: &Census) -> (Status, &'static str, String) {
    let refused = refused::find(observed).filter(|_| census.desired == 0);
    if let Some(refused) = refused {
        return (Status::False, "PodsRefused", refused);
    }
    let (reason, message) = match observed.pipeline.spec.placement.kind() {
        Some(PlacementKind::Sidecar(sidecar)) if census.desired == 0 => (
            "NoPodSelected",
            format!(
                "no pod of the namespace matches {}: start the application, or compare its pods' \
                 labels with spec.placement.sidecar.selector",
                selector::render(&sidecar.selector)
            ),
        ),
        Some(PlacementKind::Sidecar(_)) if census.injected == 0 => (
            "NoPodInjected",
            "none of the selected pods carries the sidecar: see Injected for the remedy".to_owned(),
        ),
        Some(PlacementKind::Sidecar(_) | PlacementKind::Gateway(_)) | None => {
            ("NoReplicaReady", unready(observed, census))
        }
    };
    (Status::False, reason, message)
}

fn unready(observed: &Observed, census: &Census) -> String {
    let message = format!("none of {} replicas is ready", census.desired);
    match (census.troubles.as_slice(), gateway_refused(observed)) {
        ([], None) if observed.existing.stateful_set.is_some() && census.current == 0 => {
            let name = observed.pipeline.name_any();
            format!(
                "{message} yet, nor is there a pod: `kubectl describe statefulset {name}` says why"
            )
        }
        ([], None) => format!("{message} yet"),
        ([], Some(refused)) => format!("{message}: no pod can be made: {refused}"),
        (troubles, _) => format!("{message}: {}", some(troubles, MOST_TROUBLES)),
    }
}

/// Why the gateway's Deployment can't make pods, and what to do.
fn gateway_refused(observed: &Observed) -> Option<String> {
    let refused = observed.existing.deployment.as_ref().and_then(refusal)?;
    let remedy = if refused.contains("exceeded quota") {
        "raise the namespace's ResourceQuota, or lower spec.placement.gateway's resources or replicas"
            .to_owned()
    } else if let Some(amounts) = unspecified(&refused) {
        format!(
            "set {amounts} in placement.gateway.resources, or give the namespace a LimitRange with defaults"
        )
    } else {
        let usual = || "have whoever refuses them admit the container weir-sidecar".to_owned();
        of_amounts(&refused, "placement.gateway").unwrap_or_else(usual)
    };
    Some(format!("{refused}: {remedy}"))
}
