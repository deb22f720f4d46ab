//! The condition Injected: every selected pod carries the sidecar.

use std::collections::BTreeSet;

use super::census::Census;
use super::{condition, some};
use crate::conditions::{Finding, Status};
use crate::pipeline::namespace;
use crate::pipeline::observe::{Observed, ObservedPod};
use crate::selector;

/// How many pods are named, here and in the status.
pub(super) const MOST_NAMES: usize = 10;
/// How many workloads the remedy names.
const MOST_WORKLOADS: usize = 3;

/// Finds the condition; `None` where nothing is to be injected.
pub(super) fn find(observed: &Observed, census: &Census) -> Option<Finding> {
    let sidecar = observed.pipeline.spec.placement.sidecar.as_ref()?;
    let Census { desired, injected, missing, .. } = census;
    let (status, reason, message) = if *desired == 0 {
        let selector = selector::render(&sidecar.selector);
        (Status::Unknown, "NoPodSelected", format!("no pod of the namespace matches {selector}"))
    } else if missing.is_empty() {
        let message = format!("{injected} of {desired} selected pods carry the sidecar");
        (Status::True, "AllInjected", message)
    } else {
        (Status::False, "PodsWithoutSidecar", lacking(observed, census))
    };
    Some(Finding { type_: condition::INJECTED, status, reason, message })
}

fn lacking(observed: &Observed, census: &Census) -> String {
    let Census { desired, injected, missing, .. } = census;
    let lacking = observed.pods.iter().filter(|pod| pod.selected && !pod.member);
    let (hopeless, own): (Vec<_>, Vec<_>) = lacking.partition(|pod| pod.obstacle.is_some());
    let mut parts = vec![format!(
        "{injected} of {desired} selected pods carry the sidecar, which a pod gets when it is created; \
         without: {}",
        some(missing, MOST_NAMES)
    )];
    if !own.is_empty() {
        parts.push(remedy(&own, &namespace(&observed.pipeline)));
    }
    if let Some((pod, obstacle)) =
        hopeless.first().and_then(|pod| Some((pod, pod.obstacle.as_ref()?)))
    {
        let name = &pod.name;
        parts.push(format!(
            "{name} can't be injected, because {obstacle}: change the pod or the selector"
        ));
    }
    parts.join("; ")
}

/// How the pods come to be made anew.
fn remedy(pods: &[&ObservedPod], namespace: &str) -> String {
    let workloads: BTreeSet<&str> = pods.iter().filter_map(|pod| restartable(pod)).collect();
    if workloads.is_empty() {
        return "delete these pods, so that they are made anew".to_owned();
    }
    let commands: Vec<String> = workloads
        .iter()
        .take(MOST_WORKLOADS)
        .map(|workload| format!("kubectl rollout restart {workload} -n {namespace}"))
        .collect();
    format!("restart what made them: {}", commands.join(", "))
}

/// The pod's workload, if it is of a kind that `kubectl rollout restart` takes.
fn restartable(pod: &ObservedPod) -> Option<&str> {
    let workload = pod.workload.as_deref()?;
    let (kind, _) = workload.split_once('/')?;
    matches!(kind, "deployment" | "statefulset" | "daemonset").then_some(workload)
}
