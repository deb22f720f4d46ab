//! Installs the definitions, runs the StreamPipeline controller for one namespace, and makes resources.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Namespace as K8sNamespace;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_crds::names::port;
use weir_crds::v1alpha1::{StreamPipeline, StreamSLO};
use weir_operator::context::{Context, Options};
use weir_operator::controller::drive;
use weir_operator::metrics::ReconcileMetrics;
use weir_operator::pipeline::Pipelines;
use weir_operator::samples::Sampler;
use weir_operator::upgrade::Upgrades;
use weir_tests::{Cluster, Namespace, definitions, eventually};

use crate::account;

/// Generous on a busy machine; nothing here takes more than a second on an idle one.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Installs the definitions, once for all tests of the process.
pub(crate) async fn install_definitions(cluster: &Cluster) -> Result<()> {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED.get_or_try_init(|| definitions::install(cluster)).await.map(drop)
}

/// The StreamPipeline controller, for one namespace.
pub(crate) struct Controller {
    registry: Registry,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

pub(crate) fn options(namespace: &str) -> Options {
    Options {
        namespace: "weir-system".to_owned(),
        identity: "test".to_owned(),
        watch_namespace: Some(namespace.to_owned()),
        sidecar_image: "registry.test/weir-sidecar:1".to_owned(),
        sidecar_image_pull_policy: None,
        sidecar_image_pull_secrets: Vec::new(),
        upgrades: Upgrades::OnRequest,
        policies: None,
        policies_owner: None,
        webhook: None,
        injects: true,
        excluded_namespaces: Vec::new(),
        restarts: true,
        exposure: true,
        admin_port: port::ADMIN,
        concurrency: 4,
    }
}

pub(crate) fn context(client: Client, options: Options, registry: &mut Registry) -> Arc<Context> {
    let metrics = ReconcileMetrics::register(registry);
    let sampler = Arc::new(Sampler::register(Duration::from_secs(1), registry));
    Arc::new(Context::new(client, metrics, sampler, options))
}

impl Controller {
    pub(crate) async fn start(namespace: &Namespace) -> Result<Self> {
        let client = account::of_chart_in(namespace).await?;
        Self::start_as(namespace, client, options(&namespace.name)).await
    }

    pub(crate) async fn start_as(
        namespace: &Namespace,
        client: Client,
        options: Options,
    ) -> Result<Self> {
        install_definitions(&namespace.cluster).await?;
        let mut registry = Registry::default();
        let context = context(client, options, &mut registry);
        let stop = CancellationToken::new();
        let pipelines = Pipelines::register(Arc::clone(&context), &mut registry);
        let task = tokio::spawn(drive(pipelines, context, stop.clone()));
        Ok(Self { registry, stop, task })
    }

    /// How many reconciles have ended well.
    pub(crate) fn reconciled(&self) -> Result<u64> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        let name = "reconcile_duration_seconds_count{kind=\"StreamPipeline\",outcome=\"ok\"} ";
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.map(str::parse).transpose()?.unwrap_or(0))
    }

    /// Stops it, and waits until it has.
    pub(crate) async fn stop(self) -> Result<()> {
        self.stop.cancel();
        Ok(tokio::time::timeout(LIMIT, self.task).await??)
    }
}

/// Holds the namespace to the restricted level of the Pod Security Standards.
pub(crate) async fn restrict(namespace: &Namespace) -> Result<()> {
    let label = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
    let patch = Patch::Merge(json!({ "metadata": { "labels": label } }));
    let namespaces: Api<K8sNamespace> = Api::all(namespace.cluster.client.clone());
    namespaces.patch(&namespace.name, &PatchParams::default(), &patch).await?;
    Ok(())
}

pub(crate) fn pipelines(namespace: &Namespace) -> Api<StreamPipeline> {
    namespace.api()
}

/// Creates a pipeline fed by a generator, with this placement.
pub(crate) async fn create_pipeline(
    namespace: &Namespace,
    name: &str,
    placement: Value,
) -> Result<StreamPipeline> {
    create_pipeline_with(namespace, name, placement, json!({})).await
}

/// The same with more fields of the spec.
pub(crate) async fn create_pipeline_with(
    namespace: &Namespace,
    name: &str,
    placement: Value,
    rest: Value,
) -> Result<StreamPipeline> {
    let mut spec = json!({
        "placement": placement,
        "sources": [{ "name": "demo", "generator": { "rate": 5 } }],
    });
    json_patch::merge(&mut spec, &rest);
    let pipeline = serde_json::from_value(json!({
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "StreamPipeline",
        "metadata": { "name": name },
        "spec": spec,
    }))?;
    Ok(pipelines(namespace).create(&PostParams::default(), &pipeline).await?)
}

pub(crate) fn gateway(replicas: i32) -> Value {
    json!({ "gateway": { "replicas": replicas } })
}

pub(crate) fn sidecar() -> Value {
    json!({ "sidecar": { "selector": { "matchLabels": { "app": "shop" } } } })
}

/// Merges a change into a pipeline.
pub(crate) async fn change(namespace: &Namespace, name: &str, change: Value) -> Result<()> {
    let patch = Patch::Merge(change);
    pipelines(namespace).patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Creates an SLO of a pipeline.
pub(crate) async fn create_slo(namespace: &Namespace, name: &str, pipeline: &str) -> Result<()> {
    let slo = serde_json::from_value(json!({
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "StreamSLO",
        "metadata": { "name": name },
        "spec": {
            "pipelineRef": { "name": pipeline },
            "timeWindow": { "duration": "28d" },
            "objectives": [{ "name": "speed", "target": "99", "latency": { "threshold": "50ms" } }],
        },
    }))?;
    namespace.api::<StreamSLO>().create(&PostParams::default(), &slo).await?;
    Ok(())
}

/// Waits until a condition has this status and reason, for the pipeline's own generation.
pub(crate) async fn condition(
    namespace: &Namespace,
    name: &str,
    type_: &str,
    status: &str,
    reason: &str,
) -> Result<Condition> {
    let api = pipelines(namespace);
    eventually(&format!("{name} has {type_}={status} {reason}"), LIMIT, async || {
        let pipeline = api.get(name).await?;
        let conditions = pipeline.status.as_ref().context("no status")?.conditions.clone();
        let mut found = conditions.iter().filter(|found| found.type_ == type_);
        let found = found.next().with_context(|| format!("{conditions:?}"))?;
        ensure!(found.observed_generation == pipeline.metadata.generation, "{found:?}");
        ensure!(found.status == status && found.reason == reason, "{found:?}");
        Ok(found.clone())
    })
    .await
}

/// Waits until an Event tells, with this reason, what begins so.
pub(crate) async fn told(namespace: &Namespace, reason: &str, note: &str) -> Result<()> {
    let events = namespace.api::<Event>();
    eventually(&format!("an Event tells {reason}: {note}"), LIMIT, async || {
        let found = events.list(&ListParams::default()).await?.items;
        let tells = |event: &Event| {
            event.reason.as_deref() == Some(reason)
                && event.note.as_deref().is_some_and(|found| found.starts_with(note))
        };
        ensure!(found.iter().any(tells), "{found:?}");
        Ok(())
    })
    .await
}

/// Waits until an object of this name is there.
pub(crate) async fn there<K>(namespace: &Namespace, name: &str) -> Result<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api = namespace.api::<K>();
    eventually(&format!("{} {name} is there", K::kind(&())), LIMIT, async || {
        Ok(api.get(name).await?)
    })
    .await
}

/// Waits until no object of this name is there.
pub(crate) async fn gone<K>(namespace: &Namespace, name: &str) -> Result<()>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api = namespace.api::<K>();
    eventually(&format!("{} {name} is gone", K::kind(&())), LIMIT, async || {
        ensure!(api.get_opt(name).await?.is_none(), "still there");
        Ok(())
    })
    .await
}
