//! The whole operator: leader, controllers, certificate, and the webhook that the API server calls.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::net::TcpListener;
use weir_tests::{Namespace, eventually};

use crate::fixture::{
    LIMIT, condition, create_pipeline, gateway, gone, pipelines, restrict, sidecar, there,
};
use crate::installation::{
    Replica, configurations, configure, free, injected_pod, is_injected, pod, with_system,
};

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_selected_pod_is_created_with_the_sidecar_at_the_restricted_level() -> Result<()> {
    with_system("inject", async |watched, system| {
        restrict(&watched).await?;
        let webhook = free().await?;
        configure(&watched, &system, webhook.port()).await?;
        let replica = Replica::start(&watched, &system, "one", webhook).await?;
        replica.ready().await?;
        create_pipeline(&watched, "orders", sidecar()).await?;
        let injected = injected_pod(&watched).await?;
        let spec = injected.spec.context("no spec")?;
        let sidecar = &spec.init_containers.context("no init containers")?[0];
        ensure!(sidecar.restart_policy.as_deref() == Some("Always"), "{sidecar:?}");
        let mounts = sidecar.volume_mounts.as_ref().context("no mounts")?;
        ensure!(mounts.iter().any(|mount| mount.mount_path == "/etc/weir/pipelines/orders"));
        let mut unselected = pod("other");
        unselected.metadata.labels = None;
        let pods = watched.api::<Pod>();
        ensure!(!is_injected(&pods.create(&PostParams::default(), &unselected).await?));
        ensure!(replica.shows("weir_operator_leader 1").await?);
        ensure!(replica.shows("weir_operator_webhook_configured 1").await?);
        ensure!(!replica.shows("weir_operator_injections_total{result=\"injected\"} 0").await?);
        ensure!(replica.shows("weir_operator_injections_total{result=\"skipped\"} 1").await?);
        replica.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_deleted_pipeline_leaves_running_pods_alone_and_new_ones_without_a_sidecar() -> Result<()>
{
    with_system("deleted", async |watched, system| {
        let webhook = free().await?;
        configure(&watched, &system, webhook.port()).await?;
        let replica = Replica::start(&watched, &system, "one", webhook).await?;
        replica.ready().await?;
        create_pipeline(&watched, "orders", sidecar()).await?;
        let before = injected_pod(&watched).await?;
        there::<ConfigMap>(&watched, "orders-weir").await?;
        pipelines(&watched).delete("orders", &DeleteParams::default()).await?;
        // From here on the kubelet takes the manifest out of the pod.
        gone::<ConfigMap>(&watched, "orders-weir").await?;
        gone::<Service>(&watched, "orders").await?;
        let pods = watched.api::<Pod>();
        let mut number = 0;
        let bare = eventually("new pods have no sidecar", LIMIT, async || {
            number += 1;
            let made = pods.create(&PostParams::default(), &pod(&format!("bare-{number}"))).await?;
            ensure!(!is_injected(&made), "{number} is injected");
            Ok(made)
        })
        .await?;
        let after = pods.get(&before.name_any()).await?;
        ensure!(after.uid() == before.uid() && after.labels() == before.labels(), "{after:?}");
        // One of the same name is served by the sidecars that are still there.
        pods.delete(&bare.name_any(), &DeleteParams::default()).await?;
        create_pipeline(&watched, "orders", sidecar()).await?;
        there::<ConfigMap>(&watched, "orders-weir").await?;
        let found = condition(&watched, "orders", "Injected", "True", "AllInjected").await?;
        ensure!(!found.message.contains("restart"), "{found:?}");
        replica.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_certificate_outlives_the_operator_that_made_it() -> Result<()> {
    with_system("restart", async |watched, system| {
        let webhook = free().await?;
        configure(&watched, &system, webhook.port()).await?;
        let secrets = system.api::<Secret>();
        let first = Replica::start(&watched, &system, "first", webhook).await?;
        first.ready().await?;
        first.stop().await?;
        let before = secrets.get("weir-webhook-tls").await?;
        let bundle = bundle(&watched).await?;
        let second = Replica::start(&watched, &system, "second", webhook).await?;
        second.ready().await?;
        create_pipeline(&watched, "orders", sidecar()).await?;
        injected_pod(&watched).await?;
        ensure!(
            secrets.get("weir-webhook-tls").await?.resource_version() == before.resource_version()
        );
        ensure!(self::bundle(&watched).await? == bundle, "the API server was told anew");
        second.stop().await
    })
    .await
}

async fn bundle(namespace: &Namespace) -> Result<Vec<u8>> {
    let configuration = configurations(namespace).get(&namespace.name).await?;
    let webhook = configuration.webhooks.into_iter().flatten().next().context("no webhook")?;
    Ok(webhook.client_config.ca_bundle.context("no authorities")?.0)
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn authorities_that_an_upgrade_took_away_come_back() -> Result<()> {
    with_system("upgrade", async |watched, system| {
        let webhook = free().await?;
        configure(&watched, &system, webhook.port()).await?;
        let replica = Replica::start(&watched, &system, "one", webhook).await?;
        replica.ready().await?;
        let before = bundle(&watched).await?;
        let path = "/webhooks/0/clientConfig/caBundle";
        let taken = serde_json::from_value(json!([{ "op": "remove", "path": path }]))?;
        let taken: Patch<()> = Patch::Json(taken);
        configurations(&watched).patch(&watched.name, &PatchParams::default(), &taken).await?;
        eventually("the API server is told again whom to trust", LIMIT, async || {
            ensure!(bundle(&watched).await? == before, "it is told of somebody else");
            Ok(())
        })
        .await?;
        replica.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn of_two_replicas_one_reconciles_both_serve_and_the_other_takes_over() -> Result<()> {
    with_system("replicas", async |watched, system| {
        let webhook = free().await?;
        configure(&watched, &system, webhook.port()).await?;
        let first = Replica::start(&watched, &system, "first", webhook).await?;
        first.ready().await?;
        let second = Replica::start(&watched, &system, "second", free().await?).await?;
        second.ready().await?;
        let leads = async |replica: &Replica| -> Result<bool> {
            replica.shows("weir_operator_leader 1").await
        };
        ensure!(leads(&first).await? && !leads(&second).await?);
        ensure!(first.webhook != second.webhook);
        first.stop().await?;
        create_pipeline(&watched, "orders", gateway(1)).await?;
        condition(&watched, "orders", "Ready", "False", "NoReplicaReady").await?;
        ensure!(leads(&second).await?);
        second.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_taken_port_ends_the_operator_with_one_line() -> Result<()> {
    with_system("port", async |watched, system| {
        let taken = TcpListener::bind("127.0.0.1:0").await?;
        let replica = Replica::start(&watched, &system, "one", taken.local_addr()?).await?;
        let ended = tokio::time::timeout(Duration::from_secs(20), replica.task).await??;
        let line = ended.err().context("it ran")?.to_string();
        ensure!(line.contains("choose another by --webhook-address"), "{line}");
        Ok(())
    })
    .await
}
