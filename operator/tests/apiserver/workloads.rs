//! Workloads, and what a node would do for their pods.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::discovery::ApiResource;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use weir_tests::{Namespace, eventually};

use crate::fixture::LIMIT;

/// Says of every pod of a namespace that it is ready, as a node would. No scheduler knows of these pods, so
/// that a real node does not say otherwise.
pub(crate) struct Node(JoinHandle<()>);

impl Node {
    pub(crate) fn start(namespace: &Namespace) -> Self {
        let pods = namespace.api::<Pod>();
        Self(tokio::spawn(async move {
            loop {
                // What fails is tried again.
                let _ = run_all(&pods).await;
                sleep(Duration::from_millis(200)).await;
            }
        }))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run_all(pods: &Api<Pod>) -> Result<()> {
    for pod in pods.list(&ListParams::default()).await?.items {
        if pod.status.and_then(|status| status.pod_ip).is_none() {
            let status = json!({
                "phase": "Running", "podIP": "127.0.0.1", "podIPs": [{ "ip": "127.0.0.1" }],
                "conditions": [{ "type": "Ready", "status": "True" }],
            });
            let patch = Patch::Merge(json!({ "status": status }));
            let name = pod.metadata.name.unwrap_or_default();
            pods.patch_status(&name, &PatchParams::default(), &patch).await?;
        }
    }
    Ok(())
}

/// A workload of two pods, whose containers ask for so much of a CPU.
pub(crate) fn manifest(kind: &str, name: &str, cpu: &str) -> Value {
    let labels = json!({ "app": "shop", "of": name });
    let mut manifest = json!({
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": { "name": name },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "schedulerName": "nobody",
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "app", "image": "app.test/app:1",
                        "resources": { "requests": { "cpu": cpu } },
                    }],
                },
            },
        },
    });
    if kind != "DaemonSet" {
        manifest["spec"]["replicas"] = json!(2);
    }
    if kind == "StatefulSet" {
        manifest["spec"]["serviceName"] = json!(name);
    }
    manifest
}

pub(crate) fn api(namespace: &Namespace, kind: &str) -> Api<DynamicObject> {
    let resource = match kind {
        "Deployment" => ApiResource::erase::<Deployment>(&()),
        "StatefulSet" => ApiResource::erase::<StatefulSet>(&()),
        _ => ApiResource::erase::<DaemonSet>(&()),
    };
    Api::namespaced_with(namespace.cluster.client.clone(), &namespace.name, &resource)
}

/// Creates a workload.
pub(crate) async fn create(namespace: &Namespace, manifest: Value) -> Result<()> {
    let kind = manifest["kind"].as_str().context("no kind")?.to_owned();
    let object: DynamicObject = serde_json::from_value(manifest)?;
    api(namespace, &kind).create(&PostParams::default(), &object).await?;
    Ok(())
}

/// Waits until the newest template of a workload is everywhere.
pub(crate) async fn settled(namespace: &Namespace, kind: &str, name: &str) -> Result<Value> {
    let api = api(namespace, kind);
    eventually(&format!("{kind} {name} has settled"), LIMIT, async || {
        let object = serde_json::to_value(api.get(name).await?)?;
        let status = &object["status"];
        ensure!(status["observedGeneration"] == object["metadata"]["generation"], "{status}");
        let two = json!(2);
        let done = match kind {
            "Deployment" => {
                let conditions = status["conditions"].as_array().context("no conditions")?;
                status["updatedReplicas"] == two
                    && status["replicas"] == two
                    && conditions.iter().any(|found| found["reason"] == "NewReplicaSetAvailable")
            }
            "StatefulSet" => {
                status["readyReplicas"] == two
                    && status["currentRevision"] == status["updateRevision"]
            }
            _ => {
                status["desiredNumberScheduled"].as_i64() > Some(0)
                    && status["updatedNumberScheduled"] == status["desiredNumberScheduled"]
                    && status["numberAvailable"] == status["desiredNumberScheduled"]
            }
        };
        ensure!(done, "{status}");
        Ok(object)
    })
    .await
}

/// The pods of a workload.
pub(crate) async fn pods_of(namespace: &Namespace, name: &str) -> Result<Vec<Pod>> {
    let params = ListParams::default().labels(&format!("of={name}"));
    let mut pods = namespace.api::<Pod>().list(&params).await?.items;
    pods.retain(|pod| pod.meta().deletion_timestamp.is_none());
    pods.sort_by_key(ResourceExt::name_any);
    Ok(pods)
}
