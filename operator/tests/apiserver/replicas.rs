//! Pods and what they answer, in the status of their pipeline.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use weir_tests::{Namespace, eventually, with_namespace};

use crate::fixture::{
    Controller, LIMIT, change, condition, create_pipeline, gateway, options, pipelines, sidecar,
};

/// A sidecar's admin port on loopback, which answers with what it is told.
pub(crate) struct Admin {
    pub(crate) port: u16,
    pub(crate) samples: Arc<Mutex<Value>>,
    server: JoinHandle<()>,
}

impl Admin {
    pub(crate) async fn start(samples: Value) -> Result<Self> {
        Self::start_at("127.0.0.1:0", samples).await
    }

    pub(crate) async fn start_at(address: &str, samples: Value) -> Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let port = listener.local_addr()?.port();
        let samples = Arc::new(Mutex::new(samples));
        let answer = Arc::clone(&samples);
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let body = answer.lock().to_string();
                let length = body.len();
                let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length:";
                let _ = stream.write_all(format!("{head} {length}\r\n\r\n{body}").as_bytes()).await;
            }
        });
        Ok(Self { port, samples, server })
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub(crate) fn samples(namespace: &str, generation: i64, healthy: bool) -> Value {
    json!({
        "apiVersion": "weir.dev/samples/v1",
        "instance": { "id": "i", "startedAt": 1 },
        "now": 2,
        "pipelines": [{
            "namespace": namespace, "name": "orders", "generation": generation,
            "sources": [{ "name": "demo", "healthy": healthy, "message": "refused" }],
        }],
    })
}

/// Creates a pod of the application, injected or not.
async fn create_pod(namespace: &Namespace, name: &str, injected: bool) -> Result<()> {
    let mut pod = json!({
        "metadata": { "name": name, "labels": { "app": "shop" } },
        "spec": { "containers": [{ "name": "app", "image": "app.test/app:1" }] },
    });
    if injected {
        pod["metadata"]["labels"] = json!({
            "app": "shop", "weir.dev/injected": "true", "pipeline.weir.dev/orders": "true",
        });
        let sidecar =
            json!({ "name": "weir-sidecar", "image": "i.test/i:1", "restartPolicy": "Always" });
        pod["spec"]["initContainers"] = json!([sidecar]);
    }
    let pod: Pod = serde_json::from_value(pod)?;
    namespace.api::<Pod>().create(&PostParams::default(), &pod).await?;
    Ok(())
}

/// Does what a kubelet does for a pod that has come up on this machine.
pub(crate) async fn come_up(namespace: &Namespace, name: &str) -> Result<()> {
    come_up_at(namespace, name, "127.0.0.1").await
}

/// The same at another of its addresses.
pub(crate) async fn come_up_at(namespace: &Namespace, name: &str, ip: &str) -> Result<()> {
    let status = json!({
        "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }],
        "conditions": [{ "type": "Ready", "status": "True" }],
    });
    let patch = Patch::Merge(json!({ "status": status }));
    namespace.api::<Pod>().patch_status(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_sidecar_that_serves_makes_its_pipeline_ready() -> Result<()> {
    with_namespace("replica", async |namespace| {
        let admin = Admin::start(samples(&namespace.name, 1, true)).await?;
        let mut options = options(&namespace.name);
        options.admin_port = admin.port;
        let client = namespace.cluster.client.clone();
        let controller = Controller::start_as(&namespace, client, options).await?;
        create_pipeline(&namespace, "orders", sidecar()).await?;
        condition(&namespace, "orders", "Ready", "False", "NoPodSelected").await?;
        create_pod(&namespace, "web-1", true).await?;
        condition(&namespace, "orders", "Ready", "False", "NoReplicaReady").await?;
        come_up(&namespace, "web-1").await?;
        condition(&namespace, "orders", "Ready", "True", "Serving").await?;
        condition(&namespace, "orders", "SourcesHealthy", "True", "Healthy").await?;
        condition(&namespace, "orders", "Injected", "True", "AllInjected").await?;
        *admin.samples.lock() = samples(&namespace.name, 1, false);
        touch(&namespace).await?;
        let ill =
            condition(&namespace, "orders", "SourcesHealthy", "False", "SourceUnhealthy").await?;
        ensure!(ill.message.ends_with("demo on web-1 (refused)"), "{ill:?}");
        controller.stop().await
    })
    .await
}

/// Has the pipeline reconciled.
pub(crate) async fn touch(namespace: &Namespace) -> Result<()> {
    let again = json!({ "metadata": { "annotations": { "touched": "yes" } } });
    change(namespace, "orders", again).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_new_configuration_is_announced_to_the_pods_and_awaited() -> Result<()> {
    with_namespace("reload", async |namespace| {
        let admin = Admin::start(samples(&namespace.name, 1, true)).await?;
        let mut options = options(&namespace.name);
        options.admin_port = admin.port;
        let client = namespace.cluster.client.clone();
        let controller = Controller::start_as(&namespace, client, options).await?;
        create_pipeline(&namespace, "orders", sidecar()).await?;
        create_pod(&namespace, "web-1", true).await?;
        come_up(&namespace, "web-1").await?;
        condition(&namespace, "orders", "EndpointsReady", "True", "Serving").await?;
        let before = announced(&namespace, None).await?;
        let spec = json!({ "spec": { "delivery": { "maxConnections": 7 } } });
        change(&namespace, "orders", spec).await?;
        condition(&namespace, "orders", "EndpointsReady", "True", "Updating").await?;
        announced(&namespace, Some(&before)).await?;
        let status = pipelines(&namespace).get("orders").await?.status.context("no status")?;
        ensure!(status.replicas.context("no replicas")?.outdated == 1);
        // The sidecar has reloaded; nothing but asking it tells.
        *admin.samples.lock() = samples(&namespace.name, 2, true);
        condition(&namespace, "orders", "EndpointsReady", "True", "Serving").await?;
        controller.stop().await
    })
    .await
}

/// Waits until the pod has been told of a configuration other than `before`.
async fn announced(namespace: &Namespace, before: Option<&str>) -> Result<String> {
    let pods = namespace.api::<Pod>();
    eventually("the pod is told of the configuration", LIMIT, async || {
        let pod = pods.get("web-1").await?;
        let hash = pod.annotations().get("config-hash.weir.dev/orders").context("never told")?;
        ensure!(Some(hash.as_str()) != before, "told of the old one");
        Ok(hash.clone())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_pod_that_slipped_through_is_noticed_at_once() -> Result<()> {
    with_namespace("slipped", async |namespace| {
        let controller = Controller::start(&namespace).await?;
        create_pipeline(&namespace, "orders", sidecar()).await?;
        condition(&namespace, "orders", "Injected", "Unknown", "NoPodSelected").await?;
        create_pod(&namespace, "bare", false).await?;
        let injected =
            condition(&namespace, "orders", "Injected", "False", "PodsWithoutSidecar").await?;
        ensure!(injected.message.contains("0 of 1 selected pods"), "{injected:?}");
        ensure!(injected.message.ends_with("delete these pods, so that they are made anew"));
        condition(&namespace, "orders", "Ready", "False", "NoPodInjected").await?;
        namespace.api::<Pod>().delete("bare", &Default::default()).await?;
        condition(&namespace, "orders", "Injected", "Unknown", "NoPodSelected").await?;
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_secret_that_a_sidecar_misses_is_named_on_the_pipeline() -> Result<()> {
    with_namespace("secret", async |namespace| {
        let mut missing = samples(&namespace.name, 1, true);
        missing["pipelines"][0]["missingSecrets"] = json!(["tls"]);
        let admin = Admin::start(missing).await?;
        let mut options = options(&namespace.name);
        options.admin_port = admin.port;
        let client = namespace.cluster.client.clone();
        let controller = Controller::start_as(&namespace, client, options).await?;
        create_pipeline(&namespace, "orders", sidecar()).await?;
        let tls = json!({ "spec": { "endpoints": { "tls": { "secretName": "tls" } } } });
        change(&namespace, "orders", tls).await?;
        create_pod(&namespace, "web-1", true).await?;
        come_up(&namespace, "web-1").await?;
        let found =
            condition(&namespace, "orders", "SecretsPresent", "False", "SecretMissing").await?;
        ensure!(found.message.starts_with("missing: tls (web-1 finds nothing of it)"), "{found:?}");
        // The pod was made before the pipeline named the Secret, so that it is not mounted either.
        let found =
            condition(&namespace, "orders", "Injected", "False", "SidecarsIncomplete").await?;
        ensure!(found.message.contains("made without the Secret tls: web-1"), "{found:?}");
        *admin.samples.lock() = samples(&namespace.name, 2, true);
        touch(&namespace).await?;
        condition(&namespace, "orders", "SecretsPresent", "True", "Present").await?;
        controller.stop().await
    })
    .await
}

/// Creates a pod of the gateway, up and not ready.
async fn create_waiting_pod(namespace: &Namespace, name: &str) -> Result<()> {
    let labels = json!({ "weir.dev/pipeline": "orders", "app.kubernetes.io/component": "gateway" });
    let pod = json!({
        "metadata": { "name": name, "labels": labels },
        "spec": { "containers": [{ "name": "weir-sidecar", "image": "i.test/i:1" }] },
    });
    let pod: Pod = serde_json::from_value(pod)?;
    namespace.api::<Pod>().create(&PostParams::default(), &pod).await?;
    let status = json!({
        "phase": "Running", "podIP": "127.0.0.1", "podIPs": [{ "ip": "127.0.0.1" }],
        "conditions": [{ "type": "Ready", "status": "False" }],
        "containerStatuses": [{
            "name": "weir-sidecar", "image": "i.test/i:1", "imageID": "", "ready": false,
            "restartCount": 0, "started": true,
            "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } },
        }],
    });
    let patch = Patch::Merge(json!({ "status": status }));
    namespace.api::<Pod>().patch_status(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_gateway_that_refuses_its_only_configuration_is_asked_why_though_it_is_not_ready()
-> Result<()> {
    with_namespace("barren", async |namespace| {
        let mut refusing = samples(&namespace.name, 1, true);
        refusing["pipelines"] = json!([]);
        refusing["refused"] = json!("pipeline.yaml:20:5: spec.delivery.conflateKey: can't be used");
        let admin = Admin::start(refusing).await?;
        let mut options = options(&namespace.name);
        options.admin_port = admin.port;
        let client = namespace.cluster.client.clone();
        let controller = Controller::start_as(&namespace, client, options).await?;
        create_pipeline(&namespace, "orders", gateway(1)).await?;
        create_waiting_pod(&namespace, "orders-1").await?;
        for type_ in ["Ready", "EndpointsReady", "UpToDate"] {
            let found =
                condition(&namespace, "orders", type_, "False", "ConfigurationRefused").await?;
            ensure!(found.message.contains("orders-1"), "{found:?}");
            ensure!(found.message.contains("conflateKey: can't be used"), "{found:?}");
        }
        // It is mended, and takes it up, which is noticed without anything that a watch would tell.
        let mut missing = samples(&namespace.name, 1, true);
        missing["pipelines"][0]["missingSecrets"] = json!(["tls"]);
        let tls = json!({ "spec": { "endpoints": { "tls": { "secretName": "tls" } } } });
        change(&namespace, "orders", tls).await?;
        *admin.samples.lock() = missing;
        condition(&namespace, "orders", "EndpointsReady", "False", "SecretMissing").await?;
        *admin.samples.lock() = samples(&namespace.name, 2, true);
        come_up(&namespace, "orders-1").await?;
        condition(&namespace, "orders", "Ready", "True", "Serving").await?;
        controller.stop().await
    })
    .await
}
