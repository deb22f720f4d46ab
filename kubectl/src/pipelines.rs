//! Reads pipelines, and finds the pods that serve them.

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use weir_crds::names::SIDECAR_CONTAINER;
use weir_crds::v1alpha1::{PlacementKind, StreamPipeline, StreamSLO};
use weir_operator::failure::{Category, explain};
use weir_operator::{labels, selector};

use crate::cluster::Cluster;

/// Why a resource can't be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refuses, or isn't there.
    #[error("can't read {what}: {}", explain(.cause))]
    Read {
        /// What was to be read.
        what: &'static str,
        /// What the API server, or the way to it, said.
        cause: Box<kube::Error>,
    },
    /// The cluster has no such kind.
    #[error(
        "the cluster knows no StreamPipelines: install Weir, or apply its definitions; `kubectl weir check` says more"
    )]
    NotInstalled,
    /// There is no resource of this name.
    #[error("no {kind} {name} in the namespace {namespace}; {others}")]
    Missing {
        /// The kind.
        kind: &'static str,
        /// The name.
        name: String,
        /// The namespace.
        namespace: String,
        /// What is there.
        others: String,
    },
}

fn reading(what: &'static str) -> impl Fn(kube::Error) -> Error {
    move |cause| Error::Read { what, cause: Box::new(cause) }
}

/// A list of a kind of ours: that the kind is unknown is said so.
fn listing(what: &'static str) -> impl Fn(kube::Error) -> Error {
    move |cause| match Category::of(&cause) {
        Category::NotFound => Error::NotInstalled,
        Category::Forbidden
        | Category::Conflict
        | Category::Invalid
        | Category::Unavailable
        | Category::Transport
        | Category::Internal => Error::Read { what, cause: Box::new(cause) },
    }
}

/// The pipelines of the namespace, by name.
///
/// # Errors
///
/// Fails where they can't be read.
pub async fn all(cluster: &Cluster) -> Result<Vec<StreamPipeline>, Error> {
    let api: Api<StreamPipeline> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    Ok(api.list(&ListParams::default()).await.map_err(listing("StreamPipelines"))?.items)
}

/// The SLOs of the namespace, by name.
///
/// # Errors
///
/// Fails where they can't be read.
pub async fn slos(cluster: &Cluster) -> Result<Vec<StreamSLO>, Error> {
    let api: Api<StreamSLO> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    Ok(api.list(&ListParams::default()).await.map_err(listing("StreamSLOs"))?.items)
}

/// One pipeline.
///
/// # Errors
///
/// Fails where it can't be read; where it isn't there, with the names of those that are.
pub async fn one(cluster: &Cluster, name: &str) -> Result<StreamPipeline, Error> {
    let all = all(cluster).await?;
    find(all, "StreamPipeline", name, &cluster.namespace)
}

/// The resource of a name among all of the namespace.
///
/// # Errors
///
/// Fails where it isn't there, with the names of those that are.
pub fn find<K: ResourceExt>(
    all: Vec<K>,
    kind: &'static str,
    name: &str,
    namespace: &str,
) -> Result<K, Error> {
    let names: Vec<String> = all.iter().map(ResourceExt::name_any).collect();
    let found = all.into_iter().find(|found| found.name_any() == name);
    found.ok_or_else(|| Error::Missing {
        kind,
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        others: if names.is_empty() {
            "there is none; -n NAME looks in another".to_owned()
        } else {
            format!("there is {}", names.join(", "))
        },
    })
}

/// The pods that carry the data plane of a pipeline, by name; without those that are leaving, and those of jobs that are
/// done.
///
/// # Errors
///
/// Fails where they can't be read.
pub async fn replicas(cluster: &Cluster, pipeline: &StreamPipeline) -> Result<Vec<Pod>, Error> {
    let name = pipeline.name_any();
    let labels = match pipeline.spec.placement.kind() {
        Some(PlacementKind::Gateway(_)) => labels::of_gateway(&name),
        Some(PlacementKind::Sidecar(_)) => labels::of_sidecar(&name),
        None => return Ok(Vec::new()),
    };
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let selected = ListParams::default().labels(&selector::of_labels(&labels));
    let mut pods = api.list(&selected).await.map_err(reading("pods"))?.items;
    pods.retain(is_living);
    pods.sort_by_key(ResourceExt::name_any);
    Ok(pods)
}

fn is_living(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether a pod is ready.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|found| found.type_ == "Ready" && found.status == "True")
}

/// The data plane's container in a pod, be it injected or a gateway's.
#[must_use]
pub fn sidecar(pod: &Pod) -> Option<&Container> {
    let spec = pod.spec.as_ref()?;
    let mut containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    containers.find(|container| container.name == SIDECAR_CONTAINER)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({ "metadata": { "name": "web" }, "status": status })).unwrap()
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let error = find(vec![pod(&json!({}))], "Pod", "wep", "shop").unwrap_err().to_string();
        assert_eq!(error, "no Pod wep in the namespace shop; there is web");
        let error = find(Vec::<Pod>::new(), "Pod", "web", "shop").unwrap_err().to_string();
        assert!(error.ends_with("there is none; -n NAME looks in another"), "{error}");
    }

    #[test]
    fn a_pod_that_is_done_is_asked_nothing() {
        let living = |phase: &str| is_living(&pod(&json!({ "phase": phase })));
        assert!(living("Running") && living("Pending"));
        assert!(!living("Succeeded") && !living("Failed"));
        let mut leaving = pod(&json!({}));
        leaving.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert!(!is_living(&leaving));
    }

    #[test]
    fn a_pod_is_ready_when_it_says_so() {
        let ready = |status: &str| {
            is_ready(&pod(&json!({ "conditions": [{ "type": "Ready", "status": status }] })))
        };
        assert!(ready("True") && !ready("False") && !is_ready(&pod(&json!({}))));
    }
}
