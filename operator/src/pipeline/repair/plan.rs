//! Decides which workloads are restarted. Pure: time comes in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use sha2::{Digest as _, Sha256};
use weir_crds::names::annotation;
use weir_crds::v1alpha1::{Restart, RestartStatus, StreamPipeline};

use crate::injection::granted;
use crate::pipeline::namespace;
use crate::pipeline::observe::{Observed, ObservedPod, Rollout, Workload, WorkloadKind};
use crate::secrets;
use crate::sidecar::{Image, grace_seconds, keeps_data};

/// What was restarted in vain so often is not mended by restarting it.
const MOST_ATTEMPTS: i32 = 3;
/// After a restart, before another: four times as long after each in vain.
const PAUSE: Duration = Duration::from_mins(1);
/// For how long a restart is remembered.
const REMEMBERED: Duration = Duration::from_hours(24);
/// How many restarts are remembered, as the definition of the status has it.
const MOST_REMEMBERED: usize = 10;
/// How many workloads of a pipeline are in rollout at the same time: a node that failed concerns many.
const MOST_AT_ONCE: usize = 2;
/// What is under way for longer than this after a restart counts no more: it may never end.
const LATELY: Duration = Duration::from_mins(10);

/// A workload whose pods lack something.
#[derive(Debug, PartialEq)]
pub(in crate::pipeline) struct Plan<'a> {
    /// The workload.
    pub(in crate::pipeline) workload: &'a Workload,
    /// What its pods lack, as `2 of its pods have no sidecar`.
    pub(in crate::pipeline) need: String,
    /// What its pods are to have, as a hash.
    pub(in crate::pipeline) cause: String,
    /// What is to be done.
    pub(in crate::pipeline) verdict: Verdict,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pipeline) enum Verdict {
    /// It is to be restarted, for the so-manieth time for this cause.
    Restart {
        /// How many times it has then been.
        attempts: i32,
    },
    /// It is to be restarted once others are through.
    Queue,
    /// Nothing before something has come to its end: what, as words that follow its name.
    Wait(String),
    /// Nothing: why, as words that follow its name.
    Leave(String),
}

/// The selected pods that lack something, and would not if they were made anew.
pub(in crate::pipeline) fn stale(observed: &Observed) -> impl Iterator<Item = &ObservedPod> {
    observed.pods.iter().filter(|pod| pod.selected && !pod.is_whole())
}

/// Those of them that are to be made anew.
pub(in crate::pipeline) fn due(observed: &Observed) -> impl Iterator<Item = &ObservedPod> {
    stale(observed).filter(|pod| pod.is_due(&observed.upgrade))
}

/// The workload that made a pod, where it is of a kind that can be restarted.
pub(in crate::pipeline) fn workload_of<'a>(
    observed: &'a Observed,
    pod: &ObservedPod,
) -> Option<&'a Workload> {
    let id = pod.workload.as_deref()?;
    observed.workloads.iter().find(|workload| workload.id() == id)
}

/// Decides for each workload whose pods are to be made anew; for none where the pipeline asks for no restart.
pub(in crate::pipeline) fn plan<'a>(
    observed: &'a Observed,
    image: &Image,
    now: Timestamp,
) -> Vec<Plan<'a>> {
    let pipeline = &observed.pipeline;
    match pipeline.spec.placement.sidecar.as_ref().map(|sidecar| sidecar.restart) {
        Some(Restart::OnChange) => {}
        Some(Restart::Never) | None => return Vec::new(),
    }
    let mut concerned: BTreeMap<String, (&Workload, Vec<&ObservedPod>)> = BTreeMap::new();
    for pod in due(observed) {
        if let Some(workload) = workload_of(observed, pod) {
            concerned.entry(workload.id()).or_insert((workload, Vec::new())).1.push(pod);
        }
    }
    let is_rolling = |workload: &&Workload| {
        let is_stuck = concerned.get(&workload.id()).map(|(_, pods)| are_stuck(pods));
        workload.rollout == Rollout::UnderWay
            && (is_stuck == Some(false) || is_restarted_lately(workload, now))
    };
    let rolling = observed.workloads.iter().filter(is_rolling);
    let mut room = MOST_AT_ONCE.saturating_sub(rolling.count());
    let in_vain = remembered(pipeline, now).map(|restart| restart.workload.clone());
    let in_vain: BTreeSet<String> = in_vain.filter(|id| concerned.contains_key(id)).collect();
    let plan = |(workload, pods): (&'a Workload, Vec<&ObservedPod>)| {
        let id = workload.id();
        let cause = cause(pipeline, &sharing(observed, workload), image);
        let verdict = match judge(pipeline, workload, &pods, &cause, now) {
            Verdict::Restart { .. }
                if in_vain.len() >= MOST_REMEMBERED && !in_vain.contains(&id) =>
            {
                Verdict::Leave(crowded_out(pipeline, &id))
            }
            Verdict::Restart { .. } if room == 0 => Verdict::Queue,
            verdict @ Verdict::Restart { .. } => {
                room -= 1;
                verdict
            }
            verdict @ (Verdict::Queue | Verdict::Wait(_) | Verdict::Leave(_)) => verdict,
        };
        Plan { workload, need: need(&pods), cause, verdict }
    };
    concerned.into_values().map(plan).collect()
}

/// The restarts that are still to be remembered: those of before, and those of now.
pub(in crate::pipeline) fn remember(
    before: &[RestartStatus],
    now: impl Iterator<Item = RestartStatus>,
    time: Timestamp,
) -> Vec<RestartStatus> {
    let mut all: BTreeMap<String, RestartStatus> = BTreeMap::new();
    let recent = before.iter().filter(|restart| time < after(restart.at.0, REMEMBERED));
    for restart in recent.cloned().chain(now) {
        all.insert(restart.workload.clone(), restart);
    }
    let mut all: Vec<RestartStatus> = all.into_values().collect();
    // The newest stay where there are too many.
    all.sort_by_key(|restart| std::cmp::Reverse(restart.at.0));
    all.truncate(MOST_REMEMBERED);
    all.sort_by(|a, b| a.workload.cmp(&b.workload));
    all
}

/// The restarts of the last day.
fn remembered(pipeline: &StreamPipeline, now: Timestamp) -> impl Iterator<Item = &RestartStatus> {
    let injection = pipeline.status.as_ref().and_then(|status| status.injection.as_ref());
    let restarts = injection.into_iter().flat_map(|injection| &injection.restarts);
    restarts.filter(move |restart| now < after(restart.at.0, REMEMBERED))
}

/// What is said where a restart would have another forgotten that was in vain, and so begin anew.
fn crowded_out(pipeline: &StreamPipeline, id: &str) -> String {
    format!(
        "is not restarted while {MOST_REMEMBERED} others lack something that were: kubectl rollout restart {id} -n {}",
        namespace(pipeline)
    )
}

/// Whether what goes on there may still be what a restart has begun.
fn is_restarted_lately(workload: &Workload, now: Timestamp) -> bool {
    restarted_at(workload).is_some_and(|at| now < after(at, LATELY))
}

/// Whether some of these pods can't come up as they are.
fn are_stuck(pods: &[&ObservedPod]) -> bool {
    pods.iter().any(|pod| pod.is_stuck())
}

fn judge(
    pipeline: &StreamPipeline,
    workload: &Workload,
    pods: &[&ObservedPod],
    cause: &str,
    now: Timestamp,
) -> Verdict {
    let id = workload.id();
    if let Some(words) = waits_for_ever(pipeline, workload, pods) {
        return Verdict::Leave(words);
    }
    match workload.rollout {
        Rollout::Settled => {}
        // Its end would be waited for in vain.
        Rollout::UnderWay if are_stuck(pods) => {}
        Rollout::UnderWay => return Verdict::Wait("is being rolled out".to_owned()),
        Rollout::Paused => {
            let namespace = namespace(pipeline);
            return Verdict::Leave(format!(
                "is paused, and so left alone: kubectl rollout resume {id} -n {namespace}"
            ));
        }
        Rollout::ByHand => {
            let words = "is left alone, because its update strategy is OnDelete: delete its pods";
            return Verdict::Leave(words.to_owned());
        }
        Rollout::HeldBack => {
            let words = "is left alone, because the partition of its update strategy holds pods back: set \
                         it to 0, or delete the pods";
            return Verdict::Leave(words.to_owned());
        }
    }
    let known = remembered(pipeline, now).find(|restart| restart.workload == id);
    let attempts = known.filter(|restart| restart.cause == cause).map_or(0, |known| known.attempts);
    // Another pipeline may have restarted it.
    let last = known.map(|restart| restart.at.0).max(restarted_at(workload));
    match last {
        Some(last) if attempts >= MOST_ATTEMPTS => Verdict::Leave(format!(
            "has been restarted {attempts} times, at {last} for the last time, and its pods still lack it: \
             see whether something else changes new pods, and restart it by hand"
        )),
        Some(last) if now < after(last, pause(attempts)) => Verdict::Leave(format!(
            "was restarted at {last}, and is again from {} on, should its pods still lack it",
            after(last, pause(attempts))
        )),
        Some(_) | None => Verdict::Restart { attempts: attempts + 1 },
    }
}

/// What is said of a StatefulSet with pods that can't come up: whatever becomes of its template, it waits for them.
fn waits_for_ever(
    pipeline: &StreamPipeline,
    workload: &Workload,
    pods: &[&ObservedPod],
) -> Option<String> {
    match workload.kind {
        WorkloadKind::StatefulSet => {}
        WorkloadKind::Deployment | WorkloadKind::DaemonSet => return None,
    }
    let stuck = pods.iter().filter(|pod| pod.is_stuck()).map(|pod| pod.name.as_str());
    let stuck: Vec<&str> = stuck.collect();
    (!stuck.is_empty()).then(|| {
        format!(
            "is left alone, because it replaces no pod that has not come up: kubectl delete pod {} -n {}",
            stuck.join(" "),
            namespace(pipeline)
        )
    })
}

fn pause(attempts: i32) -> Duration {
    let attempts = u32::try_from(attempts).unwrap_or(0);
    PAUSE * 4_u32.saturating_pow(attempts.min(4))
}

/// So long after a time, which anybody may have written, and so may be the last one there is.
fn after(at: Timestamp, time: Duration) -> Timestamp {
    at.checked_add(time).unwrap_or(Timestamp::MAX)
}

fn restarted_at(workload: &Workload) -> Option<Timestamp> {
    let annotations = workload.template.metadata.as_ref()?.annotations.as_ref()?;
    annotations.get(annotation::RESTARTED_AT)?.parse().ok()
}

/// The other pipelines that the sidecar of a new pod of the workload would serve, too.
fn sharing<'a>(observed: &'a Observed, workload: &Workload) -> Vec<&'a StreamPipeline> {
    let metadata = workload.template.metadata.as_ref();
    let labels = metadata.and_then(|metadata| metadata.labels.clone()).unwrap_or_default();
    let selects = |other: &&StreamPipeline| {
        let sidecar = other.spec.placement.sidecar.as_ref();
        sidecar.is_some_and(|sidecar| sidecar.selector.matches(&labels))
    };
    observed.others.iter().map(Arc::as_ref).filter(selects).collect()
}

/// What pods are to have, as a hash: it stays the same while they are being replaced. What the sidecar is granted comes
/// from all that it serves.
fn cause(pipeline: &StreamPipeline, sharing: &[&StreamPipeline], image: &Image) -> String {
    let spec = &pipeline.spec;
    let log = &spec.log;
    let mut hasher = Sha256::new();
    let granted =
        serde_json::to_string(&granted(&[&[pipeline], sharing].concat())).unwrap_or_default();
    let grace = grace_seconds([&spec.delivery.drain.window]).to_string();
    let disk = keeps_data([log]).to_string();
    let secrets = secrets::named_by([spec]);
    let name = pipeline.name_any();
    let parts = [name.as_str(), &image.reference, &granted, &grace, &disk];
    for part in parts.into_iter().chain(secrets) {
        hasher.update(part);
        // No part has this byte in it.
        hasher.update([0]);
    }
    hasher.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// What pods lack, in words.
fn need(pods: &[&ObservedPod]) -> String {
    let bare = pods.iter().filter(|pod| !pod.member).count();
    let mut lacks: BTreeMap<String, usize> = BTreeMap::new();
    for lack in pods.iter().flat_map(|pod| &pod.lacks) {
        *lacks.entry(lack.to_string()).or_default() += 1;
    }
    let bare = (bare > 0).then(|| format!("{bare} of its pods without the sidecar"));
    let lacking = lacks.into_iter().map(|(lack, count)| format!("{count} without {lack}"));
    format!("it has {}", bare.into_iter().chain(lacking).collect::<Vec<_>>().join(" and "))
}

#[cfg(test)]
mod tests;
