//! Names the labels and annotations that differ by pipeline, and the sets of labels on objects.
//!
//! A pod can belong to several pipelines, so each has a key of its own on it; with one key for all,
//! two pipelines would overwrite each other for ever.

use std::collections::BTreeMap;

use weir_crds::names::{MANAGED_BY, label};

const MEMBER_PREFIX: &str = "pipeline.weir.dev/";

/// The label, with the value `true`, on each pod that carries the sidecar of `pipeline`. The pipeline's
/// Service selects on it, because a Service can't have a selector's matchExpressions.
#[must_use]
pub fn member(pipeline: &str) -> String {
    format!("{MEMBER_PREFIX}{pipeline}")
}

/// The pipelines that the labels of a pod name: those of its sidecar, and that of a gateway.
pub fn pipelines_of(labels: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    sidecars_of(labels).chain(labels.get(label::PIPELINE).map(String::as_str))
}

/// The pipelines of the sidecar of a pod, by its labels.
pub fn sidecars_of(labels: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    labels.keys().filter_map(|key| key.strip_prefix(MEMBER_PREFIX))
}

/// The annotation on a pod that holds the hash of the configuration of `pipeline` last written. Its
/// change makes the kubelet refresh the pod's volumes at once instead of within a minute or so.
#[must_use]
pub fn config_hash(pipeline: &str) -> String {
    format!("config-hash.weir.dev/{pipeline}")
}

/// The labels of every object that is made for `pipeline`.
#[must_use]
pub fn of_object(pipeline: &str) -> BTreeMap<String, String> {
    pairs([
        (label::NAME, "weir"),
        (label::INSTANCE, pipeline),
        (label::MANAGED_BY, MANAGED_BY),
        (label::PIPELINE, pipeline),
    ])
}

/// The selector, as text, of the objects that were made for `pipeline`.
#[must_use]
pub fn object_selector(pipeline: &str) -> String {
    format!("{}={pipeline},{}={MANAGED_BY}", label::PIPELINE, label::MANAGED_BY)
}

/// The labels by which the gateway's Deployment and Service know its pods.
#[must_use]
pub fn of_gateway(pipeline: &str) -> BTreeMap<String, String> {
    pairs([(label::PIPELINE, pipeline), (label::COMPONENT, "gateway")])
}

/// The labels by which the Service of a sidecar placement knows the pods.
#[must_use]
pub fn of_sidecar(pipeline: &str) -> BTreeMap<String, String> {
    pairs([(member(pipeline).as_str(), "true"), (label::INJECTED, "true")])
}

/// Whether `labels` has all that is `wanted`.
#[must_use]
pub fn contain(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_the_longest_name_is_still_a_valid_key() {
        let name = "a".repeat(52);
        for key in [member(&name), config_hash(&name)] {
            let (prefix, rest) = key.split_once('/').unwrap();
            assert!(prefix.len() <= 253 && rest.len() <= 63, "{key}");
        }
    }
}
