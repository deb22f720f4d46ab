//! Data planes of another release than the operator's.

use super::*;
use crate::pipeline::given::HeldBack;

#[test]
fn a_gateway_that_is_held_back_says_at_what_and_how_it_comes_further() {
    let mut observed = running(&gateway("orders", 1), &["a"]);
    let held = HeldBack { release: "0.0.9-1f3c9a".to_owned(), image: Some("sidecar:0".to_owned()) };
    let outcome = Outcome::Applied(Stands { held: Some(held), noted: None });
    let expected = format!(
        "1 of 1 ready replicas run generation 3; the gateway is kept as release 0.0.9-1f3c9a makes it (sidecar:0), \
         and the operator is now of release {0} (registry.test/weir-sidecar:1): its pods are replaced with the next change \
         that makes new pods, or when that is asked for: kubectl annotate streampipeline orders -n shop \
         weir.dev/upgrade={0} --overwrite",
        observed.upgrade.release
    );
    let found = status(&observed, &outcome, &[], now());
    assert_eq!(say(&found, "UpToDate"), ("True", "UpgradeAvailable", expected.as_str()));
    assert_eq!(say(&found, "Ready").1, "Serving");
    // A release that never came up is not got rid of otherwise.
    observed.pods[0].ready = false;
    let found = status(&observed, &outcome, &[], now());
    let (state, reason, message) = say(&found, "UpToDate");
    assert_eq!((state, reason), ("Unknown", "UpgradeAvailable"));
    assert!(message.contains("kubectl annotate"), "{message}");
    // Nor is a configuration that it does not understand.
    observed.pods[0].ready = true;
    observed.replicas[0] = replica("a", 2, true);
    observed.replicas[0].refused = Some("no such field".to_owned());
    let found = status(&observed, &outcome, &[], now());
    let (state, reason, message) = say(&found, "UpToDate");
    assert_eq!((state, reason), ("False", "ConfigurationRefused"));
    assert!(message.contains("kubectl annotate"), "{message}");
}

#[test]
fn where_workloads_are_restarted_an_upgrade_waits_until_it_is_asked_for() {
    let mut pipeline = sidecar_pipeline("orders");
    pipeline.spec.placement.sidecar.as_mut().unwrap().restart = Restart::OnChange;
    let mut observed = running(&pipeline, &["a"]);
    observed.workloads = vec![Workload::named(WorkloadKind::Deployment, "web")];
    observed.pods[0].lacks = vec![Lack::Image("sidecar:2".to_owned())];
    let status = applied(&observed);
    let command = observed.upgrade.command(&pipeline);
    let (state, reason, message) = say(&status, "Injected");
    assert_eq!((state, reason), ("True", "SidecarsOutdated"));
    let waits =
        format!("a; an upgrade of the operator restarts nothing before it is asked to: {command}");
    assert!(message.ends_with(&waits), "{message}");
    let (state, reason, message) = say(&status, "UpToDate");
    assert_eq!((state, reason), ("True", "UpgradeAvailable"));
    let other = format!(
        "run generation 3; the sidecar of a is not of the operator's release, {}: see Injected",
        observed.upgrade.release
    );
    assert!(message.ends_with(&other), "{message}");
    observed.upgrade.is_asked = true;
    assert!(!say(&applied(&observed), "Injected").2.contains("kubectl"));
    // What the pipeline needs is not kept from it.
    observed.upgrade.is_asked = false;
    observed.pods[0].lacks.push(Lack::Disk);
    assert!(!say(&applied(&observed), "Injected").2.contains("kubectl"));
}

#[test]
fn a_request_that_asks_for_nothing_says_what_it_could_be() {
    let mut observed = running(&gateway("orders", 1), &["a"]);
    observed.upgrade.odd = Some("nonsense".to_owned());
    let status = applied(&observed);
    let (state, reason, message) = say(&status, "UpToDate");
    assert_eq!((state, reason), ("True", "UpToDate"));
    assert!(message.ends_with(&observed.upgrade.misspelt().unwrap()), "{message}");
}
