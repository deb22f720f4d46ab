//! `check-health`, as `helm test` runs it: what it makes of a release that is not rolled out, or that nobody leads.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::{Duration, sleep};
use tokio_util::task::AbortOnDropHandle;
use weir_operator::args::CheckHealth;
use weir_operator::check_health::check;
use weir_tests::{Namespace, with_namespace};

use crate::fixture::LIMIT;

/// An operator that always says that it is ready, as the replica of before does during a roll-out that is stuck.
async fn ready() -> Result<(SocketAddr, AbortOnDropHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 4096]).await;
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    Ok((address, AbortOnDropHandle::new(task)))
}

/// How it ends that is asked for at most so many seconds.
async fn ends(system: &Namespace, operator: SocketAddr, within: u32) -> Result<(), String> {
    let asked = CheckHealth {
        url: format!("http://{operator}/readyz").parse().unwrap(),
        within,
        deployment: Some("weir".to_owned()),
        lease: Some("weir-leader".to_owned()),
        namespace: system.name.clone(),
    };
    let ended = check(&asked, Some(&system.cluster.client)).await;
    ended.map_err(|unwell| unwell.to_string())
}

async fn deploy(system: &Namespace, replicas: i32) -> Result<()> {
    let api: Api<Deployment> = system.api();
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "weir" },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": "weir" } },
            "template": {
                "metadata": { "labels": { "app": "weir" } },
                "spec": { "containers": [{ "name": "operator", "image": "r.test/operator:1" }] },
            },
        },
    });
    let params = PatchParams::apply("weir-tests").force();
    let applied = api.patch("weir", &params, &Patch::Apply(&deployment)).await?;
    // As its controller would, where one runs.
    let status = json!({ "status": { "observedGeneration": applied.metadata.generation } });
    api.patch_status("weir", &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}

/// Renews the lease again and again.
async fn lead(system: &Namespace) -> Result<AbortOnDropHandle<()>> {
    let api: Api<Lease> = system.api();
    let lease: Lease = serde_json::from_value(json!({ "metadata": { "name": "weir-leader" } }))?;
    api.create(&PostParams::default(), &lease).await?;
    let task = tokio::spawn(async move {
        loop {
            let renewed = format!("{:.6}", Timestamp::now());
            let spec = json!({ "spec": { "holderIdentity": "weir-1", "renewTime": renewed } });
            let _ = api.patch("weir-leader", &PatchParams::default(), &Patch::Merge(spec)).await;
            sleep(Duration::from_millis(200)).await;
        }
    });
    Ok(AbortOnDropHandle::new(task))
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_release_is_well_when_it_is_rolled_out_and_somebody_leads() -> Result<()> {
    with_namespace("health", async |system| {
        let (operator, _serving) = ready().await?;
        let limit = u32::try_from(LIMIT.as_secs())?;
        // There is no node, so that its pod never comes up.
        deploy(&system, 1).await?;
        let said = ends(&system, operator, 1).await;
        let not_rolled_out = |said: &str| said.contains("the Deployment weir is not rolled out: ");
        ensure!(said.as_ref().is_err_and(|said| not_rolled_out(said)), "{said:?}");
        deploy(&system, 0).await?;
        let leading = lead(&system).await?;
        let said = ends(&system, operator, limit).await;
        ensure!(said.is_ok(), "{said:?}");
        drop(leading);
        let said = ends(&system, operator, 2).await;
        let dead = "nobody leads: weir-1 does not renew the lease";
        ensure!(said.as_ref().is_err_and(|said| said.starts_with(dead)), "{said:?}");
        system.api::<Lease>().delete("weir-leader", &Default::default()).await?;
        let said = ends(&system, operator, 0).await;
        ensure!(said.as_ref().is_err_and(|said| said.contains("there is no lease")), "{said:?}");
        Ok(())
    })
    .await
}
