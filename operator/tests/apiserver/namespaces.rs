//! An operator that watches some namespaces, with permissions in these alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Client;
use kube::api::PostParams;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weir_crds::v1alpha1::StreamPipeline;
use weir_operator::app::run_with;
use weir_operator::args::Command;
use weir_tests::client::http::Connection;
use weir_tests::{Namespace, eventually, with_namespace};

use crate::fixture::{LIMIT, condition, create_pipeline, gateway, install_definitions};

/// Lets an account do everything in a namespace.
async fn grant(namespace: &Namespace, account: &str) -> Result<()> {
    let role: Role = serde_json::from_value(json!({
        "metadata": { "name": account },
        "rules": [{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }],
    }))?;
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": { "name": account },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": account }],
    }))?;
    namespace.api().create(&PostParams::default(), &role).await?;
    namespace.api().create(&PostParams::default(), &binding).await?;
    Ok(())
}

/// A client that has permissions in these namespaces, and in no other.
async fn confined(namespaces: &[&Namespace], account: &str) -> Result<Client> {
    for namespace in namespaces {
        grant(namespace, account).await?;
    }
    let path = namespaces.first().context("no namespace")?.cluster.kubeconfig()?;
    let kubeconfig = kube::config::Kubeconfig::read_from(path)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
    config.auth_info.impersonate = Some(account.to_owned());
    Ok(Client::try_from(config)?)
}

/// Reconciles the resources of both namespaces, and doesn't touch those of a third.
#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn several_namespaces_are_reconciled_and_no_other() -> Result<()> {
    with_namespace("watched-a", async |one| {
        with_namespace("watched-b", async |two| {
            with_namespace("unwatched", async |third| {
                install_definitions(&one.cluster).await?;
                let client = confined(&[&one, &two], &one.name).await?;
                let stop = CancellationToken::new();
                let running = tokio::spawn(run_with(
                    client,
                    args(&one, &[&one, &two]).await?,
                    Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
                    stop.clone(),
                ));
                for namespace in [&one, &two, &third] {
                    create_pipeline(namespace, "orders", gateway(1)).await?;
                }
                for namespace in [&one, &two] {
                    // There is no node, so no replica comes up; but everything for it stands.
                    condition(namespace, "orders", "EndpointsReady", "False", "NoReplicaReady")
                        .await?;
                    namespace.api::<ConfigMap>().get("orders-weir").await?;
                }
                let left = third.api::<StreamPipeline>().get("orders").await?;
                ensure!(left.status.is_none(), "{:?}", left.status);
                stop.cancel();
                tokio::time::timeout(LIMIT, running).await???;
                Ok(())
            })
            .await
        })
        .await
    })
    .await
}

/// As after a watched namespace was deleted, and with it the role in it.
#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_watched_namespace_without_permissions_keeps_no_other_from_being_served() -> Result<()> {
    with_namespace("allowed", async |one| {
        with_namespace("denied", async |two| {
            install_definitions(&one.cluster).await?;
            let client = confined(&[&one], &one.name).await?;
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let stop = CancellationToken::new();
            let args = args(&one, &[&one, &two]).await?;
            let admin = args.admin_address;
            let running = tokio::spawn(run_with(client, args, provider, stop.clone()));
            for namespace in [&one, &two] {
                create_pipeline(namespace, "orders", gateway(1)).await?;
            }
            condition(&one, "orders", "EndpointsReady", "False", "NoReplicaReady").await?;
            for (namespace, served) in [(&one, 1), (&two, 0)] {
                shows(admin, &format!("{SERVED}{{namespace=\"{}\"}} {served}", namespace.name))
                    .await?;
            }
            let left = two.api::<StreamPipeline>().get("orders").await?;
            ensure!(left.status.is_none(), "{:?}", left.status);
            // The chart is installed again, and makes the role in it.
            grant(&two, &one.name).await?;
            condition(&two, "orders", "EndpointsReady", "False", "NoReplicaReady").await?;
            shows(admin, &format!("{SERVED}{{namespace=\"{}\"}} 1", two.name)).await?;
            stop.cancel();
            tokio::time::timeout(LIMIT, running).await???;
            Ok(())
        })
        .await
    })
    .await
}

const SERVED: &str = "weir_operator_namespace_served";

/// Waits until exactly this line stands in the metrics.
async fn shows(admin: SocketAddr, line: &str) -> Result<()> {
    eventually(&format!("the metrics show {line}"), LIMIT, async || {
        let url = format!("http://{admin}").parse()?;
        let answer = Connection::open(&url).await?.get("/metrics").await?;
        let text = String::from_utf8(answer.body.to_vec())?;
        ensure!(text.lines().any(|shown| shown == line), "{text}");
        Ok(())
    })
    .await
}

/// Where it may do nothing anywhere it ends at once, with the sentences of the API server.
#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn an_operator_that_can_serve_no_namespace_names_them_all() -> Result<()> {
    with_namespace("allowed", async |one| {
        with_namespace("denied-a", async |two| {
            with_namespace("denied-b", async |three| {
                install_definitions(&one.cluster).await?;
                let client = confined(&[&one], &one.name).await?;
                let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
                let stop = CancellationToken::new();
                let ended = run_with(client, args(&one, &[&two, &three]).await?, provider, stop);
                let ended = tokio::time::timeout(Duration::from_secs(60), ended).await?;
                let error = ended.err().context("it runs")?.to_string();
                for words in [&two.name, &three.name, "grant it"] {
                    ensure!(error.contains(words), "no {words}: {error}");
                }
                Ok(())
            })
            .await
        })
        .await
    })
    .await
}

async fn args(system: &Namespace, watched: &[&Namespace]) -> Result<weir_operator::args::Args> {
    let admin = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let names: Vec<_> = watched.iter().map(|namespace| namespace.name.as_str()).collect();
    let command = Command::try_parse_from([
        "weir-operator".to_owned(),
        "run".to_owned(),
        format!("--namespace={}", system.name),
        format!("--watch-namespace={}", names.join(",")),
        "--sidecar-image=registry.test/weir-sidecar:1".to_owned(),
        format!("--admin-address={admin}"),
    ])?;
    match command {
        Command::Run(args) => Ok(*args),
        Command::CheckHealth(check) => bail!("{check:?}"),
    }
}
