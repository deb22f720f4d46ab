//! Builds the objects of a pipeline from what was validated. Pure; one file for each object.

mod budget;
mod config_map;
mod deployment;
mod http_route;
mod ingress;
mod minimal;
mod network_policy;
mod pod;
mod service;
mod stateful_set;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use sha2::{Digest, Sha256};
use weir_crds::names::annotation;
use weir_crds::v1alpha1::Exposure;

pub(super) use self::config_map::{MANIFEST, render};
use super::given::{Given, HeldBack, hash_of};
use super::validate::{ValidPlacement, ValidatedPipeline};
use crate::labels;
use crate::routes::HTTPRoute;

/// Everything that a pipeline asks for.
#[derive(Debug, Clone)]
pub(super) struct Objects {
    /// The manifests that the data plane reads.
    pub(super) config_map: ConfigMap,
    /// Where subscribers find the data plane.
    pub(super) service: Service,
    /// The gateway; absent where the data plane runs beside the application, or keeps its log on a volume.
    pub(super) deployment: Option<Deployment>,
    /// The gateway whose replicas keep their logs on volumes.
    pub(super) stateful_set: Option<StatefulSet>,
    /// How many replicas of the gateway may be away.
    pub(super) budget: Option<PodDisruptionBudget>,
    /// Who may reach the gateway.
    pub(super) network_policy: Option<NetworkPolicy>,
    /// The way in for subscribers outside, by an Ingress.
    pub(super) ingress: Option<Ingress>,
    /// The same by the Gateway API.
    pub(super) http_route: Option<HTTPRoute>,
    /// A hash of the manifests, to be announced to the pods that mount them.
    pub(super) config_hash: String,
    /// What the gateway's pods are kept at, where this release would make others.
    pub(super) held: Option<HeldBack>,
    /// The hash of the note of what they are given.
    pub(super) noted: Option<String>,
}

impl Objects {
    /// Tells what is wanted from anything else that could be.
    pub(super) fn fingerprint(&self) -> u64 {
        let Self {
            config_map,
            service,
            deployment,
            stateful_set,
            budget,
            network_policy,
            ingress,
            http_route,
            config_hash: _,
            held: _,
            noted: _,
        } = self;
        let mut hasher = DefaultHasher::new();
        text(config_map).hash(&mut hasher);
        text(service).hash(&mut hasher);
        text(deployment).hash(&mut hasher);
        text(stateful_set).hash(&mut hasher);
        text(budget).hash(&mut hasher);
        text(network_policy).hash(&mut hasher);
        text(ingress).hash(&mut hasher);
        text(http_route).hash(&mut hasher);
        hasher.finish()
    }
}

/// An object of the API, or what is noted of one, as JSON.
pub(super) fn text(value: &impl Serialize) -> String {
    // Each of them can be written.
    serde_json::to_string(value).unwrap_or_default()
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
    let gateway = match &pipeline.placement {
        ValidPlacement::Sidecar => None,
        ValidPlacement::Gateway(gateway) => Some(gateway.as_ref()),
    };
    let given = gateway.map(|gateway| (gateway, pod::give(pipeline, gateway)));
    let (deployment, stateful_set) = match &given {
        None => (None, None),
        Some((gateway, given)) => match &gateway.claim {
            None => (Some(deployment::build(pipeline, gateway, given)), None),
            Some(claim) => (None, Some(stateful_set::build(pipeline, gateway, claim, given))),
        },
    };
    let Exposure { service: _, http_route: route, ingress: entry, network_policy: policy } =
        &pipeline.exposure;
    Ok(Objects {
        config_hash: hash(config_map.data.iter().flatten()),
        config_map,
        service: service::build(pipeline),
        deployment,
        stateful_set,
        budget: gateway.map(|_| budget::build(pipeline)),
        network_policy: policy.as_ref().map(|policy| network_policy::build(pipeline, policy)),
        ingress: entry.as_ref().map(|entry| ingress::build(pipeline, entry)),
        http_route: route.as_ref().map(|route| http_route::build(pipeline, route)),
        noted: given.as_ref().map(|(_, given)| hash_of(&given.note)),
        held: given.and_then(|(_, given)| given.held),
    })
}

/// The metadata of a gateway's workload, with the note of what it is given.
fn noted(pipeline: &ValidatedPipeline, given: &Given) -> ObjectMeta {
    let note = (annotation::POD_TEMPLATE.to_owned(), given.note.clone());
    ObjectMeta {
        annotations: Some(BTreeMap::from([note])),
        ..metadata(pipeline, pipeline.name.clone())
    }
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
    use serde_json::json;
    use weir_crds::v1alpha1::{GatewayVolume, StreamPipeline};

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

    /// The metadata of everything that is made for a pipeline.
    fn metadata_of(pipeline: &StreamPipeline) -> Vec<ObjectMeta> {
        let Objects {
            config_map,
            service,
            deployment,
            stateful_set,
            budget,
            network_policy,
            ingress,
            http_route,
            config_hash: _,
            held: _,
            noted: _,
        } = build(&valid(pipeline)).unwrap();
        let optional = [
            deployment.map(|made| made.metadata),
            stateful_set.map(|made| made.metadata),
            budget.map(|made| made.metadata),
            network_policy.map(|made| made.metadata),
            ingress.map(|made| made.metadata),
            http_route.map(|made| made.metadata),
        ];
        let always = [config_map.metadata, service.metadata];
        always.into_iter().chain(optional.into_iter().flatten()).collect()
    }

    #[test]
    fn every_object_is_owned_labelled_and_in_the_namespace_of_the_pipeline() {
        let disk = json!({ "disk": {} });
        let way = json!({ "ingress": { "host": "a.test" }, "networkPolicy": {} });
        let mut exposed = gateway("orders", 2);
        exposed.spec.exposure = serde_json::from_value(way).unwrap();
        let way = json!({ "httpRoute": { "parentRefs": [{ "name": "public" }] } });
        let mut kept = gateway("orders", 2);
        kept.spec.exposure = serde_json::from_value(way).unwrap();
        kept.spec.log.storage = serde_json::from_value(disk).unwrap();
        kept.spec.placement.gateway.as_mut().unwrap().volume = Some(GatewayVolume::default());
        let metas: Vec<_> = [exposed, kept].iter().flat_map(metadata_of).collect();
        assert_eq!(metas.len(), 11);
        for meta in metas {
            let owner = &meta.owner_references.as_ref().unwrap()[0];
            assert_eq!((owner.uid.as_str(), owner.controller), ("uid-of-orders", Some(true)));
            assert_eq!(meta.labels.as_ref().unwrap()["weir.dev/pipeline"], "orders");
            assert_eq!(meta.namespace.as_deref(), Some("shop"));
        }
    }
}
