//! The condition Injected: every selected pod carries the sidecar, with all that the pipeline needs of it.

use std::collections::{BTreeMap, BTreeSet};

use weir_crds::v1alpha1::{Restart, Sidecar};

use super::census::Census;
use super::{condition, refused, some};
use crate::conditions::{Finding, Status};
use crate::injection::Lack;
use crate::pipeline::namespace;
use crate::pipeline::observe::{Observed, ObservedPod, Obstacle};
use crate::pipeline::repair::{Repair, due, stale, workload_of};
use crate::selector;

/// How many pods are named, here and in the status.
pub(super) const MOST_NAMES: usize = 10;
/// How many obstacles are told.
const MOST_OBSTACLES: usize = 3;
/// How many pods are named that have the same one.
const MOST_HOPELESS: usize = 3;
/// How many workloads the remedy names.
const MOST_WORKLOADS: usize = 3;

/// Finds the condition; `None` where nothing is to be injected.
pub(super) fn find(observed: &Observed, census: &Census, repairs: &[Repair]) -> Option<Finding> {
    let Sidecar { selector, restart, resources: _ } =
        observed.pipeline.spec.placement.sidecar.as_ref()?;
    if census.desired == 0 {
        let (reason, message) = match refused::find(observed) {
            Some(refused) => ("PodsRefused", refused),
            None => {
                let selector = selector::render(selector);
                let message = match refused::pending(observed) {
                    Some(workload) => format!(
                        "{}, whose pods match {selector}, has not made any yet",
                        workload.id()
                    ),
                    None => format!("no pod of the namespace matches {selector}"),
                };
                ("NoPodSelected", message)
            }
        };
        let status = Status::Unknown;
        return Some(Finding { type_: condition::INJECTED, status, reason, message });
    }
    let (status, reason) = verdict(observed, census);
    let mut parts = vec![head(census)];
    parts.extend(ending(observed, census));
    parts.extend(lacking(observed));
    match restart {
        Restart::Never => parts.extend(remedy(observed)),
        Restart::OnChange => {
            parts.extend(repaired(observed, repairs));
            parts.extend(waiting(observed));
        }
    }
    parts.extend(hopeless(observed));
    parts.extend(shared(observed));
    let message = parts.join("; ");
    Some(Finding { type_: condition::INJECTED, status, reason, message })
}

fn verdict(observed: &Observed, census: &Census) -> (Status, &'static str) {
    let needs = observed.pods.iter().any(ObservedPod::is_incomplete);
    match (census.missing.is_empty(), needs, census.incomplete) {
        (false, ..) => (Status::False, "PodsWithoutSidecar"),
        _ if observed.no_injection.is_some() => (Status::False, "InjectionOff"),
        (true, true, _) => (Status::False, "SidecarsIncomplete"),
        // They serve all the same.
        (true, false, 1..) => (Status::True, "SidecarsOutdated"),
        (true, false, _) => (Status::True, "AllInjected"),
    }
}

fn head(census: &Census) -> String {
    let Census { desired, injected, missing, .. } = census;
    let carry = format!("{injected} of {desired} selected pods carry the sidecar");
    if missing.is_empty() {
        return carry;
    }
    format!("{carry}, which a pod gets when it is created; without: {}", some(missing, MOST_NAMES))
}

/// What becomes of pods that are made from now on, where all that there are carry the sidecar.
fn ending(observed: &Observed, census: &Census) -> Option<String> {
    let Obstacle { why, remedy } = observed.no_injection.as_ref()?;
    census
        .missing
        .is_empty()
        .then(|| format!("pods that are made from now on get none, because {why}: {remedy}"))
}

/// Which pods lack a part that a new pod would have.
fn lacking(observed: &Observed) -> Vec<String> {
    let mut lacking: BTreeMap<&Lack, Vec<String>> = BTreeMap::new();
    for pod in observed.pods.iter().filter(|pod| pod.selected) {
        for lack in &pod.lacks {
            lacking.entry(lack).or_default().push(pod.name.clone());
        }
    }
    let words = |(lack, pods): (&Lack, Vec<String>)| {
        format!("made without {lack}: {}", some(&pods, MOST_NAMES))
    };
    lacking.into_iter().map(words).collect()
}

/// How the pods come to be made anew, by hand.
fn remedy(observed: &Observed) -> Option<String> {
    let pods: Vec<&ObservedPod> = stale(observed).collect();
    if pods.is_empty() {
        return None;
    }
    let namespace = namespace(&observed.pipeline);
    let commands: BTreeSet<String> =
        pods.iter().filter_map(|pod| remaking(pod, &namespace)).collect();
    if commands.is_empty() {
        return Some("delete these pods, so that they are made anew".to_owned());
    }
    let commands: Vec<String> = commands.into_iter().take(MOST_WORKLOADS).collect();
    Some(format!("restart what made them: {}", commands.join(", ")))
}

/// The command that has a pod made anew.
fn remaking(pod: &ObservedPod, namespace: &str) -> Option<String> {
    let workload = restartable(pod)?;
    // A StatefulSet replaces no pod that has not come up.
    Some(if pod.is_stuck() && workload.starts_with("statefulset/") {
        format!("kubectl delete pod {} -n {namespace}", pod.name)
    } else {
        format!("kubectl rollout restart {workload} -n {namespace}")
    })
}

/// What is done about the pods, and about which of them nothing is.
fn repaired(observed: &Observed, repairs: &[Repair]) -> Vec<String> {
    let one = |repair: &Repair| format!("{} {}", repair.workload, repair.words);
    let mut parts: Vec<String> = repairs.iter().take(MOST_WORKLOADS).map(one).collect();
    let left = due(observed).filter(|pod| workload_of(observed, pod).is_none());
    let left: Vec<String> = left.map(origin).collect();
    if !left.is_empty() {
        parts.push(format!(
            "only Deployments, StatefulSets and DaemonSets are restarted; delete by hand, so that they are \
             made anew: {}",
            some(&left, MOST_NAMES)
        ));
    }
    parts
}

/// How the pods come to be made anew that are left, because nothing but an upgrade of the operator would be a reason.
fn waiting(observed: &Observed) -> Option<String> {
    let Observed { pipeline, upgrade, .. } = observed;
    stale(observed).any(|pod| !pod.is_due(upgrade)).then(|| {
        format!(
            "an upgrade of the operator restarts nothing before it is asked to: {}",
            upgrade.command(pipeline)
        )
    })
}

fn origin(pod: &ObservedPod) -> String {
    match &pod.workload {
        Some(workload) => format!("{} (of {workload})", pod.name),
        None => format!("{} (of nobody)", pod.name),
    }
}

/// Which pods can't be injected however often they are made: one for each obstacle.
fn hopeless(observed: &Observed) -> Vec<String> {
    let mut obstacles: BTreeMap<&str, (&Obstacle, Vec<String>)> = BTreeMap::new();
    for pod in observed.pods.iter().filter(|pod| pod.selected && !pod.member) {
        if let Some(obstacle) = &pod.obstacle {
            let (_, pods) = obstacles.entry(&obstacle.why).or_insert((obstacle, Vec::new()));
            pods.push(pod.name.clone());
        }
    }
    let words = |(Obstacle { why, remedy }, pods): (&Obstacle, Vec<String>)| {
        format!("{} can't be injected, because {why}: {remedy}", some(&pods, MOST_HOPELESS))
    };
    obstacles.into_values().take(MOST_OBSTACLES).map(words).collect()
}

/// With which other pipelines the sidecar is shared, and what that means for the application.
fn shared(observed: &Observed) -> Option<String> {
    let members = || observed.pods.iter().filter(|pod| pod.member);
    let neighbours: BTreeSet<&String> = members().flat_map(|pod| &pod.neighbours).collect();
    if neighbours.is_empty() {
        return None;
    }
    let names: Vec<String> = neighbours.into_iter().cloned().collect();
    let shared = format!("the sidecar serves {}, too", some(&names, MOST_NAMES));
    let own = kube::ResourceExt::name_any(&observed.pipeline);
    let posted = observed.pipeline.spec.sources.iter().any(|source| source.http.is_some());
    let elsewhere =
        members().find_map(|pod| pod.publishes_to.as_ref().filter(|name| **name != own));
    Some(match elsewhere.filter(|_| posted) {
        Some(other) => format!(
            "{shared}, and $WEIR_PUBLISH_URL leads to {other}: publish into this one by \
             $WEIR_PUBLISH_BASE/{own}/events"
        ),
        None => shared,
    })
}

/// The pod's workload, if it is of a kind that `kubectl rollout restart` takes.
fn restartable(pod: &ObservedPod) -> Option<&str> {
    let workload = pod.workload.as_deref()?;
    let (kind, _) = workload.split_once('/')?;
    matches!(kind, "deployment" | "statefulset" | "daemonset").then_some(workload)
}
