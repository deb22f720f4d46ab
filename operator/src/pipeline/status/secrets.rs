//! The condition SecretsPresent: the Secrets that the pipeline names are there for every replica.

use std::collections::{BTreeMap, BTreeSet};

use super::census::Census;
use super::{condition, some};
use crate::conditions::{Finding, Status};
use crate::injection::Lack;
use crate::pipeline::namespace;
use crate::pipeline::observe::{Observed, Report};

/// How many replicas are named.
const MOST_NAMES: usize = 3;

/// Finds the condition; `None` where the pipeline names no Secret.
pub(super) fn find(observed: &Observed, census: &Census) -> Option<Finding> {
    let named: BTreeSet<&str> = observed.pipeline.spec.secrets();
    if named.is_empty() {
        return None;
    }
    let (status, reason, message) = if let Some(words) = missing(observed) {
        (Status::False, "SecretMissing", words)
    } else if census.ready == 0 {
        let message = "no replica is ready to say whether it finds its Secrets".to_owned();
        (Status::Unknown, "NoReplicaReady", message)
    } else {
        let message = "every replica that answers finds the Secrets that it needs".to_owned();
        (Status::True, "Present", message)
    };
    Some(Finding { type_: condition::SECRETS_PRESENT, status, reason, message })
}

/// Which Secrets are missed, by which replicas, and what to do.
pub(super) fn missing(observed: &Observed) -> Option<String> {
    let mut missed: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    // Those that were made before the pipeline named one have no volume for it.
    let (mut waits, mut unmounted) = (false, BTreeSet::new());
    for replica in observed.replicas.iter().chain(&observed.unready) {
        let Report::Serving(sample) = &replica.report else { continue };
        for secret in &sample.missing_secrets {
            missed.entry(secret).or_default().push(replica.pod.clone());
            if lacks(observed, &replica.pod, secret) {
                unmounted.insert(replica.pod.clone());
            } else {
                waits = true;
            }
        }
    }
    if missed.is_empty() {
        return None;
    }
    let one = |(secret, replicas): (&str, Vec<String>)| {
        let find = if replicas.len() == 1 { "finds" } else { "find" };
        format!("{secret} ({} {find} nothing of it)", some(&replicas, MOST_NAMES))
    };
    let words: Vec<String> = missed.into_iter().map(one).collect();
    let unmounted: Vec<String> = unmounted.into_iter().collect();
    Some(format!("missing: {}: {}", words.join(", "), remedy(observed, waits, &unmounted)))
}

/// Whether the pod was made without a volume for the Secret.
fn lacks(observed: &Observed, pod: &str, secret: &str) -> bool {
    let lack = Lack::Secret(secret.to_owned());
    observed.pods.iter().any(|found| found.name == pod && found.lacks.contains(&lack))
}

/// What to do where some replicas wait for what they have a volume for, and others are `unmounted`.
fn remedy(observed: &Observed, waits: bool, unmounted: &[String]) -> String {
    let namespace = namespace(&observed.pipeline);
    let keys = "with the keys that the pipeline names";
    let mut parts = vec![if waits {
        format!(
            "create it in namespace {namespace}, {keys}; it is taken up without a restart within two minutes"
        )
    } else {
        format!("create it in namespace {namespace}, {keys}, where it isn't there yet")
    }];
    if !unmounted.is_empty() {
        let (was, takes) = if unmounted.len() == 1 { ("was", "takes") } else { ("were", "take") };
        let how = if observed.pipeline.spec.placement.sidecar.is_some() {
            "made anew: see Injected"
        } else {
            "replaced, which is under way"
        };
        let pods = some(unmounted, MOST_NAMES);
        parts.push(format!(
            "{pods} {was} made without a volume for it, and {takes} it up once {how}"
        ));
    }
    parts.join("; ")
}
