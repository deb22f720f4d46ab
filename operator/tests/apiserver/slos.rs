//! What sidecars counted, in the status of their SLO.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_crds::v1alpha1::StreamSLO;
use weir_operator::controller::drive;
use weir_operator::slo::Slos;
use weir_tests::{Namespace, eventually, with_namespace};

use crate::fixture::{
    LIMIT, context, create_pipeline, install_definitions, options, sidecar, told,
};
use crate::replicas::Admin;

/// The StreamSLO controller, for one namespace.
struct Judge {
    registry: Registry,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Judge {
    async fn start(namespace: &Namespace, admin_port: u16) -> Result<Self> {
        let client = namespace.cluster.client.clone();
        install_definitions(&namespace.cluster).await?;
        let mut registry = Registry::default();
        let mut options = options(&namespace.name);
        options.admin_port = admin_port;
        let context = context(client, options, &mut registry);
        let slos = Slos::register(Arc::clone(&context), &mut registry);
        let stop = CancellationToken::new();
        let task = tokio::spawn(drive(slos, context, stop.clone()));
        Ok(Self { registry, stop, task })
    }

    fn metrics(&self) -> Result<String> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// How often SLOs were evaluated.
    fn evaluated(&self) -> Result<u64> {
        let text = self.metrics()?;
        let name = "slo_evaluations_total{result=\"evaluated\"} ";
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.map(str::parse).transpose()?.unwrap_or(0))
    }

    async fn stop(self) -> Result<()> {
        self.stop.cancel();
        Ok(tokio::time::timeout(LIMIT, self.task).await??)
    }
}

/// Creates the SLO feed of the pipeline orders, which is evaluated as often as may be.
async fn create_feed(namespace: &Namespace) -> Result<()> {
    let slo = serde_json::from_value(json!({
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "StreamSLO",
        "metadata": { "name": "feed" },
        "spec": {
            "pipelineRef": { "name": "orders" },
            "timeWindow": { "duration": "5m" },
            "evaluation": { "interval": "5s", "minCoverage": "1" },
            "objectives": [{ "name": "errors", "target": "95", "errorRate": {} }],
        },
    }))?;
    namespace.api::<StreamSLO>().create(&PostParams::default(), &slo).await?;
    Ok(())
}

/// Creates a pod whose sidecar runs on this machine.
async fn create_pod(namespace: &Namespace, name: &str) -> Result<()> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {
            "name": name,
            "labels": {
                "app": "shop", "weir.dev/injected": "true", "pipeline.weir.dev/orders": "true",
            },
        },
        "spec": {
            "containers": [{ "name": "app", "image": "app.test/app:1" }],
            "initContainers": [
                { "name": "weir-sidecar", "image": "i.test/i:1", "restartPolicy": "Always" },
            ],
        },
    }))?;
    let pods: Api<Pod> = namespace.api();
    pods.create(&PostParams::default(), &pod).await?;
    let status = json!({
        "phase": "Running", "podIP": "127.0.0.1", "podIPs": [{ "ip": "127.0.0.1" }],
        "initContainerStatuses": [{
            "name": "weir-sidecar", "ready": true, "started": true, "restartCount": 0,
            "image": "i", "imageID": "i", "state": { "running": {} },
        }],
    });
    let patch = Patch::Merge(json!({ "status": status }));
    pods.patch_status(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// What a sidecar writes that has counted so many for a minute.
fn counted(namespace: &Namespace, good: u64, total: u64) -> Value {
    let now = Timestamp::now().as_millisecond();
    let objective = json!({
        "name": "errors",
        "fingerprint": "written",
        "startedAt": now - 60_000,
        "current": { "good": good, "total": total },
    });
    let slo = json!({
        "namespace": namespace.name, "name": "feed", "generation": 1, "objectives": [objective],
    });
    json!({
        "apiVersion": "weir.dev/samples/v1",
        // The process stays the same.
        "instance": { "id": "a", "startedAt": 1 },
        "now": now,
        "pipelines": [{ "namespace": namespace.name, "name": "orders", "slos": [slo] }],
    })
}

async fn condition(
    namespace: &Namespace,
    type_: &str,
    status: &str,
    reason: &str,
) -> Result<Condition> {
    let api: Api<StreamSLO> = namespace.api();
    eventually(&format!("{type_}={status} {reason}"), LIMIT, async || {
        let slo = api.get("feed").await?;
        let conditions = slo.status.context("no status")?.conditions;
        let found = conditions.iter().find(|found| found.type_ == type_);
        let found = found.with_context(|| format!("{conditions:?}"))?;
        ensure!(found.observed_generation == slo.metadata.generation, "{found:?}");
        ensure!(found.status == status && found.reason == reason, "{conditions:?}");
        Ok(found.clone())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn an_slo_says_what_it_lacks_until_it_can_be_evaluated() -> Result<()> {
    with_namespace("slo-lacks", async |namespace| {
        let admin = Admin::start(counted(&namespace, 0, 0)).await?;
        let judge = Judge::start(&namespace, admin.port).await?;
        create_feed(&namespace).await?;
        let ready = condition(&namespace, "Ready", "False", "PipelineNotFound").await?;
        ensure!(ready.message.starts_with("there is no StreamPipeline orders"), "{ready:?}");
        create_pipeline(&namespace, "orders", sidecar()).await?;
        condition(&namespace, "Ready", "True", "Evaluating").await?;
        condition(&namespace, "DataAvailable", "False", "NoTargets").await?;
        create_pod(&namespace, "web-1").await?;
        condition(&namespace, "DataAvailable", "True", "Sampling").await?;
        condition(&namespace, "Met", "Unknown", "NoData").await?;
        *admin.samples.lock() = json!("no samples at all");
        condition(&namespace, "DataAvailable", "False", "ScrapeFailing").await?;
        judge.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn counts_become_a_verdict_numbers_and_events_and_are_not_written_in_vain() -> Result<()> {
    with_namespace("slo-counts", async |namespace| {
        let admin = Admin::start(counted(&namespace, 990, 1_000)).await?;
        let judge = Judge::start(&namespace, admin.port).await?;
        create_pipeline(&namespace, "orders", sidecar()).await?;
        create_pod(&namespace, "web-1").await?;
        create_feed(&namespace).await?;
        condition(&namespace, "Met", "True", "ObjectivesMet").await?;
        told(&namespace, "ObjectivesMet", "1 of 1 met over 5m").await?;
        let api: Api<StreamSLO> = namespace.api();
        let met = api.get("feed").await?;
        let status = met.status.clone().context("no status")?;
        let objective = status.objectives.first().context("no objective")?;
        ensure!((objective.good, objective.total) == (990, 1_000), "{objective:?}");
        ensure!(objective.sli.as_deref() == Some("99.00"), "{objective:?}");
        let summary = status.summary.context("no summary")?;
        ensure!(summary.met == "1/1" && summary.budget.as_deref() == Some("80%"), "{summary:?}");
        unchanged(&judge, &api, &met).await?;
        *admin.samples.lock() = counted(&namespace, 1_000, 1_100);
        condition(&namespace, "Met", "False", "ObjectiveMissed").await?;
        told(&namespace, "ObjectiveMissed", "errors 90.90% < 95% over 5m").await?;
        condition(&namespace, "Ready", "True", "Evaluating").await?;
        judge.stop().await
    })
    .await
}

/// Waits for two further evaluations, and shows that they wrote nothing.
async fn unchanged(judge: &Judge, api: &Api<StreamSLO>, before: &StreamSLO) -> Result<()> {
    let known = judge.evaluated()?;
    eventually("two further evaluations", LIMIT, async || {
        let evaluated = judge.evaluated()?;
        ensure!(evaluated >= known + 2, "{evaluated} after {known}");
        Ok(())
    })
    .await?;
    let now = api.get("feed").await?;
    ensure!(now.metadata.resource_version == before.metadata.resource_version, "{now:?}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn the_metrics_of_an_slo_go_with_it() -> Result<()> {
    with_namespace("slo-gone", async |namespace| {
        let admin = Admin::start(counted(&namespace, 990, 1_000)).await?;
        let judge = Judge::start(&namespace, admin.port).await?;
        create_pipeline(&namespace, "orders", sidecar()).await?;
        create_pod(&namespace, "web-1").await?;
        create_feed(&namespace).await?;
        let shown = format!("slo_sli_ratio{{namespace=\"{}\"", namespace.name);
        eventually("the SLI is a metric", LIMIT, async || {
            ensure!(judge.metrics()?.contains(&shown), "{}", judge.metrics()?);
            Ok(())
        })
        .await?;
        namespace.api::<StreamSLO>().delete("feed", &DeleteParams::default()).await?;
        eventually("the SLI is a metric no longer", LIMIT, async || {
            ensure!(!judge.metrics()?.contains(&shown), "{}", judge.metrics()?);
            Ok(())
        })
        .await?;
        judge.stop().await
    })
    .await
}
