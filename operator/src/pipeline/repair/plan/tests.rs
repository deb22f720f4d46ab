//! Decides for clusters in which pods lack something, and lets time pass.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{from_value, json};
use weir_crds::v1alpha1::{InjectionStatus, StreamPipelineStatus};

use super::*;
use crate::injection::Lack;
use crate::pipeline::observe::{Obstacle, WorkloadKind};
use crate::pipeline::testing::{running, serving_pod};
use crate::testing::{options, sidecar_pipeline};

const MINUTE: Duration = Duration::from_mins(1);

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn image() -> Image {
    Image::of(&options())
}

/// A pipeline that asks for restarts, one pod that has everything, and one of each workload that has no
/// sidecar.
fn observed(workloads: &[&str]) -> Observed {
    let mut pipeline = sidecar_pipeline("orders");
    pipeline.spec.placement.sidecar.as_mut().unwrap().restart = Restart::OnChange;
    let mut observed = running(&pipeline, &["whole"]);
    for name in workloads {
        observed.workloads.push(Workload::named(WorkloadKind::Deployment, name));
        let workload = Some(format!("deployment/{name}"));
        let pod = serving_pod(&format!("{name}-1"));
        observed.pods.push(ObservedPod { member: false, workload, ..pod });
    }
    observed
}

fn verdicts(observed: &Observed, now: Timestamp) -> Vec<Verdict> {
    plan(observed, &image(), now).into_iter().map(|plan| plan.verdict).collect()
}

fn words(observed: &Observed) -> String {
    match verdicts(observed, now()).remove(0) {
        Verdict::Wait(words) | Verdict::Leave(words) => words,
        verdict @ (Verdict::Restart { .. } | Verdict::Queue) => panic!("{verdict:?}"),
    }
}

/// The status notes what `plan` had done at `at`.
fn note(observed: &mut Observed, at: Timestamp) {
    let plans = plan(observed, &image(), at);
    let done = plans.iter().filter_map(|plan| match plan.verdict {
        Verdict::Restart { attempts } => Some(RestartStatus {
            workload: plan.workload.id(),
            at: Time(at),
            cause: plan.cause.clone(),
            attempts,
        }),
        Verdict::Queue | Verdict::Wait(_) | Verdict::Leave(_) => None,
    });
    let status = observed.pipeline.status.clone().unwrap_or_default();
    let before = status.injection.unwrap_or_default().restarts;
    let restarts = remember(&before, done, at);
    let injection = Some(InjectionStatus { restarts, ..InjectionStatus::default() });
    observed.pipeline.status = Some(StreamPipelineStatus { injection, ..status });
}

const FIRST: Verdict = Verdict::Restart { attempts: 1 };

#[test]
fn a_workload_whose_pods_lack_something_is_restarted_once_and_says_why() {
    let observed = observed(&["web"]);
    let plans = plan(&observed, &image(), now());
    assert_eq!(plans.len(), 1);
    assert_eq!(plans[0].verdict, FIRST);
    assert_eq!(plans[0].need, "it has 1 of its pods without the sidecar");
}

#[test]
fn without_the_wish_nothing_is_restarted() {
    let mut observed = observed(&["web"]);
    observed.pipeline.spec.placement.sidecar.as_mut().unwrap().restart = Restart::Never;
    assert_eq!(verdicts(&observed, now()), []);
}

#[test]
fn a_pod_that_lacks_nothing_is_unselected_or_can_not_be_injected_restarts_nothing() {
    let mut observed = observed(&["web"]);
    let obstacle = Obstacle::of_pod("it has hostNetwork".to_owned());
    observed.pods[1].obstacle = Some(obstacle);
    assert_eq!(verdicts(&observed, now()), []);
    observed.pods[1].obstacle = None;
    observed.pods[1].selected = false;
    assert_eq!(verdicts(&observed, now()), []);
    observed.pods[1] = ObservedPod { workload: Some("deployment/web".into()), ..serving_pod("x") };
    assert_eq!(verdicts(&observed, now()), []);
    observed.pods[1].lacks = vec![Lack::Disk];
    assert_eq!(verdicts(&observed, now()), [FIRST]);
}

#[test]
fn the_sidecar_of_another_release_restarts_nothing_before_that_is_asked_for() {
    let mut observed = observed(&["web"]);
    observed.pods[1].member = true;
    observed.pods[1].lacks = vec![Lack::Image("sidecar:2".to_owned())];
    assert_eq!(verdicts(&observed, now()), []);
    observed.upgrade.is_asked = true;
    assert_eq!(verdicts(&observed, now()), [FIRST]);
    observed.upgrade.is_asked = false;
    observed.pods[1].lacks.push(Lack::Secret("tls".to_owned()));
    assert_eq!(verdicts(&observed, now()), [FIRST]);
}

/// Pods of a rollout that ask for more than any node has, or whose sidecar has no image.
#[test]
fn the_end_of_a_rollout_is_not_waited_for_whose_pods_can_not_come_up() {
    let mut observed = observed(&["web"]);
    observed.workloads[0].rollout = Rollout::UnderWay;
    assert_eq!(words(&observed), "is being rolled out");
    let room = Lack::Room("20m of CPU".to_owned());
    observed.pods[1].member = true;
    observed.pods[1].lacks = vec![room];
    assert_eq!(verdicts(&observed, now()), [FIRST]);
    observed.pods[1].lacks = vec![Lack::Image("sidecar:2".to_owned())];
    assert_eq!(verdicts(&observed, now()), [], "it serves");
    observed.pods[1].unstarted = true;
    assert_eq!(verdicts(&observed, now()), [FIRST]);
    // A StatefulSet waits for them whatever its template is.
    observed.workloads[0].kind = WorkloadKind::StatefulSet;
    observed.pods[1].workload = Some("statefulset/web".to_owned());
    let words = words(&observed);
    assert!(words.ends_with("kubectl delete pod web-1 -n shop"), "{words}");
}

#[test]
fn a_pod_of_a_job_or_of_nobody_restarts_nothing() {
    let mut observed = observed(&["web"]);
    for workload in [None, Some("job/once".to_owned())] {
        observed.pods[1].workload = workload;
        assert_eq!(verdicts(&observed, now()), []);
    }
}

#[test]
fn what_is_paused_rolled_out_or_up_to_a_person_is_left_alone() {
    for (rollout, expected) in [
        (Rollout::UnderWay, "is being rolled out"),
        (Rollout::Paused, "kubectl rollout resume deployment/web -n shop"),
        (Rollout::ByHand, "OnDelete: delete its pods"),
        (Rollout::HeldBack, "partition"),
    ] {
        let mut observed = observed(&["web"]);
        observed.workloads[0].rollout = rollout;
        let words = words(&observed);
        assert!(words.contains(expected), "{words}");
    }
}

#[test]
fn at_most_two_workloads_are_replaced_at_the_same_time() {
    let mut observed = observed(&["a", "b", "c"]);
    let restarts = |observed: &Observed| {
        verdicts(observed, now()).iter().filter(|verdict| **verdict == FIRST).count()
    };
    assert_eq!(restarts(&observed), 2);
    observed.workloads[0].rollout = Rollout::UnderWay;
    assert_eq!(restarts(&observed), 1);
}

#[test]
fn a_restart_in_vain_is_repeated_twice_with_growing_pauses_and_then_no_more_that_day() {
    let mut observed = observed(&["web"]);
    let mut restarts = Vec::new();
    for minute in 0..23 * 60 {
        let time = now() + minute * MINUTE;
        if matches!(verdicts(&observed, time)[..], [Verdict::Restart { .. }]) {
            note(&mut observed, time);
            restarts.push(minute);
        }
    }
    assert_eq!(restarts, [0, 4, 20]);
    let later = now() + 23 * 60 * MINUTE;
    let Verdict::Leave(words) = verdicts(&observed, later).remove(0) else { panic!("again") };
    assert!(words.starts_with("has been restarted 3 times"), "{words}");
    // What was to blame may be gone by then.
    assert_eq!(verdicts(&observed, now() + Duration::from_hours(25)), [FIRST]);
}

/// As many as are remembered leave no room for those that were in vain.
#[test]
fn of_many_workloads_none_is_restarted_in_vain_more_often_for_being_forgotten() {
    let names: Vec<String> = (0..13).map(|number| format!("web{number}")).collect();
    let mut observed = observed(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut restarts: BTreeMap<String, u32> = BTreeMap::new();
    for minute in 0..23 * 60 {
        let time = now() + minute * MINUTE;
        for plan in plan(&observed, &image(), time) {
            if let Verdict::Restart { .. } = plan.verdict {
                *restarts.entry(plan.workload.id()).or_default() += 1;
            }
        }
        note(&mut observed, time);
    }
    assert_eq!(restarts.len(), 10, "{restarts:?}");
    assert!(restarts.values().all(|times| *times == 3), "{restarts:?}");
    let left = verdicts(&observed, now() + MINUTE).pop();
    let Some(Verdict::Leave(words)) = left else { panic!("{left:?}") };
    assert!(words.ends_with("kubectl rollout restart deployment/web9 -n shop"), "{words}");
    // The pods of one of the others have come to have all.
    observed.pods[1].obstacle = Some(Obstacle::of_pod("it has hostNetwork".to_owned()));
    let time = now() + 23 * 60 * MINUTE;
    assert!(verdicts(&observed, time).contains(&FIRST));
}

#[test]
fn another_cause_is_a_new_one_after_a_short_pause() {
    let mut observed = observed(&["web"]);
    note(&mut observed, now());
    let tls = from_value(json!({ "secretName": "tls" })).unwrap();
    observed.pipeline.spec.endpoints.tls = Some(tls);
    assert!(matches!(verdicts(&observed, now())[..], [Verdict::Leave(_)]));
    assert_eq!(verdicts(&observed, now() + MINUTE), [FIRST]);
}

#[test]
fn what_another_pipeline_of_the_same_sidecar_comes_to_ask_for_is_another_cause() {
    let mut observed = observed(&["web"]);
    let labels = Some(BTreeMap::from([("app".to_owned(), "shop".to_owned())]));
    observed.workloads[0].template.metadata.get_or_insert_default().labels = labels;
    let cause = |observed: &Observed| plan(observed, &image(), now()).remove(0).cause;
    let alone = cause(&observed);
    let mut other = sidecar_pipeline("audit");
    observed.others = vec![Arc::new(other.clone())];
    let shared = cause(&observed);
    assert_ne!(shared, alone);
    other.spec.log.retention.max_bytes = "1Gi".parse().unwrap();
    observed.others = vec![Arc::new(other.clone())];
    assert_ne!(cause(&observed), shared, "its log is larger");
    other.spec.placement.sidecar.as_mut().unwrap().selector =
        from_value(json!({ "matchLabels": { "app": "till" } })).unwrap();
    observed.others = vec![Arc::new(other)];
    assert_eq!(cause(&observed), alone, "it is in other pods");
}

#[test]
fn a_restart_for_another_pipeline_is_waited_for() {
    let mut observed = observed(&["web"]);
    let annotations = [(annotation::RESTARTED_AT.to_owned(), now().to_string())];
    let metadata = observed.workloads[0].template.metadata.get_or_insert_default();
    metadata.annotations = Some(BTreeMap::from(annotations));
    let words = words(&observed);
    assert!(words.starts_with("was restarted at 2027-01-15T08:00:00Z, and is again"), "{words}");
    assert_eq!(verdicts(&observed, now() + MINUTE), [FIRST]);
}

/// Whoever may write a workload may write any time into its template.
#[test]
fn a_restart_at_the_end_of_all_time_ends_nothing_else() {
    let mut observed = observed(&["web"]);
    note(&mut observed, now());
    let annotations = [(annotation::RESTARTED_AT.to_owned(), Timestamp::MAX.to_string())];
    let metadata = observed.workloads[0].template.metadata.get_or_insert_default();
    metadata.annotations = Some(BTreeMap::from(annotations));
    let injection = observed.pipeline.status.as_mut().unwrap().injection.as_mut().unwrap();
    injection.restarts[0].at = Time(Timestamp::MAX);
    assert!(words(&observed).starts_with("was restarted at 9999-"));
    note(&mut observed, now());
    observed.workloads[0].rollout = Rollout::UnderWay;
    assert_eq!(words(&observed), "is being rolled out");
}

#[test]
fn what_is_remembered_is_bounded() {
    let restart = |index: i64| RestartStatus {
        workload: format!("deployment/{index:02}"),
        at: Time(now() + Duration::from_secs(u64::try_from(index).unwrap())),
        cause: String::new(),
        attempts: 1,
    };
    let remembered = remember(&[], (0..12).map(restart), now());
    assert_eq!(remembered.len(), 10);
    assert_eq!(remembered[0].workload, "deployment/02");
    let later = now() + Duration::from_hours(24) + Duration::from_secs(5);
    assert_eq!(remember(&remembered, std::iter::empty(), later).len(), 6);
}
