//! Shows what replicas that are up, and yet don't do what was asked for, make of the conditions.

use serde_json::{from_value, json};
use weir_slo::{KeysSample, LogSample};

use super::*;

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
    // Who shows no token is still let in.
    let auth = observed.pipeline.spec.auth.as_mut().unwrap();
    auth.anonymous = true;
    assert_eq!(say(&applied(&observed), "EndpointsReady").1, "PartlyServing");
    set(&mut observed, 0, Some(KeysSample { healthy: true, message: None }));
    set(&mut observed, 1, None);
    assert_eq!(say(&applied(&observed), "EndpointsReady").1, "Serving");
}
