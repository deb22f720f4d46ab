//! The operator on this machine, and what the chart creates for it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use clap::Parser;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_operator::app::{AppError, run_with};
use weir_operator::args::{Args, Command};
use weir_tests::client::http::Connection;
use weir_tests::{Namespace, eventually, with_namespace};

use crate::account;
use crate::fixture::{LIMIT, install_definitions};

/// A replica of the operator on this machine.
pub(crate) struct Replica {
    pub(crate) admin: SocketAddr,
    pub(crate) webhook: SocketAddr,
    stop: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), AppError>>,
}

/// The account that the chart would give an operator with these arguments.
async fn account(watched: &Namespace, system: &Namespace, args: &Args) -> Result<Client> {
    let mut values = Vec::new();
    let mut set = |is: bool, value: &str| {
        if is {
            values.push(value.to_owned());
        }
    };
    set(args.injection_policies.is_some(), "injection.mode=policy");
    set(
        args.injection_policies.is_none() && args.webhook_config.is_none(),
        "webhook.enabled=false",
    );
    set(!args.restarts, "restarts.enabled=false");
    let certificates = args.webhook_certificate_dir.is_some();
    set(certificates, "webhook.certManager.enabled=true,webhook.certManager.issuerRef.name=any");
    let renamed = [
        ("weir-leader".to_owned(), args.lease.clone()),
        ("weir-webhook".to_owned(), args.webhook_secret.clone()),
        (format!("{}-weir-injection", system.name), watched.name.clone()),
    ];
    account::of_chart(system, &args.watch_namespaces, &values, &renamed).await
}

/// A port that was free a moment ago.
pub(crate) async fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}

impl Replica {
    /// Starts one. Its system namespace is another than the one that it watches, as in a cluster.
    pub(crate) async fn start(
        watched: &Namespace,
        system: &Namespace,
        identity: &str,
        webhook: SocketAddr,
    ) -> Result<Self> {
        Self::start_with(watched, system, identity, webhook, &[]).await
    }

    /// Starts one with these arguments besides.
    pub(crate) async fn start_with(
        watched: &Namespace,
        system: &Namespace,
        identity: &str,
        webhook: SocketAddr,
        besides: &[String],
    ) -> Result<Self> {
        let mut arguments = vec![
            format!("--webhook-config={}", watched.name),
            "--webhook-service=webhook".to_owned(),
            format!("--webhook-address={webhook}"),
        ];
        arguments.extend_from_slice(besides);
        Self::launch(watched, system, identity, webhook, arguments).await
    }

    /// Starts one that brings this image of the data plane.
    pub(crate) async fn start_with_image(
        watched: &Namespace,
        system: &Namespace,
        webhook: SocketAddr,
        image: &str,
    ) -> Result<Self> {
        let besides = [format!("--sidecar-image={image}")];
        Self::start_with(watched, system, "one", webhook, &besides).await
    }

    /// Starts one that injects by policies, and so has no webhook.
    pub(crate) async fn start_with_policies(
        watched: &Namespace,
        system: &Namespace,
        besides: &[String],
    ) -> Result<Self> {
        let mut arguments = vec![format!("--injection-policies={}", watched.name)];
        arguments.extend_from_slice(besides);
        Self::launch(watched, system, "one", free().await?, arguments).await
    }

    /// Starts one that injects no pods.
    pub(crate) async fn start_without_injection(
        watched: &Namespace,
        system: &Namespace,
    ) -> Result<Self> {
        Self::launch(watched, system, "none", free().await?, Vec::new()).await
    }

    async fn launch(
        watched: &Namespace,
        system: &Namespace,
        identity: &str,
        webhook: SocketAddr,
        arguments: Vec<String>,
    ) -> Result<Self> {
        install_definitions(&watched.cluster).await?;
        let admin = free().await?;
        let mut usual = vec![
            "weir-operator".to_owned(),
            "run".to_owned(),
            format!("--namespace={}", system.name),
            format!("--watch-namespace={}", watched.name),
            format!("--identity={identity}"),
            format!("--admin-address={admin}"),
        ];
        if !arguments.iter().any(|argument| argument.starts_with("--sidecar-image=")) {
            usual.push("--sidecar-image=registry.test/weir-sidecar:1".to_owned());
        }
        let command = Command::try_parse_from(usual.iter().chain(&arguments))?;
        let Command::Run(args) = command else { bail!("{command:?}") };
        let client = account(watched, system, &args).await?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let stop = CancellationToken::new();
        let task = tokio::spawn(run_with(client, *args, provider, stop.clone()));
        Ok(Self { admin, webhook, stop, task })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<(u16, String)> {
        let url = format!("http://{}", self.admin).parse()?;
        let answer = Connection::open(&url).await?.get(path).await?;
        Ok((answer.status, String::from_utf8(answer.body.to_vec())?))
    }

    pub(crate) async fn ready(&self) -> Result<()> {
        eventually("the replica is ready", LIMIT, async || {
            let (status, body) = self.get("/readyz").await?;
            ensure!(status == 200, "{body}");
            Ok(())
        })
        .await
    }

    /// Whether exactly this line stands in the metrics.
    pub(crate) async fn shows(&self, line: &str) -> Result<bool> {
        let (_, metrics) = self.get("/metrics").await?;
        Ok(metrics.lines().any(|shown| shown == line))
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.stop.cancel();
        Ok(tokio::time::timeout(LIMIT, self.task).await???)
    }
}

/// What the chart creates: the Service, which here leads to this machine, and the configuration.
pub(crate) async fn configure(watched: &Namespace, system: &Namespace, port: u16) -> Result<()> {
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

pub(crate) fn configurations(namespace: &Namespace) -> Api<MutatingWebhookConfiguration> {
    Api::all(namespace.cluster.client.clone())
}

/// Runs a story in two namespaces, and removes the configuration, which is in none.
pub(crate) async fn with_system<Story>(
    prefix: &str,
    story: impl Fn(Namespace, Namespace) -> Story,
) -> Result<()>
where
    Story: Future<Output = Result<()>>,
{
    with_namespace(prefix, async |watched| {
        with_namespace(&format!("{prefix}-system"), async |system| {
            let removed = system.clone();
            let told = story(watched.clone(), system).await;
            let _ = configurations(&watched).delete(&watched.name, &DeleteParams::default()).await;
            account::remove(&removed).await;
            told
        })
        .await
    })
    .await
}

pub(crate) fn pod(name: &str) -> Pod {
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

pub(crate) fn is_injected(pod: &Pod) -> bool {
    let inits = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    inits.into_iter().any(|container| container.name == "weir-sidecar")
}

/// Creates pods until one is injected: the API server learns of a changed configuration in its own time.
pub(crate) async fn injected_pod(namespace: &Namespace) -> Result<Pod> {
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
