//! The condition SecretsPresent: the Secrets that the pipeline names are there for every replica.

use std::collections::{BTreeMap, BTreeSet};

use super::census::Census;
use super::{condition, some};
use crate::conditions::{Finding, Status};
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
    let (status, reason, message) = if census.ready == 0 {
        let message = "no replica is ready to say whether it finds its Secrets".to_owned();
        (Status::Unknown, "NoReplicaReady", message)
    } else if let Some(words) = missing(observed) {
        (Status::False, "SecretMissing", words)
    } else {
        let message = "every replica that answers finds the Secrets that it needs".to_owned();
        (Status::True, "Present", message)
    };
    Some(Finding { type_: condition::SECRETS_PRESENT, status, reason, message })
}

/// Which Secrets are missed, by which replicas, and what to do.
fn missing(observed: &Observed) -> Option<String> {
    let mut missed: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for replica in &observed.replicas {
        let Report::Serving(sample) = &replica.report else { continue };
        for secret in &sample.missing_secrets {
            missed.entry(secret).or_default().push(replica.pod.clone());
        }
    }
    if missed.is_empty() {
        return None;
    }
    let namespace = namespace(&observed.pipeline);
    let one = |(secret, replicas): (&str, Vec<String>)| {
        format!("{secret} ({} finds nothing of it)", some(&replicas, MOST_NAMES))
    };
    let words: Vec<String> = missed.into_iter().map(one).collect();
    Some(format!(
        "missing: {}: create it in namespace {namespace}, with the keys that the pipeline names; it is taken \
         up without a restart within two minutes",
        words.join(", ")
    ))
}
