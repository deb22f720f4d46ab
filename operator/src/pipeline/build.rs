//! Builds the objects of a pipeline from what was validated. Pure; one file for each object.

mod config_map;
mod deployment;
mod minimal;
mod service;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sha2::{Digest, Sha256};

use super::validate::{ValidPlacement, ValidatedPipeline};
use crate::labels;

/// Everything that a pipeline asks for.
#[derive(Debug, Clone)]
pub(super) struct Objects {
    /// The manifests that the data plane reads.
    pub(super) config_map: ConfigMap,
    /// Where subscribers find the data plane.
    pub(super) service: Service,
    /// The gateway; absent where the data plane runs beside the application.
    pub(super) deployment: Option<Deployment>,
    /// A hash of the manifests, to be announced to the pods that mount them.
    pub(super) config_hash: String,
}

/// Why the objects could not be built.
#[derive(Debug, thiserror::Error)]
#[error("can't render the manifest of {kind} {name}")]
pub struct BuildError {
    kind: String,
    name: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// Builds everything that a pipeline asks for.
pub(super) fn build(pipeline: &ValidatedPipeline) -> Result<Objects, BuildError> {
    let config_map = config_map::build(pipeline)?;
    Ok(Objects {
        config_hash: hash(config_map.data.iter().flatten()),
        config_map,
        service: service::build(pipeline),
        deployment: match pipeline.placement {
            ValidPlacement::Sidecar => None,
            ValidPlacement::Gateway { replicas } => Some(deployment::build(pipeline, replicas)),
        },
    })
}

/// The metadata of an object that is made for a pipeline.
fn metadata(pipeline: &ValidatedPipeline, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(pipeline.namespace.clone()),
        labels: Some(labels::of_object(&pipeline.name)),
        owner_references: Some(vec![pipeline.owner.clone()]),
        ..ObjectMeta::default()
    }
}

/// A hash of the keys and values, in hexadecimal; 64 bits tell any two configurations apart.
fn hash<'a>(data: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let sorted: BTreeMap<_, _> = data.collect();
    let mut hasher = Sha256::new();
    for (key, value) in sorted {
        // The lengths keep a byte from moving between key and value unnoticed.
        hasher.update(key.len().to_be_bytes());
        hasher.update(key);
        hasher.update(value.len().to_be_bytes());
        hasher.update(value);
    }
    hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::testing::valid;
    use crate::testing::gateway;

    fn hash_of(pairs: &[(&str, &str)]) -> String {
        let map: BTreeMap<String, String> =
            pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        hash(map.iter())
    }

    #[test]
    fn the_hash_changes_with_every_key_and_value() {
        let hashes = [&[("a", "b")][..], &[("a", "c")], &[("ab", "")], &[("a", "b"), ("c", "")]]
            .map(hash_of);
        for (index, hash) in hashes.iter().enumerate() {
            assert_eq!(hash.len(), 16);
            assert!(!hashes[index + 1..].contains(hash), "{hashes:?}");
        }
    }

    #[test]
    fn every_object_is_owned_labelled_and_in_the_namespace_of_the_pipeline() {
        let Objects { config_map, service, deployment, config_hash: _ } =
            build(&valid(&gateway("orders", 2))).unwrap();
        let metas = [config_map.metadata, service.metadata, deployment.unwrap().metadata];
        for meta in metas {
            let owner = &meta.owner_references.as_ref().unwrap()[0];
            assert_eq!((owner.uid.as_str(), owner.controller), ("uid-of-orders", Some(true)));
            assert_eq!(meta.labels.as_ref().unwrap()["weir.dev/pipeline"], "orders");
            assert_eq!(meta.namespace.as_deref(), Some("shop"));
        }
    }
}
