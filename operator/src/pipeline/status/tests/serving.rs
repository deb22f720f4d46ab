//! Shows what replicas that are up, and yet don't do what was asked for, make of the conditions.

use serde_json::{from_value, json};
use weir_slo::{KeysSample, LogSample};

use super::*;

/// A replica that answers, and has refused the only configuration that there was.
fn barren(pod: &str) -> Replica {
    let refused = Some("pipeline.yaml:20:5: spec.delivery.conflateKey: can't be used".to_owned());
    Replica { pod: pod.to_owned(), report: Report::NotServing, refused }
}

/// A gateway's pod that is up and not ready.
fn waiting_pod(name: &str) -> ObservedPod {
    ObservedPod { ready: false, up: true, ..serving_pod(name) }
}

#[test]
fn replicas_that_refuse_the_only_configuration_that_there_was_serve_nothing_and_say_why() {
    for pipeline in [gateway("orders", 1), sidecar_pipeline("orders")] {
        let mut observed = running(&pipeline, &["a"]);
        observed.replicas = vec![barren("a")];
        if pipeline.spec.placement.gateway.is_some() {
            observed.pods = vec![waiting_pod("a")];
            observed.unready = std::mem::take(&mut observed.replicas);
        }
        let status = applied(&observed);
        let message = "nothing is served, because a refused the configuration, and there is none before it \
                       (pipeline.yaml:20:5: spec.delivery.conflateKey: can't be used): mend the spec, or bring the \
                       sidecars to the operator's version";
        let refused = ("False", "ConfigurationRefused", message);
        assert_eq!(say(&status, "EndpointsReady"), refused);
        assert_eq!(say(&status, "Ready"), refused);
        assert_eq!(say(&status, "SourcesHealthy").0, "Unknown");
        let message = "generation 3 was refused by a, where nothing is served, as there was none before \
                       (pipeline.yaml:20:5: spec.delivery.conflateKey: can't be used): mend the spec, or bring the \
                       sidecars to the operator's version";
        let current = ("False", "ConfigurationRefused", message);
        assert_eq!(say(&status, "UpToDate"), current);
        assert_eq!(status.replicas.unwrap().summary, "0/1");
        assert!(!is_settled(&observed), "it is asked until it serves");
    }
}

#[test]
fn a_new_replica_that_refuses_takes_nothing_from_those_that_serve_on() {
    let mut observed = running(&gateway("orders", 1), &["a"]);
    observed.replicas[0] = replica("a", 2, true);
    observed.replicas[0].refused = Some("a mistake".to_owned());
    observed.pods.push(waiting_pod("b"));
    observed.unready = vec![barren("b")];
    let status = applied(&observed);
    let (state, _, message) = say(&status, "EndpointsReady");
    assert_eq!(state, "True");
    assert!(message.contains("the configuration is refused by b (pipeline.yaml:20:5"), "{message}");
    let (.., message) = say(&status, "UpToDate");
    let both =
        "by a, where the one before is served on (a mistake), and by b, where nothing is served";
    assert!(message.contains(both), "{message}");
}

#[test]
fn a_gateway_without_its_certificate_does_not_serve_and_says_what_helps() {
    let mut pipeline = gateway("orders", 1);
    pipeline.spec.endpoints.tls = from_value(json!({ "secretName": "tls" })).unwrap();
    let mut observed = running(&pipeline, &["old", "new"]);
    for replica in &mut observed.replicas {
        let Report::Serving(sample) = &mut replica.report else { panic!("silent") };
        sample.missing_secrets = vec!["tls".to_owned()];
    }
    observed.pods[0].lacks = vec![Lack::Secret("tls".to_owned())];
    observed.pods[1] = waiting_pod("new");
    observed.unready = vec![observed.replicas.remove(1)];
    let status = applied(&observed);
    let message = "missing: tls (old, new find nothing of it): create it in namespace shop, with the keys that the \
                   pipeline names; it is taken up without a restart within two minutes; old was made without a \
                   volume for it, and takes it up once replaced, which is under way";
    for type_ in ["EndpointsReady", "Ready", "SecretsPresent"] {
        assert_eq!(say(&status, type_), ("False", "SecretMissing", message));
    }
    // Nobody was ever ready.
    (observed.pods, observed.replicas) = (vec![waiting_pod("new")], Vec::new());
    for type_ in ["EndpointsReady", "Ready", "SecretsPresent"] {
        assert_eq!(say(&applied(&observed), type_).1, "SecretMissing");
    }
    observed.unready = vec![replica("new", 3, true)];
    let status = applied(&observed);
    let (_, reason, message) = say(&status, "EndpointsReady");
    assert_eq!(reason, "NoReplicaReady");
    let said = "new can't use the certificate of the Secret tls yet: `kubectl logs new -n shop -c weir-sidecar`";
    assert!(message.contains(said), "{message}");
}

#[test]
fn pods_without_a_volume_for_a_secret_are_not_said_to_take_it_up_by_themselves() {
    let mut pipeline = sidecar_pipeline("orders");
    pipeline.spec.auth = from_value(json!({ "jwt": {
        "issuer": "https://id.test", "audiences": ["orders"],
        "jwks": { "secretName": "keys", "key": "jwks.json" },
    }}))
    .unwrap();
    let mut observed = running(&pipeline, &["a", "b"]);
    for (pod, replica) in observed.pods.iter_mut().zip(&mut observed.replicas) {
        let Report::Serving(sample) = &mut replica.report else { panic!("silent") };
        sample.missing_secrets = vec!["keys".to_owned()];
        pod.lacks = vec![Lack::Secret("keys".to_owned())];
    }
    let status = applied(&observed);
    let message = "missing: keys (a, b find nothing of it): create it in namespace shop, with the keys that the \
                   pipeline names, where it isn't there yet; a, b were made without a volume for it, and take it up \
                   once made anew: see Injected";
    assert_eq!(say(&status, "SecretsPresent"), ("False", "SecretMissing", message));
    assert!(
        say(&status, "Injected").2.contains("made without the Secret keys: a, b"),
        "{status:?}"
    );
}

#[test]
fn a_gateway_whose_pods_are_not_replaced_is_not_up_to_date_and_says_what_keeps_the_new_ones() {
    let mut observed = running(&gateway("orders", 1), &["a"]);
    let rolled = |updated: i32| {
        from_value(json!({
            "metadata": {}, "spec": { "selector": {}, "template": {} },
            "status": {
                "replicas": 1, "updatedReplicas": updated,
                "conditions": [{
                    "type": "ReplicaFailure", "status": "True", "message": "exceeded quota: pods",
                }],
            },
        }))
        .unwrap()
    };
    observed.existing.deployment = rolled(0);
    let status = applied(&observed);
    let (state, reason, message) = say(&status, "UpToDate");
    assert_eq!((state, reason), ("False", "Replacing"));
    assert!(message.starts_with("1 pod is still as before the last change"), "{message}");
    let (.., message) = say(&status, "EndpointsReady");
    assert!(message.contains("no more pods can be made: exceeded quota"), "{message}");
    observed.existing.deployment = rolled(1);
    assert_eq!(say(&applied(&observed), "UpToDate").1, "UpToDate");
}

#[test]
fn replicas_without_their_log_do_not_serve_and_say_why() {
    let pipeline = gateway("orders", 2);
    let mut observed = running(&pipeline, &["a", "b"]);
    let mut cut_off = |index: usize| {
        let Report::Serving(sample) = &mut observed.replicas[index].report else {
            panic!("silent")
        };
        let message = Some("failed to lookup address".to_owned());
        sample.log = Some(LogSample { message, ..LogSample::default() });
        applied(&observed)
    };
    let status = cut_off(1);
    let (state, reason, message) = say(&status, "EndpointsReady");
    assert_eq!((state, reason), ("True", "PartlyServing"));
    assert!(message.ends_with("without their log: b (failed to lookup address)"), "{message}");
    let status = cut_off(0);
    let (state, reason, message) = say(&status, "EndpointsReady");
    assert_eq!((state, reason), ("False", "LogUnavailable"));
    assert!(message.contains("a (failed to lookup address), b (failed"), "{message}");
    assert_eq!(say(&status, "Ready"), (state, reason, message));
}

#[test]
fn replicas_without_the_issuers_keys_take_no_token_and_say_why() {
    let mut pipeline = gateway("orders", 2);
    let jwt = json!({
        "issuer": "https://id.test", "audiences": ["orders"], "jwksUrl": "https://id.test/keys",
    });
    pipeline.spec.auth = from_value(json!({ "jwt": jwt })).unwrap();
    let mut observed = running(&pipeline, &["a", "b"]);
    let set = |observed: &mut Observed, index: usize, keys: Option<KeysSample>| {
        let Report::Serving(sample) = &mut observed.replicas[index].report else {
            panic!("silent")
        };
        sample.keys = keys;
    };
    let message = Some("failed to lookup address".to_owned());
    let unreadable = || Some(KeysSample { healthy: false, message: message.clone() });
    // The other one is too old to say.
    set(&mut observed, 1, unreadable());
    let status = applied(&observed);
    let (state, reason, message) = say(&status, "EndpointsReady");
    assert_eq!((state, reason), ("True", "PartlyServing"));
    let said = "without the issuer's keys: b (failed to lookup address)";
    assert!(message.ends_with(said), "{message}");
    set(&mut observed, 0, unreadable());
    let status = applied(&observed);
    let (state, reason, message) = say(&status, "EndpointsReady");
    assert_eq!((state, reason), ("False", "KeysUnreadable"));
    assert!(message.contains("a (failed to lookup address), b (failed"), "{message}");
    assert!(message.ends_with("mend spec.auth.jwt.jwksUrl, or let the pods reach it"), "{message}");
    assert_eq!(say(&status, "Ready"), (state, reason, message));
    // Who writes manifests writes no command line.
    let file = "keys/jwks.json: spec.auth.jwt.jwks names this key of a Secret, in the directory that --secrets-dir names";
    set(&mut observed, 1, Some(KeysSample { healthy: false, message: Some(file.to_owned()) }));
    let status = applied(&observed);
    let (.., message) = say(&status, "EndpointsReady");
    assert!(
        message.contains("b (keys/jwks.json: spec.auth.jwt.jwks names this key of a Secret)"),
        "{message}"
    );
    // Who shows no token is still let in.
    let auth = observed.pipeline.spec.auth.as_mut().unwrap();
    auth.anonymous = true;
    assert_eq!(say(&applied(&observed), "EndpointsReady").1, "PartlyServing");
    set(&mut observed, 0, Some(KeysSample { healthy: true, message: None }));
    set(&mut observed, 1, None);
    assert_eq!(say(&applied(&observed), "EndpointsReady").1, "Serving");
}
