//! Repairs pods that lack what a new pod would have: restarts the workloads that made them, where the
//! pipeline asks for it.
//!
//! # Laws
//!
//! - No pod is ever deleted. A workload is restarted by a change of its pod template, so that its own rolling
//!   update, with the budget that it gives, replaces the pods.
//! - One that is paused is left alone, and so is one whose rollout is under way, but where it can't get on because of
//!   what a restart mends. No more than two are restarted at once.
//! - Pods whose sidecar is merely of another release than the operator are left until that is asked for.
//! - Before a restart a trial shows that a new pod would be admitted, and would have what is lacking.
//! - For one state of the pipeline a workload is restarted at most three times a day, with growing pauses.
//!   What was done stands in the status, so that neither a new leader nor a controller that takes the change
//!   back makes it begin anew.

mod metrics;
mod plan;
mod restart;
mod trial;

use std::ops::ControlFlow;

use jiff::Timestamp;
use weir_crds::v1alpha1::RestartStatus;

use self::metrics::Ending;
pub(super) use self::metrics::RestartMetrics;
use self::plan::{Plan, Verdict, plan};
pub(super) use self::plan::{due, remember, stale, workload_of};
use self::trial::Trial;
use super::Outcome;
use super::observe::Observed;
use crate::context::{Context, Notice};
use crate::sidecar::Image;

/// What becomes of a workload whose pods lack something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repair {
    /// The workload, as `deployment/web`.
    pub(super) workload: String,
    /// What is done, as words that follow its name.
    pub(super) words: String,
    /// Whether it is under way, and so to be looked at again soon.
    pub(super) is_moving: bool,
    /// The restart, where it was restarted just now.
    pub(super) restarted: Option<RestartStatus>,
}

impl Repair {
    const fn without(workload: String, words: String) -> Self {
        Self { workload, words, is_moving: false, restarted: None }
    }
}

/// Restarts what is to be restarted. Nothing is before the pipeline's own objects stand.
pub(super) async fn repair(
    context: &Context,
    metrics: &RestartMetrics,
    observed: &Observed,
    outcome: &Outcome,
) -> Vec<Repair> {
    match outcome {
        Outcome::Applied(_) => {}
        Outcome::Rejected(_) | Outcome::Failed(_) => return Vec::new(),
    }
    let now = Timestamp::now();
    let image = Image::of(&context.options);
    let mut repairs = Vec::new();
    for Plan { workload, need, cause, verdict } in plan(observed, &image, now) {
        let id = workload.id();
        let namespace = super::namespace(&observed.pipeline);
        let attempts = match turn(verdict, &id, &namespace, context.options.restarts) {
            ControlFlow::Continue(attempts) => attempts,
            ControlFlow::Break(repair) => {
                repairs.push(repair);
                continue;
            }
        };
        match trial::attempt(context, observed, workload, &image, now).await {
            Trial::Passed => {}
            Trial::Failed(why) => {
                metrics.count(workload.kind, Ending::TrialFailed);
                let words = format!("is not restarted, because a trial failed: {why}");
                repairs.push(Repair::without(id, words));
                continue;
            }
        }
        let repair = match restart::restart(context, &namespace, workload, now).await {
            Ok(()) => {
                metrics.count(workload.kind, Ending::Restarted);
                tell(context, observed, workload, &need).await;
                let words = format!("is being restarted, because {need}");
                let restarted = RestartStatus {
                    workload: id.clone(),
                    at: restart::whole_seconds(now),
                    cause,
                    attempts,
                };
                Repair { workload: id, words, is_moving: true, restarted: Some(restarted) }
            }
            Err(why) => {
                metrics.count(workload.kind, Ending::Failed);
                Repair::without(id, format!("could not be restarted: {why}"))
            }
        };
        repairs.push(repair);
    }
    repairs
}

/// For the so-manieth time it is to be restarted now; or what is said where it is not, as where restarts are off.
fn turn(verdict: Verdict, id: &str, namespace: &str, are_on: bool) -> ControlFlow<Repair, i32> {
    let left = |words| Repair::without(id.to_owned(), words);
    let moving = |words| Repair { is_moving: true, ..left(words) };
    ControlFlow::Break(match verdict {
        Verdict::Restart { .. } | Verdict::Queue if !are_on => left(off(id, namespace)),
        Verdict::Restart { attempts } => return ControlFlow::Continue(attempts),
        Verdict::Queue => moving("is restarted once others are through".to_owned()),
        Verdict::Wait(words) => moving(words),
        Verdict::Leave(words) => left(words),
    })
}

/// What is said where the operator restarts nothing.
fn off(id: &str, namespace: &str) -> String {
    format!(
        "is not restarted, because this operator restarts nothing (restarts.enabled of the chart): kubectl rollout \
         restart {id} -n {namespace}"
    )
}

/// Tells of a restart on the pipeline, and on the workload, where its owner looks.
async fn tell(
    context: &Context,
    observed: &Observed,
    workload: &super::observe::Workload,
    need: &str,
) {
    let pipeline = &observed.pipeline;
    let name = kube::ResourceExt::name_any(pipeline);
    let notice =
        |note: String| Notice { warning: false, reason: "RestartedForSidecar".to_owned(), note };
    let about = notice(format!("{} is being restarted, because {need}", workload.id()));
    context.publish(pipeline, about).await;
    let reference = restart::reference(workload, &super::namespace(pipeline));
    let about = notice(format!(
        "restarted for the sidecar of StreamPipeline {name} (placement.sidecar.restart is OnChange), because \
         {need}"
    ));
    context.publish_about(&reference, about).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_that_restarts_nothing_promises_none_and_waits_for_none() {
        let turn = |verdict: Verdict, are_on: bool| turn(verdict, "deployment/web", "shop", are_on);
        assert_eq!(turn(Verdict::Restart { attempts: 2 }, true), ControlFlow::Continue(2));
        let ControlFlow::Break(queued) = turn(Verdict::Queue, true) else { panic!("restarted") };
        assert!(queued.is_moving && queued.words.contains("others"), "{queued:?}");
        for verdict in [Verdict::Restart { attempts: 1 }, Verdict::Queue] {
            let ControlFlow::Break(off) = turn(verdict, false) else { panic!("restarted") };
            assert!(!off.is_moving && off.words.contains("restarts nothing"), "{off:?}");
        }
    }
}
