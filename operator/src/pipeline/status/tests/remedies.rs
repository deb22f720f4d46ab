//! What a condition says that helps.

use super::*;
use crate::pipeline::contested::tests::edited;
use crate::pipeline::contested::{Contest, LATELY};

#[test]
fn names_that_are_taken_are_enumerated() {
    let said = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let rejected = Outcome::Rejected(Rejection::NameTaken(names));
        let status = status(&running(&gateway("orders", 1), &["a"]), &rejected, &[], now());
        say(&status, "Ready").2.to_owned()
    };
    let one = "Service a was not made for this pipeline and is left alone: delete or rename it, or";
    assert!(said(&["Service a"]).starts_with(one));
    let all = "ConfigMap a, Service b and Deployment c were not made for this pipeline and are left alone: delete or \
               rename them, or";
    assert!(said(&["ConfigMap a", "Service b", "Deployment c"]).starts_with(all));
}

#[test]
fn what_this_operator_does_not_expose_is_said_and_holds_nothing_up() {
    let mut observed = exposed(&json!({ "networkPolicy": {} }));
    assert!(!applied(&observed).conditions.iter().any(|found| found.type_ == "Exposed"));
    observed.exposes = false;
    let status = applied(&observed);
    for type_ in ["Exposed", "Ready"] {
        let (state, reason, message) = say(&status, type_);
        assert_eq!((state, reason), ("False", "ExposureOff"));
        assert!(message.contains("remove spec.exposure.networkPolicy, or install"), "{message}");
    }
    for type_ in ["EndpointsReady", "UpToDate"] {
        assert_eq!(say(&status, type_).0, "True", "{type_}");
    }
}

/// Of a workload that has no pods yet it is not known what keeps it from making them.
#[test]
fn a_workload_that_makes_no_pods_is_looked_at_again_soon() {
    let mut observed = observed(&sidecar_pipeline("orders"));
    assert!(observed.waits_for_pods() && is_settled(&observed), "there is none");
    let workload = Workload { short: true, ..Workload::named(WorkloadKind::Deployment, "web") };
    observed.workloads = vec![workload];
    assert!(!is_settled(&observed));
    let message = say(&applied(&observed), "Injected").2.to_owned();
    assert_eq!(message, "deployment/web, whose pods match app=shop, has not made any yet");
    observed.workloads[0].refused = Some("exceeded quota".to_owned());
    assert!(is_settled(&observed));
    assert_eq!(say(&applied(&observed), "Injected").1, "PodsRefused");
    observed.pods.push(serving_pod("web-1"));
    observed.workloads[0].refused = None;
    assert!(!observed.waits_for_pods() && is_settled(&observed), "some are there");
}

#[test]
fn a_pod_of_a_stateful_set_that_can_not_come_up_is_to_be_deleted() {
    let mut observed = running(&sidecar_pipeline("orders"), &["a"]);
    let crowded =
        ObservedPod { workload: Some("statefulset/db".to_owned()), ..serving_pod("db-0") };
    observed.pods.push(ObservedPod { lacks: vec![Lack::Room("20m of CPU".to_owned())], ..crowded });
    let status = applied(&observed);
    let (state, reason, message) = say(&status, "Injected");
    assert_eq!((state, reason), ("False", "SidecarsIncomplete"));
    assert!(message.contains("made without requests as small as 20m of CPU"), "{message}");
    assert!(message.ends_with("kubectl delete pod db-0 -n shop"), "{message}");
}

#[test]
fn what_others_changed_is_told_with_what_to_change_instead_while_it_is_fresh() {
    let mut observed = running(&gateway("orders", 1), &["a"]);
    assert!(get(&applied(&observed).conditions, "Contested").is_none());
    observed.contested = vec![
        Contest { undone: edited("Deployment"), times: 3 },
        Contest { undone: edited("Service"), times: 1 },
    ];
    let status = applied(&observed);
    let message = "put right: Deployment orders: kubectl-edit changed .spec.replicas 3 times (change \
                   spec.placement.gateway of the StreamPipeline instead); Service orders: kubectl-edit changed \
                   .spec.replicas (change the spec of the StreamPipeline instead). Where a tool writes \
                   it time and again, take it out of what that tool keeps";
    assert_eq!(say(&status, "Contested"), ("True", "ChangeUndone", message));
    assert_eq!(say(&status, "Ready").0, "True");
    // A new leader has none of it in mind.
    observed.contested.clear();
    observed.pipeline.status = Some(status);
    assert_eq!(say(&applied(&observed), "Contested").2, message);
    let conditions = &mut observed.pipeline.status.as_mut().unwrap().conditions;
    let contested = conditions.iter_mut().find(|found| found.type_ == "Contested").unwrap();
    contested.last_transition_time = Time(now() - LATELY);
    assert!(get(&applied(&observed).conditions, "Contested").is_none());
}

#[test]
fn pods_that_carry_a_sidecar_are_not_the_last_word_where_injection_is_off() {
    let mut observed = running(&sidecar_pipeline("orders"), &["a"]);
    observed.no_injection = Some(Obstacle {
        why: "this operator injects no pods".to_owned(),
        remedy: "use placement.gateway".to_owned(),
    });
    let status = applied(&observed);
    let message = "1 of 1 selected pods carry the sidecar; pods that are made from now on get none, because this \
                   operator injects no pods: use placement.gateway";
    assert_eq!(say(&status, "Injected"), ("False", "InjectionOff", message));
    assert_eq!(say(&status, "Ready").0, "True");
    observed.pods.push(uninjected("b", None));
    assert_eq!(say(&applied(&observed), "Injected").1, "PodsWithoutSidecar");
}
