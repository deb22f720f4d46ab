//! The whole operator: leader, controllers, certificate, and the webhook that the API server calls.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_operator::app::{AppError, run_with};
use weir_operator::args::Command;
use weir_tests::client::http::Connection;
use weir_tests::{Namespace, eventually, with_namespace};

use crate::fixture::{
    LIMIT, condition, create_pipeline, gateway, install_definitions, restrict, sidecar,
};

/// A replica of the operator on this machine.
struct Replica {
    admin: SocketAddr,
    webhook: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<(), AppError>>,
}

/// A port that was free a moment ago.
async fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}

impl Replica {
    /// Starts one. Its system namespace is another than the one that it watches, as in a cluster.
    async fn start(
        watched: &Namespace,
        system: &Namespace,
        identity: &str,
        webhook: SocketAddr,
    ) -> Result<Self> {
        install_definitions(&watched.cluster.client).await?;
        let admin = free().await?;
        let command = Command::try_parse_from([
            "weir-operator".to_owned(),
            "run".to_owned(),
            format!("--namespace={}", system.name),
            format!("--watch-namespace={}", watched.name),
            format!("--identity={identity}"),
            "--sidecar-image=registry.test/weir-sidecar:1".to_owned(),
            format!("--webhook-config={}", watched.name),
            "--webhook-service=webhook".to_owned(),
            format!("--webhook-address={webhook}"),
            format!("--admin-address={admin}"),
        ])?;
        let Command::Run(args) = command else { bail!("{command:?}") };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let stop = CancellationToken::new();
        let client = watched.cluster.client.clone();
        let task = tokio::spawn(run_with(client, *args, provider, stop.clone()));
        Ok(Self { admin, webhook, stop, task })
    }

    async fn get(&self, path: &str) -> Result<(u16, String)> {
        let url = format!("http://{}", self.admin).parse()?;
        let answer = Connection::open(&url).await?.get(path).await?;
        Ok((answer.status, String::from_utf8(answer.body.to_vec())?))
    }

    async fn ready(&self) -> Result<()> {
        eventually("the replica is ready", LIMIT, async || {
            let (status, body) = self.get("/readyz").await?;
            ensure!(status == 200, "{body}");
            Ok(())
        })
        .await
    }

    /// Whether exactly this line stands in the metrics.
    async fn shows(&self, line: &str) -> Result<bool> {
        let (_, metrics) = self.get("/metrics").await?;
        Ok(metrics.lines().any(|shown| shown == line))
    }

    async fn stop(self) -> Result<()> {
        self.stop.cancel();
        Ok(tokio::time::timeout(LIMIT, self.task).await???)
    }
}

/// What the chart creates: the Service, which here leads to this machine, and the configuration.
async fn configure(watched: &Namespace, system: &Namespace, port: u16) -> Result<()> {
    let service: Service = serde_json::from_value(json!({
        "metadata": { "name": "webhook" },
        "spec": { "type": "ExternalName", "externalName": "localhost" },
    }))?;
    system.api::<Service>().create(&PostParams::default(), &service).await?;
    let configuration: MutatingWebhookConfiguration = serde_json::from_value(json!({
        "metadata": { "name": watched.name },
        "webhooks": [{
            "name": "injection.weir.dev",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Ignore",
            "reinvocationPolicy": "IfNeeded",
            "timeoutSeconds": 5,
            "clientConfig": { "service": {
                "name": "webhook", "namespace": system.name, "path": "/inject", "port": port,
            } },
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": watched.name } },
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                "resources": ["pods"], "scope": "Namespaced",
            }],
        }],
    }))?;
    configurations(watched).create(&PostParams::default(), &configuration).await?;
    Ok(())
}

fn configurations(namespace: &Namespace) -> Api<MutatingWebhookConfiguration> {
    Api::all(namespace.cluster.client.clone())
}

/// Runs a story in two namespaces, and removes the configuration, which is in none.
async fn with_system<Story>(
    prefix: &str,
    story: impl Fn(Namespace, Namespace) -> Story,
) -> Result<()>
where
    Story: Future<Output = Result<()>>,
{
    with_namespace(prefix, async |watched| {
        with_namespace(&format!("{prefix}-system"), async |system| {
            let told = story(watched.clone(), system).await;
            let _ = configurations(&watched).delete(&watched.name, &DeleteParams::default()).await;
            told
        })
        .await
    })
    .await
}

fn pod(name: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": name, "labels": { "app": "shop" } },
        "spec": { "containers": [{
            "name": "app", "image": "app.test/app:1",
            "securityContext": {
                "runAsNonRoot": true, "allowPrivilegeEscalation": false,
                "capabilities": { "drop": ["ALL"] }, "seccompProfile": { "type": "RuntimeDefault" },
            },
        }] },
    }))
    .unwrap()
}

fn is_injected(pod: &Pod) -> bool {
    let inits = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    inits.into_iter().any(|container| container.name == "weir-sidecar")
}

/// Creates pods until one is injected: the API server learns of a changed configuration in its own time.
async fn injected_pod(namespace: &Namespace) -> Result<Pod> {
    let pods = namespace.api::<Pod>();
    let mut number = 0;
    eventually("a new pod is injected", LIMIT, async || {
        number += 1;
        let pod = pods.create(&PostParams::default(), &pod(&format!("web-{number}"))).await?;
        ensure!(is_injected(&pod), "pod {number} has no sidecar");
        Ok(pod)
    })
    .await
}

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
