//! Shows what each state of a cluster makes of the conditions.

mod remedies;
mod serving;
mod upgrades;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::core::Status as ApiStatus;
use serde_json::{from_value, json};
use weir_crds::v1alpha1::Restart;

use super::*;
use crate::apply::ApplyError;
use crate::conditions::get;
use crate::injection::Lack;
use crate::pipeline::Stands;
use crate::pipeline::observe::{ObservedPod, Obstacle, Replica, Report, Workload, WorkloadKind};
use crate::pipeline::testing::{observed, replica, running, serving_pod};
use crate::pipeline::validate::Rejection;
use crate::testing::{gateway, sidecar_pipeline};

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn applied(observed: &Observed) -> StreamPipelineStatus {
    status(observed, &Outcome::Applied(Stands::default()), &[], now())
}

/// Status, reason and message of a condition.
fn say<'a>(status: &'a StreamPipelineStatus, type_: &str) -> (&'a str, &'a str, &'a str) {
    let Condition { status, reason, message, .. } = get(&status.conditions, type_).unwrap();
    (status, reason, message)
}

fn uninjected(name: &str, workload: Option<&str>) -> ObservedPod {
    ObservedPod { member: false, workload: workload.map(str::to_owned), ..serving_pod(name) }
}

fn forbidden() -> Error {
    let message =
        "services \"orders\" is forbidden: User \"weir\" cannot patch resource \"services\"";
    let source =
        kube::Error::Api(Box::new(ApiStatus::failure(message, "Forbidden").with_code(403)));
    Error::Apply(ApplyError::Apply { kind: "Service".into(), name: "orders".into(), source })
}

#[test]
fn a_pipeline_whose_replicas_all_serve_is_ready_healthy_and_has_urls() {
    let status = applied(&running(&gateway("orders", 1), &["a"]));
    let serving = ("True", "Serving", "1 of 1 replicas serve");
    assert_eq!(say(&status, "Ready"), serving);
    assert_eq!(say(&status, "EndpointsReady"), serving);
    let healthy = ("True", "Healthy", "1 source healthy on every ready replica");
    assert_eq!(say(&status, "SourcesHealthy"), healthy);
    assert_eq!(say(&status, "StreamComplete").0, "True");
    assert!(get(&status.conditions, "Injected").is_none());
    let endpoints = status.endpoints.unwrap();
    assert_eq!(endpoints.sse.unwrap(), "http://orders.shop.svc:7070/orders/sse");
    assert_eq!(endpoints.websocket.unwrap(), "ws://orders.shop.svc:7070/orders/ws");
    assert_eq!(endpoints.publish, None);
    assert_eq!(status.replicas.unwrap().summary, "1/1");
}

#[test]
fn every_condition_carries_the_generation_that_it_was_found_for() {
    let status = applied(&running(&sidecar_pipeline("orders"), &["a"]));
    assert_eq!(status.observed_generation, Some(3));
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(3)));
    let types: Vec<_> = status.conditions.iter().map(|found| found.type_.as_str()).collect();
    let usual =
        ["Ready", "SourcesHealthy", "EndpointsReady", "UpToDate", "Injected", "StreamComplete"];
    assert_eq!(types, usual);
    let rest =
        [condition::SECRETS_PRESENT, "Exposed", "ScalingActive", "ScalingLimited", "Contested"];
    let all = condition::ALL.into_iter().filter(|type_| !rest.contains(type_));
    assert_eq!(all.collect::<Vec<_>>(), usual);
}

#[test]
fn a_publish_url_is_shown_where_the_public_port_takes_events() {
    let mut pipeline = sidecar_pipeline("orders");
    pipeline.spec.endpoints.publish = serde_json::from_value(json!({ "anonymous": true })).unwrap();
    let endpoints = applied(&running(&pipeline, &["a"])).endpoints.unwrap();
    assert_eq!(endpoints.publish.unwrap(), "http://orders.shop.svc:7070/orders/events");
}

#[test]
fn replicas_that_are_missing_are_counted_and_do_not_take_the_pipeline_down() {
    let mut observed = running(&gateway("orders", 3), &["a", "b"]);
    observed.pods.push(ObservedPod {
        ready: false,
        trouble: Some("ImagePullBackOff: no such image".to_owned()),
        ..serving_pod("c")
    });
    let status = applied(&observed);
    let message = "2 of 3 replicas serve; not up: c (ImagePullBackOff: no such image)";
    assert_eq!(say(&status, "Ready"), ("True", "PartlyServing", message));
    let healthy = "1 source healthy on every ready replica; 1 replica not ready";
    assert_eq!(say(&status, "SourcesHealthy"), ("True", "Healthy", healthy));
}

#[test]
fn a_gateway_that_nobody_serves_says_what_keeps_it() {
    let mut observed = observed(&gateway("orders", 2));
    let status = applied(&observed);
    let waiting = ("False", "NoReplicaReady", "none of 2 replicas is ready yet");
    assert_eq!(say(&status, "Ready"), waiting);
    assert_eq!(say(&status, "SourcesHealthy").0, "Unknown");
    observed.existing.deployment = serde_json::from_value(json!({
        "metadata": {}, "spec": { "selector": {}, "template": {} },
        "status": { "conditions": [{
            "type": "ReplicaFailure", "status": "True", "message": "exceeded quota: pods",
        }] },
    }))
    .unwrap();
    let status = applied(&observed);
    let (.., message) = say(&status, "Ready");
    let quota = "none of 2 replicas is ready: no pod can be made: exceeded quota: pods: raise the namespace's \
                 ResourceQuota, or lower spec.placement.gateway's resources or replicas";
    assert_eq!(message, quota);
}

#[test]
fn replicas_of_an_older_generation_are_outdated_until_they_have_reloaded() {
    let mut observed = running(&gateway("orders", 3), &["a", "b", "c"]);
    observed.replicas[0] = replica("a", 2, true);
    observed.replicas[1] =
        Replica { pod: "b".to_owned(), report: Report::NotServing, refused: None };
    let status = applied(&observed);
    let replicas = status.replicas.as_ref().unwrap();
    assert_eq!(replicas.outdated, 2);
    let generations = replicas.generations.iter();
    let generations: Vec<_> = generations.map(|of| (of.generation, of.replicas)).collect();
    assert_eq!(generations, [(3, 1), (2, 1)]);
    let message = "3 of 3 replicas serve, 2 of them not yet the newest generation";
    assert_eq!(say(&status, "EndpointsReady"), ("True", "Updating", message));
    let message =
        "2 of 3 replicas do not run generation 3 yet: a change takes a few seconds to reach them";
    assert_eq!(say(&status, "UpToDate"), ("False", "Updating", message));
    assert!(!is_settled(&observed));
}

#[test]
fn one_unhealthy_source_on_one_replica_is_named_with_its_reason() {
    let mut observed = running(&gateway("orders", 2), &["a", "b"]);
    observed.replicas[1] = replica("b", 3, false);
    let status = applied(&observed);
    let message = "not healthy: demo on b (connection refused)";
    assert_eq!(say(&status, "SourcesHealthy"), ("False", "SourceUnhealthy", message));
    assert_eq!(say(&status, "Ready").0, "True");
    assert!(!is_settled(&observed));
}

#[test]
fn a_replica_that_does_not_answer_makes_the_health_unknown_and_is_not_called_outdated() {
    let mut observed = running(&gateway("orders", 2), &["a", "b"]);
    observed.replicas[1].report = Report::Silent("no answer within 1000 ms".to_owned());
    let status = applied(&observed);
    let (state, reason, message) = say(&status, "SourcesHealthy");
    assert_eq!((state, reason), ("Unknown", "ReplicaSilent"));
    assert!(
        message.starts_with(
            "no answer from b (no answer within 1000 ms): let the operator reach port 7071"
        ),
        "{message}"
    );
    assert_eq!(status.replicas.unwrap().outdated, 0);
    assert!(is_settled(&observed));
}

#[test]
fn several_replicas_with_logs_of_their_own_are_called_out_and_stay_ready() {
    for (pipeline, remedy) in [
        (gateway("orders", 2), "set spec.placement.gateway.replicas to 1"),
        (sidecar_pipeline("orders"), "run one pod of the application"),
    ] {
        let status = applied(&running(&pipeline, &["a", "b"]));
        let (state, reason, message) = say(&status, "StreamComplete");
        assert_eq!((state, reason), ("False", "LocalLogWithReplicas"));
        assert!(message.contains(remedy), "{message}");
        assert!(message.contains("spec.log.storage to redis or natsJetStream"), "{message}");
        assert_eq!(say(&status, "Ready").0, "True");
    }
}

#[test]
fn a_log_that_replicas_share_does_not_hide_that_their_durable_streams_are_not() {
    let mut pipeline = sidecar_pipeline("orders");
    let spec = &mut pipeline.spec;
    spec.log.storage = from_value(json!({ "redis": { "address": "redis:6379" } })).unwrap();
    let shared = |pipeline| {
        let status = applied(&running(&pipeline, &["a", "b"]));
        let (state, _, message) = say(&status, "StreamComplete");
        assert_eq!(state, "True");
        message.contains("durable streams of its own")
    };
    assert!(!shared(pipeline.clone()));
    let streams = from_value(json!({ "anonymous": true })).unwrap();
    pipeline.spec.endpoints.durable_streams = Some(streams);
    assert!(shared(pipeline));
}

#[test]
fn a_rollout_of_one_pod_is_still_one_log_and_two_workloads_are_not() {
    let complete = |change: fn(&mut ObservedPod)| {
        let mut observed = running(&sidecar_pipeline("orders"), &["old", "new"]);
        change(&mut observed.pods[1]);
        say(&applied(&observed), "StreamComplete").1.to_owned()
    };
    assert_eq!(complete(|pod| pod.owner = Some("replicaset/web-6e".to_owned())), "OneLog");
    let other = |pod: &mut ObservedPod| pod.workload = Some("deployment/other".to_owned());
    assert_eq!(complete(other), "LocalLogWithReplicas");
    assert_eq!(complete(|pod| (pod.owner, pod.workload) = (None, None)), "LocalLogWithReplicas");
}

#[test]
fn pods_without_the_sidecar_are_counted_named_and_come_with_the_command_to_run() {
    let mut observed = running(&sidecar_pipeline("orders"), &["a"]);
    observed.pods.push(uninjected("b", Some("deployment/web")));
    observed.pods.push(uninjected("c", Some("deployment/web")));
    let status = applied(&observed);
    let (state, reason, message) = say(&status, "Injected");
    assert_eq!((state, reason), ("False", "PodsWithoutSidecar"));
    assert!(message.starts_with("1 of 3 selected pods carry the sidecar"), "{message}");
    assert!(message.contains("without: b, c;"), "{message}");
    assert!(message.ends_with("kubectl rollout restart deployment/web -n shop"), "{message}");
    let injection = status.injection.unwrap();
    assert_eq!((injection.selected, injection.injected), (3, 1));
    assert_eq!(injection.missing, ["b", "c"]);
    assert_eq!(status.replicas.unwrap().summary, "1/3");
}

#[test]
fn a_pod_that_nothing_restarts_is_to_be_deleted_and_one_with_an_obstacle_says_which() {
    let mut observed = observed(&sidecar_pipeline("orders"));
    observed.pods.push(uninjected("bare", None));
    let obstacle = Some(Obstacle::of_pod("it has hostNetwork".to_owned()));
    observed.pods.push(ObservedPod { obstacle, ..uninjected("node", None) });
    let status = applied(&observed);
    let (.., message) = say(&status, "Injected");
    assert!(message.contains("delete these pods"), "{message}");
    let hopeless =
        "node can't be injected, because it has hostNetwork: change the pod or the selector";
    assert!(message.ends_with(hopeless), "{message}");
    assert_eq!(say(&status, "Ready").1, "NoPodInjected");
}

fn lacking(name: &str, lack: Lack) -> ObservedPod {
    ObservedPod { lacks: vec![lack], ..serving_pod(name) }
}

#[test]
fn a_sidecar_without_what_the_pipeline_needs_is_incomplete_and_an_old_one_merely_outdated() {
    let mut observed = running(&sidecar_pipeline("orders"), &["a"]);
    observed.pods.push(lacking("b", Lack::Image("sidecar:2".to_owned())));
    let status = applied(&observed);
    let message = "2 of 2 selected pods carry the sidecar; made without the image sidecar:2: b; restart what \
                   made them: kubectl rollout restart deployment/web -n shop";
    assert_eq!(say(&status, "Injected"), ("True", "SidecarsOutdated", message));
    assert_eq!(status.injection.unwrap().outdated, 1);
    observed.pods.push(lacking("c", Lack::Secret("tls".to_owned())));
    let status = applied(&observed);
    let (state, reason, message) = say(&status, "Injected");
    assert_eq!((state, reason), ("False", "SidecarsIncomplete"));
    assert!(
        message.contains("made without the Secret tls: c; made without the image"),
        "{message}"
    );
}

#[test]
fn where_workloads_are_restarted_the_condition_says_what_becomes_of_each() {
    let mut pipeline = sidecar_pipeline("orders");
    pipeline.spec.placement.sidecar.as_mut().unwrap().restart = Restart::OnChange;
    let mut observed = running(&pipeline, &["a"]);
    observed.pods.push(uninjected("b", Some("deployment/web")));
    observed.pods.push(uninjected("once-x", Some("job/once")));
    observed.pods.push(uninjected("single", None));
    let restarted = RestartStatus {
        workload: "deployment/web".to_owned(),
        at: Time(now()),
        cause: "c".to_owned(),
        attempts: 1,
    };
    let repair = Repair {
        workload: "deployment/web".to_owned(),
        words: "is being restarted, because it has 1 of its pods without the sidecar".to_owned(),
        is_moving: true,
        restarted: Some(restarted.clone()),
    };
    // The observation has the workload, or nothing would have become of it.
    observed.workloads = vec![Workload::named(WorkloadKind::Deployment, "web")];
    let status = status(&observed, &Outcome::Applied(Stands::default()), &[repair], now());
    let (state, _, message) = say(&status, "Injected");
    assert_eq!(state, "False");
    assert!(message.contains("; deployment/web is being restarted, because it has 1"), "{message}");
    assert!(message.contains("made anew: once-x (of job/once), single (of nobody)"), "{message}");
    assert!(!message.contains("kubectl"), "{message}");
    assert_eq!(status.injection.unwrap().restarts, [restarted]);
}

#[test]
fn pipelines_that_share_a_sidecar_say_so_and_where_the_application_publishes() {
    let mut observed = running(&sidecar_pipeline("orders"), &["a"]);
    observed.pods[0].neighbours = vec!["audit".to_owned()];
    observed.pods[0].publishes_to = Some("audit".to_owned());
    let status = applied(&observed);
    let message = "1 of 1 selected pods carry the sidecar; the sidecar serves audit, too, and \
                   $WEIR_PUBLISH_URL leads to audit: publish into this one by \
                   $WEIR_PUBLISH_BASE/orders/events";
    assert_eq!(say(&status, "Injected"), ("True", "AllInjected", message));
    observed.pods[0].publishes_to = Some("orders".to_owned());
    assert!(say(&applied(&observed), "Injected").2.ends_with("the sidecar serves audit, too"));
}

#[test]
fn a_workload_that_can_make_no_pods_says_why_and_what_to_do() {
    for (message, remedy) in [
        (
            "pods \"web-1\" is forbidden: exceeded quota: q",
            "raise the quota (each sidecar asks for 20m",
        ),
        ("failed quota: q: must specify limits.cpu for: weir-sidecar", "LimitRange"),
        ("violates PodSecurity \"restricted:latest\"", "keeps to the restricted level"),
        ("denied by policy", "admit the container weir-sidecar"),
    ] {
        let mut observed = observed(&sidecar_pipeline("orders"));
        let web = Workload::named(WorkloadKind::Deployment, "web");
        observed.workloads = vec![Workload { refused: Some(message.to_owned()), ..web }];
        let status = applied(&observed);
        for type_ in ["Ready", "Injected"] {
            let (_, reason, said) = say(&status, type_);
            assert_eq!(reason, "PodsRefused");
            assert!(
                said.starts_with(&format!("deployment/web can't make pods: {message}")),
                "{said}"
            );
            assert!(said.contains(remedy), "{said}");
        }
        observed.pods = vec![serving_pod("a")];
        assert!(say(&applied(&observed), "Ready").2.contains("; deployment/web can't make pods"));
    }
}

#[test]
fn a_secret_that_a_replica_does_not_find_is_named_with_the_remedy() {
    let mut pipeline = gateway("orders", 2);
    pipeline.spec.endpoints.tls = from_value(json!({ "secretName": "tls" })).unwrap();
    let mut observed = running(&pipeline, &["a", "b"]);
    assert_eq!(say(&applied(&observed), "SecretsPresent").1, "Present");
    let Report::Serving(sample) = &mut observed.replicas[1].report else { panic!("silent") };
    sample.missing_secrets = vec!["tls".to_owned()];
    let status = applied(&observed);
    let (state, reason, message) = say(&status, "SecretsPresent");
    assert_eq!((state, reason), ("False", "SecretMissing"));
    assert_eq!(say(&status, "Ready"), (state, reason, message));
    let said = "missing: tls (b finds nothing of it): create it in namespace shop, with the keys";
    assert!(message.starts_with(said), "{message}");
    observed.pods.iter_mut().for_each(|pod| pod.ready = false);
    observed.replicas.clear();
    assert_eq!(say(&applied(&observed), "SecretsPresent").0, "Unknown");
}

#[test]
fn at_most_ten_pods_are_named() {
    let mut observed = observed(&sidecar_pipeline("orders"));
    observed.pods = (0..12).map(|n| uninjected(&format!("p{n:02}"), None)).collect();
    let status = applied(&observed);
    assert_eq!(status.injection.as_ref().unwrap().missing.len(), 10);
    assert!(say(&status, "Injected").2.contains("p09 and 2 more"), "{status:?}");
}

#[test]
fn a_selector_that_matches_nothing_is_quoted() {
    let status = applied(&observed(&sidecar_pipeline("orders")));
    let (state, reason, message) = say(&status, "Ready");
    assert_eq!((state, reason), ("False", "NoPodSelected"));
    assert!(message.contains("app=shop"), "{message}");
    assert_eq!(say(&status, "Injected").0, "Unknown");
}

#[test]
fn an_invalid_spec_is_reported_with_all_its_violations() {
    let observed = observed(&gateway("orders", 1));
    let violation = |field: &str| weir_crds::validate::Violation {
        field: field.to_owned(),
        message: "must be better".to_owned(),
    };
    let rejection = Rejection::Invalid(vec![violation("spec.a"), violation("spec.b")]);
    let status = status(&observed, &Outcome::Rejected(rejection), &[], now());
    let message = "spec.a: must be better; spec.b: must be better";
    assert_eq!(say(&status, "Ready"), ("False", "InvalidSpec", message));
    assert_eq!(say(&status, "EndpointsReady").1, "NotApplied");
    assert_eq!(status.endpoints, None);
}

#[test]
fn a_taken_name_is_reported_with_the_remedy() {
    let rejection = Rejection::NameTaken(vec!["Service orders".to_owned()]);
    let observed = observed(&gateway("orders", 1));
    let status = status(&observed, &Outcome::Rejected(rejection), &[], now());
    let (state, reason, message) = say(&status, "Ready");
    assert_eq!((state, reason), ("False", "NameTaken"));
    assert!(message.starts_with("Service orders was not made for this pipeline"), "{message}");
    assert!(message.contains("give the pipeline another name"), "{message}");
}

#[test]
fn a_missing_permission_is_reported_with_verb_resource_and_remedy() {
    let observed = running(&gateway("orders", 1), &["a"]);
    let status = status(&observed, &Outcome::Failed(forbidden()), &[], now());
    let (state, reason, message) = say(&status, "Ready");
    assert_eq!((state, reason), ("False", "Forbidden"));
    assert!(message.contains("cannot patch resource \"services\""), "{message}");
    assert!(message.ends_with("grant it to the operator's role, as the chart does"), "{message}");
    assert_eq!(say(&status, "EndpointsReady").0, "True");
}

#[test]
fn what_could_not_be_observed_is_unknown_and_no_longer_true() {
    let mut pipeline = gateway("orders", 1);
    pipeline.status = Some(applied(&running(&pipeline, &["a"])));
    let later = Timestamp::from_second(1_800_000_060).unwrap();
    let status = unobserved(&pipeline, &forbidden(), later);
    assert_eq!(say(&status, "Ready").1, "Forbidden");
    for type_ in ["SourcesHealthy", "EndpointsReady", "StreamComplete"] {
        assert_eq!(say(&status, type_).0, "Unknown", "{type_}");
    }
    assert_eq!(status.endpoints, pipeline.status.unwrap().endpoints);
}

#[test]
fn events_tell_of_what_turned_and_not_of_how_every_pipeline_begins() {
    let pipeline = gateway("orders", 1);
    let begun = applied(&observed(&pipeline)).conditions;
    assert_eq!(transitions(&[], &begun), []);
    let running_now = applied(&running(&pipeline, &["a"])).conditions;
    let told = transitions(&begun, &running_now);
    let reasons: Vec<_> =
        told.iter().map(|notice| (notice.warning, notice.reason.as_str())).collect();
    assert_eq!(reasons, [(false, "Serving"), (false, "Healthy")]);
    assert_eq!(transitions(&running_now, &running_now), []);
    let told = transitions(&running_now, &begun);
    assert_eq!(told.len(), 1);
    assert!(told[0].warning && told[0].reason == "NoReplicaReady", "{told:?}");
}

#[test]
fn a_warning_from_the_start_is_told_once() {
    let conditions = applied(&running(&gateway("orders", 2), &["a", "b"])).conditions;
    let told = transitions(&[], &conditions);
    let reasons: Vec<_> =
        told.iter().map(|notice| (notice.warning, notice.reason.as_str())).collect();
    assert_eq!(reasons, [(false, "Serving"), (true, "LocalLogWithReplicas")]);
}

#[test]
fn a_replica_that_refuses_the_newest_generation_is_named_with_its_reason() {
    let mut observed = running(&gateway("orders", 2), &["a", "b"]);
    observed.replicas[0] = replica("a", 2, true);
    observed.replicas[0].refused = Some("pipeline.yaml:3:5: spec.log: no such field".to_owned());
    let message = "generation 3 was refused by a, where the one before is served on (pipeline.yaml:3:5: \
                   spec.log: no such field): mend the spec, or bring the sidecars to the operator's version";
    let status = applied(&observed);
    assert_eq!(say(&status, "UpToDate"), ("False", "ConfigurationRefused", message));
    assert_eq!(say(&status, "Ready").0, "True", "the last good one is served");
    // What it refused was another pipeline's.
    observed.replicas[0].report = replica("a", 3, true).report;
    let upright = ("True", "UpToDate", "2 of 2 ready replicas run generation 3");
    assert_eq!(say(&applied(&observed), "UpToDate"), upright);
}

#[test]
fn what_a_silent_replica_runs_is_not_known() {
    let mut observed = running(&gateway("orders", 2), &["a", "b"]);
    observed.replicas[1].report = Report::Silent("no answer within 1000 ms".to_owned());
    let status = applied(&observed);
    let message = "what b (no answer within 1000 ms) runs is not known: see SourcesHealthy";
    assert_eq!(say(&status, "UpToDate"), ("Unknown", "ReplicaSilent", message));
}

/// A gateway that is exposed so, and whose one replica serves.
fn exposed(exposure: &serde_json::Value) -> Observed {
    let mut pipeline = gateway("orders", 1);
    pipeline.spec.exposure = from_value(exposure.clone()).unwrap();
    running(&pipeline, &["a"])
}

#[test]
fn a_pipeline_that_nobody_outside_can_reach_is_not_ready_where_that_was_asked_for() {
    let route = json!({ "httpRoute": { "parentRefs": [{ "name": "public" }] } });
    let mut observed = exposed(&route);
    assert_eq!(say(&applied(&observed), "Exposed").1, "RoutePending");
    assert_eq!(say(&applied(&observed), "Ready").0, "True");
    observed.knows_routes = false;
    let status = applied(&observed);
    for type_ in ["Exposed", "Ready"] {
        let (status, reason, message) = say(&status, type_);
        assert_eq!((status, reason), ("False", "GatewayApiMissing"));
        assert!(message.contains("gateway.networking.k8s.io/v1"), "{message}");
    }
    assert_eq!(say(&status, "EndpointsReady").0, "True");
}

#[test]
fn a_verdict_on_an_older_route_is_none() {
    let mut observed = exposed(&json!({ "httpRoute": { "parentRefs": [{ "name": "public" }] } }));
    let verdict = |seen: i64| {
        json!({
            "metadata": { "generation": 2 },
            "spec": {},
            "status": { "parents": [{ "parentRef": { "name": "public" }, "conditions": [{
                "type": "Accepted", "status": "False", "reason": "NoMatchingListenerHostname",
                "message": "no listener", "lastTransitionTime": "2026-01-01T00:00:00Z",
                "observedGeneration": seen,
            }] }] },
        })
    };
    observed.existing.http_route = from_value(verdict(1)).unwrap();
    assert_eq!(say(&applied(&observed), "Exposed").1, "RoutePending");
    observed.existing.http_route = from_value(verdict(2)).unwrap();
    let refused = "Gateway public: NoMatchingListenerHostname: no listener";
    assert_eq!(say(&applied(&observed), "Exposed"), ("False", "RouteRefused", refused));
}

#[test]
fn the_urls_are_those_outside_once_a_name_is_known() {
    let sse = |observed: &Observed| applied(observed).endpoints.unwrap().sse.unwrap();
    let inside = "http://orders.shop.svc:7070/orders/sse";
    let route = |rest: &str| {
        let route = format!(
            r#"{{"httpRoute": {{"parentRefs": [{{"name": "a"}}], "hostnames": ["*.test", "a.test"]{rest}}}}}"#
        );
        exposed(&serde_json::from_str(&route).unwrap())
    };
    assert_eq!(sse(&route("")), "https://a.test/orders/sse");
    assert_eq!(sse(&route(r#", "scheme": "Http""#)), "http://a.test/orders/sse");
    let ingress = json!({ "ingress": { "host": "a.test" } });
    assert_eq!(sse(&exposed(&ingress)), "http://a.test/orders/sse");
    let wildcard = json!({ "ingress": { "host": "*.test", "tls": {} } });
    assert_eq!(sse(&exposed(&wildcard)), inside);
    let mut balanced = exposed(&json!({ "service": { "type": "LoadBalancer" } }));
    assert_eq!(sse(&balanced), inside);
    let address = json!({ "loadBalancer": { "ingress": [{ "ip": "fd00::1" }] } });
    balanced.existing.service = from_value(json!({ "status": address })).unwrap();
    assert_eq!(sse(&balanced), "http://[fd00::1]:7070/orders/sse");
}

/// A gateway that is autoscaled, with this decision.
fn scaled(current: i32, desired: i32, limit: crate::scaling::Limit) -> Observed {
    let mut pipeline = gateway("orders", 1);
    let autoscaling = json!({ "maxReplicas": 5, "connectionsPerReplica": 100 });
    pipeline.spec.placement.gateway.as_mut().unwrap().autoscaling =
        from_value(autoscaling).unwrap();
    let mut observed = running(&pipeline, &["a"]);
    observed.scaling = Some(crate::scaling::Decision {
        current,
        desired,
        recommended: desired,
        by: Some((crate::scaling::Metric::Connections, 1_234)),
        limit,
    });
    observed
}

#[test]
fn the_number_that_was_decided_is_the_one_that_is_asked_for() {
    let status = applied(&scaled(1, 5, crate::scaling::Limit::Most));
    assert_eq!(status.replicas.as_ref().unwrap().summary, "1/5");
    let autoscaling = status.autoscaling.as_ref().unwrap();
    assert_eq!((autoscaling.desired, autoscaling.load.as_deref()), (5, Some("1230%")));
    let active = "there are to be 5 replicas: connectionsPerReplica decides";
    assert_eq!(say(&status, "ScalingActive"), ("True", "LoadKnown", active));
    assert_eq!(say(&status, "ScalingLimited").1, "TooManyReplicas");
    let fixed = applied(&running(&gateway("orders", 1), &["a"]));
    assert!(get(&fixed.conditions, "ScalingActive").is_none() && fixed.autoscaling.is_none());
}

#[test]
fn a_local_log_under_autoscaling_is_complained_of_before_there_are_two_replicas() {
    let status = applied(&scaled(1, 1, crate::scaling::Limit::None));
    let (.., message) = say(&status, "StreamComplete");
    assert_eq!(say(&status, "StreamComplete").1, "LocalLogWithReplicas");
    assert!(
        message.starts_with("each of up to 5 replicas keeps its own log in memory"),
        "{message}"
    );
    assert!(message.contains("autoscaling.maxReplicas to 1"), "{message}");
}

#[test]
fn what_could_not_be_brought_about_is_not_decided() {
    let mut observed = scaled(2, 5, crate::scaling::Limit::None);
    observed.pipeline.status = from_value(json!({ "autoscaling": { "desired": 2 } })).unwrap();
    let failed = status(&observed, &Outcome::Failed(forbidden()), &[], now());
    assert_eq!(failed.autoscaling.unwrap().desired, 2);
    assert_eq!(applied(&observed).autoscaling.unwrap().desired, 5);
}
