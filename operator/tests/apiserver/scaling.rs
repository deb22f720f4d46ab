//! Autoscaling out of what the replicas answer.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ResourceQuota};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use weir_tests::{Namespace, eventually, with_namespace};

use crate::fixture::{
    Controller, LIMIT, change, condition, create_pipeline, create_pipeline_with, gateway, options,
    pipelines, there, told,
};
use crate::replicas::{Admin, come_up_at, touch};

fn autoscaled() -> Value {
    json!({ "gateway": { "autoscaling": {
        "minReplicas": 1, "maxReplicas": 5, "connectionsPerReplica": 100,
    } } })
}

fn samples(namespace: &str, subscribers: u64) -> Value {
    json!({
        "apiVersion": "weir.dev/samples/v1",
        "instance": { "id": "i", "startedAt": 1 },
        "now": 2,
        "pipelines": [{
            "namespace": namespace, "name": "orders", "generation": 1,
            "subscribers": { "sse": subscribers, "websocket": 0 },
        }],
    })
}

/// A pod of the gateway that is up, and answers with the samples.
async fn create_replica(namespace: &Namespace) -> Result<()> {
    create_replica_at(namespace, "by-hand", "127.0.0.1").await
}

async fn create_replica_at(namespace: &Namespace, name: &str, ip: &str) -> Result<()> {
    let labels = json!({ "weir.dev/pipeline": "orders", "app.kubernetes.io/component": "gateway" });
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": name, "labels": labels },
        "spec": { "containers": [{ "name": "weir-sidecar", "image": "i.test/i:1" }] },
    }))?;
    namespace.api::<Pod>().create(&PostParams::default(), &pod).await?;
    come_up_at(namespace, name, ip).await
}

async fn replicas(namespace: &Namespace, wanted: i32) -> Result<()> {
    let deployments = namespace.api::<Deployment>();
    eventually(&format!("there are to be {wanted} replicas"), LIMIT, async || {
        let found = deployments.get("orders").await?.spec.replicas;
        ensure!(found == Some(wanted), "{found:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn replicas_follow_their_subscribers_up_to_the_most_and_the_status_says_why() -> Result<()> {
    with_namespace("autoscale", async |namespace| {
        let admin = Admin::start(samples(&namespace.name, 290)).await?;
        let mut options = options(&namespace.name);
        options.admin_port = admin.port;
        let client = crate::account::of_chart_in(&namespace).await?;
        let controller = Controller::start_as(&namespace, client, options).await?;
        create_pipeline(&namespace, "orders", autoscaled()).await?;
        condition(&namespace, "orders", "ScalingActive", "Unknown", "NoReplicaReady").await?;
        replicas(&namespace, 1).await?;
        create_replica(&namespace).await?;
        replicas(&namespace, 3).await?;
        told(
            &namespace,
            "Scaled",
            "1 replicas become 3: the load is 290% of connectionsPerReplica",
        )
        .await?;
        condition(&namespace, "orders", "ScalingActive", "True", "LoadKnown").await?;
        condition(&namespace, "orders", "ScalingLimited", "False", "AsAsked").await?;
        // It may become five, each with a log of its own.
        let local =
            condition(&namespace, "orders", "StreamComplete", "False", "LocalLogWithReplicas")
                .await?;
        ensure!(local.message.starts_with("each of up to 5 replicas"), "{local:?}");
        // What somebody gives the Deployment is put right.
        let two = Patch::Merge(json!({ "spec": { "replicas": 2 } }));
        let deployments = namespace.api::<Deployment>();
        deployments.patch("orders", &PatchParams::default(), &two).await?;
        replicas(&namespace, 3).await?;
        *admin.samples.lock() = samples(&namespace.name, 900);
        touch(&namespace).await?;
        replicas(&namespace, 5).await?;
        let most =
            condition(&namespace, "orders", "ScalingLimited", "True", "TooManyReplicas").await?;
        ensure!(most.message.contains("maxReplicas (5)"), "{most:?}");
        let status = pipelines(&namespace).get("orders").await?.status.context("no status")?;
        ensure!(status.replicas.context("no replicas")?.desired == 5);
        let scaling = status.autoscaling.context("no autoscaling")?;
        ensure!(scaling.load.as_deref() == Some("900%"), "{scaling:?}");
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn fewer_subscribers_take_nothing_away_for_a_while_and_a_new_leader_knows_the_number()
-> Result<()> {
    with_namespace("scale-down", async |namespace| {
        let admin = Admin::start(samples(&namespace.name, 300)).await?;
        let mut options = options(&namespace.name);
        options.admin_port = admin.port;
        let client = crate::account::of_chart_in(&namespace).await?;
        let controller = Controller::start_as(&namespace, client.clone(), options.clone()).await?;
        create_pipeline(&namespace, "orders", autoscaled()).await?;
        there::<Deployment>(&namespace, "orders").await?;
        create_replica(&namespace).await?;
        replicas(&namespace, 3).await?;
        // The two that don't answer are taken to be busy, and so two are enough, but not just now.
        *admin.samples.lock() = samples(&namespace.name, 0);
        touch(&namespace).await?;
        condition(&namespace, "orders", "ScalingLimited", "False", "ScaleDownStabilized").await?;
        controller.stop().await?;
        let controller = Controller::start_as(&namespace, client, options).await?;
        eventually("the new leader has reconciled", LIMIT, async || {
            ensure!(controller.reconciled()? > 0, "not yet");
            Ok(())
        })
        .await?;
        replicas(&namespace, 3).await?;
        let status = pipelines(&namespace).get("orders").await?.status.context("no status")?;
        ensure!(status.autoscaling.context("no autoscaling")?.desired == 3);
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn who_scales_a_pipeline_gives_its_replicas_nothing_to_take_up() -> Result<()> {
    with_namespace("scaled", async |namespace| {
        let admin = Admin::start(samples(&namespace.name, 0)).await?;
        let mut options = options(&namespace.name);
        options.admin_port = admin.port;
        let client = namespace.cluster.client.clone();
        let controller = Controller::start_as(&namespace, client, options).await?;
        create_replica_at(&namespace, "one", "127.0.0.1").await?;
        let log = json!({ "log": { "storage": { "redis": { "address": "redis:6379" } } } });
        create_pipeline_with(&namespace, "orders", gateway(1), log).await?;
        condition(&namespace, "orders", "UpToDate", "True", "UpToDate").await?;
        let before: ConfigMap = there(&namespace, "orders-weir").await?;
        for wanted in 2..4 {
            let scale = format!("--replicas={wanted}");
            namespace.kubectl.succeed(&["scale", "streampipeline/orders", &scale]).await?;
            replicas(&namespace, wanted).await?;
            // The replica goes on to say that it runs the first generation.
            condition(&namespace, "orders", "UpToDate", "True", "UpToDate").await?;
        }
        let after: ConfigMap = there(&namespace, "orders-weir").await?;
        ensure!(after.metadata.resource_version == before.metadata.resource_version, "{after:?}");
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn two_autoscalers_at_once_are_refused() -> Result<()> {
    with_namespace("two-scalers", async |namespace| {
        crate::fixture::install_definitions(&namespace.cluster).await?;
        create_pipeline(&namespace, "orders", autoscaled()).await?;
        let scale = ["scale", "streampipeline/orders", "--replicas=3"];
        let refused = eventually("kubectl is answered", LIMIT, async || {
            let output = namespace.kubectl.output(&scale).await?;
            ensure!(output.stderr.contains("replicas"), "{}", output.stderr);
            Ok(output)
        })
        .await?;
        ensure!(
            !refused.success && refused.stderr.contains("is decided by autoscaling"),
            "{}",
            refused.stderr
        );
        let manual = json!({ "spec": { "placement": { "gateway": { "autoscaling": null } } } });
        change(&namespace, "orders", manual).await?;
        namespace.kubectl.succeed(&scale).await.map(drop)
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn replicas_that_are_far_apart_are_told_their_share_for_a_while() -> Result<()> {
    with_namespace("rebalance", async |namespace| {
        let busy = Admin::start(samples(&namespace.name, 300)).await?;
        let mut options = options(&namespace.name);
        options.admin_port = busy.port;
        let address = format!("127.0.0.2:{}", busy.port);
        let idle = Admin::start_at(&address, samples(&namespace.name, 0)).await?;
        create_replica_at(&namespace, "busy", "127.0.0.1").await?;
        create_replica_at(&namespace, "idle", "127.0.0.2").await?;
        // No room for the pods that the Deployment would make: these two are its replicas here.
        let full = json!({ "metadata": { "name": "full" }, "spec": { "hard": { "pods": "2" } } });
        let quotas = namespace.api::<ResourceQuota>();
        quotas.create(&PostParams::default(), &serde_json::from_value(full)?).await?;
        eventually("the quota is known", LIMIT, async || {
            let known = quotas.get("full").await?.status.and_then(|status| status.used);
            ensure!(known.is_some(), "not yet");
            Ok(())
        })
        .await?;
        let client = crate::account::of_chart_in(&namespace).await?;
        let controller = Controller::start_as(&namespace, client, options).await?;
        let placement = json!({ "gateway": { "replicas": 2, "rebalance": { "window": "10s" } } });
        let log = json!({ "log": { "storage": { "redis": { "address": "redis:6379" } } } });
        create_pipeline_with(&namespace, "orders", placement, log).await?;
        share(&namespace, true).await?;
        let note = "replicas have from 0 to 300 subscribers: those with more than 150 send some of them \
                    away within 10 s";
        told(&namespace, "Rebalancing", note).await?;
        *busy.samples.lock() = samples(&namespace.name, 160);
        *idle.samples.lock() = samples(&namespace.name, 140);
        share(&namespace, false).await?;
        controller.stop().await
    })
    .await
}

/// Waits until the manifest that the replicas read says their share, or no longer.
async fn share(namespace: &Namespace, told: bool) -> Result<()> {
    let config_maps = namespace.api::<ConfigMap>();
    eventually("the manifest has a share, or none", LIMIT, async || {
        let data = config_maps.get("orders-weir").await?.data.context("no data")?;
        let manifest = &data["pipeline.yaml"];
        ensure!(manifest.contains("weir.dev/share: \"150.") == told, "{manifest}");
        Ok(())
    })
    .await
}
