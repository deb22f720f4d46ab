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
//!   What is done stands in the status before it is, so that neither a new leader, nor a controller that takes the
//!   change back, nor a status that can't be written makes it begin anew.

mod metrics;
mod plan;
mod restart;
mod trial;

use std::iter;
use std::ops::ControlFlow;

use jiff::Timestamp;
use weir_crds::v1alpha1::{RestartStatus, StreamPipeline};

use self::metrics::Ending;
pub(super) use self::metrics::RestartMetrics;
use self::plan::{Plan, Verdict, plan};
pub(super) use self::plan::{due, remember, stale, workload_of};
use self::trial::Trial;
use super::observe::{Observed, Workload};
use super::{Outcome, report};
use crate::context::{Context, Notice};
use crate::failure::chain;
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
    observed: &mut Observed,
    outcome: &Outcome,
) -> Vec<Repair> {
    match outcome {
        Outcome::Applied(_) => {}
        Outcome::Rejected(_) | Outcome::Failed(_) => return Vec::new(),
    }
    let now = Timestamp::now();
    let image = Image::of(&context.options);
    let mut repairs = Vec::new();
    let mut noted = observed.pipeline.clone();
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
        let restarted = RestartStatus {
            workload: id.clone(),
            at: restart::whole_seconds(now),
            cause,
            attempts,
        };
        let repair = match carry_out(context, &mut noted, workload, &restarted).await {
            Ok(()) => {
                metrics.count(workload.kind, Ending::Restarted);
                tell(context, observed, workload, &need).await;
                let words = format!("is being restarted, because {need}");
                Repair { workload: id, words, is_moving: true, restarted: Some(restarted) }
            }
            Err(why) => {
                metrics.count(workload.kind, Ending::Failed);
                Repair::without(id, format!("could not be restarted: {why}"))
            }
        };
        repairs.push(repair);
    }
    observed.pipeline = noted;
    repairs
}

/// Restarts a workload once the status of the pipeline has it; where it is not restarted, the status is as it was.
///
/// # Errors
///
/// With the reason for a person.
async fn carry_out(
    context: &Context,
    pipeline: &mut StreamPipeline,
    workload: &Workload,
    restarted: &RestartStatus,
) -> Result<(), String> {
    let before = pipeline.status.clone().unwrap_or_default();
    let mut noted = before.clone();
    let injection = noted.injection.get_or_insert_default();
    let at = restarted.at.0;
    injection.restarts = remember(&injection.restarts, iter::once(restarted.clone()), at);
    if let Err(error) = report::intend(context, pipeline, noted).await {
        return Err(format!("the status can't note it: {}", chain(&error)));
    }
    let namespace = super::namespace(pipeline);
    let restarting = restart::restart(context, &namespace, workload, at).await;
    if restarting.is_err()
        && let Err(error) = report::intend(context, pipeline, before).await
    {
        tracing::warn!(error = chain(&error), "a restart that was not made stands in the status");
    }
    restarting
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
async fn tell(context: &Context, observed: &Observed, workload: &Workload, need: &str) {
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
    use http::StatusCode;
    use kube::core::Status;
    use serde_json::{Value, json};

    use super::*;
    use crate::pipeline::observe::WorkloadKind;
    use crate::testing::{FakeApi, context, sidecar_pipeline};

    /// What an API server was asked to patch that gives these answers to a status and to a workload; whether the
    /// restart was made, and how many are remembered.
    async fn carried_out(of_status: u16, of_workload: u16) -> (Vec<String>, bool, usize) {
        let answer = |code: u16, object: Value| {
            let refusal = serde_json::to_value(Status::failure("no", "").with_code(code)).unwrap();
            let body = if code == 200 { object } else { refusal };
            (StatusCode::from_u16(code).unwrap(), body)
        };
        let mut pipeline = sidecar_pipeline("orders");
        let stands = serde_json::to_value(&pipeline).unwrap();
        let api = FakeApi::new(move |path| {
            if path.ends_with("/status") {
                return answer(of_status, stands.clone());
            }
            let web = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" } });
            answer(of_workload, web)
        });
        let restarted = RestartStatus {
            workload: "deployment/web".to_owned(),
            at: restart::whole_seconds(Timestamp::UNIX_EPOCH),
            cause: "c".to_owned(),
            attempts: 1,
        };
        let (context, web) =
            (context(api.client()), Workload::named(WorkloadKind::Deployment, "web"));
        let made = carry_out(&context, &mut pipeline, &web, &restarted).await.is_ok();
        let injection = pipeline.status.unwrap_or_default().injection.unwrap_or_default();
        let asked = api.asked();
        let last = asked.iter().filter_map(|asked| asked.rsplit('/').next());
        (last.map(str::to_owned).collect(), made, injection.restarts.len())
    }

    #[tokio::test]
    async fn a_restart_stands_in_the_status_before_it_is_made_and_only_if_it_is() {
        let asked = |names: &[&str]| names.iter().copied().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(carried_out(200, 200).await, (asked(&["status", "web"]), true, 1));
        assert_eq!(carried_out(403, 200).await, (asked(&["status"]), false, 0));
        let back = asked(&["status", "web", "status"]);
        assert_eq!(carried_out(200, 409).await, (back, false, 0));
    }

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
