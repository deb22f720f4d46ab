//! Releases of the chart: an upgrade and a rollback leave the data plane alone; a second release that would
//! reconcile the same is refused; and two that watch other namespaces don't get in each other's way.

use anyhow::{Result, bail, ensure};
use weir_tests::{Namespace, eventually, with_namespace};

use crate::installation::Weir;
use crate::objects::{UP, apply, await_condition, ready_pods, restrict};
use crate::publisher::Publisher;
use crate::subscriber::Subscriber;

const GATEWAY: &str = include_str!("../../../examples/quickstart.yaml");
const PIPELINE: (&str, &str) = ("streampipeline", "orders");
const PODS: &str = "weir.dev/pipeline=orders";

pub(crate) async fn story(weir: &Weir) -> Result<()> {
    with_namespace("release", async |shop| {
        restrict(&shop).await?;
        apply(&shop.kubectl, GATEWAY).await?;
        await_condition(&shop.kubectl, PIPELINE, ("Ready", "True", "Serving"), UP).await?;
        is_upgraded_and_rolled_back(weir, &shop).await?;
        with_namespace("other-release", async |till| {
            restrict(&till).await?;
            is_alone_in_the_cluster(weir, &till).await?;
            share_the_cluster(weir, &shop, &till).await
        })
        .await
    })
    .await
}

/// A subscriber stays connected, and misses nothing, while the operator is upgraded and rolled back.
async fn is_upgraded_and_rolled_back(weir: &Weir, shop: &Namespace) -> Result<()> {
    let pods = ready_pods(&shop.kubectl, PODS, 1).await?;
    let service = shop.kubectl.get("service", "orders").await?;
    let address = service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
    let mut subscriber = Subscriber::sse(&format!("http://{address}:7070/orders/sse")).await?;
    // A connection that is idle for as long as an upgrade takes is closed, so each time has its own.
    let publisher = async || Publisher::open(&format!("http://{address}:7070/orders/events")).await;
    // The operator would make the gateway's pods otherwise from then on.
    weir.upgrade(&["replicaCount=2", "sidecar.image.pullPolicy=IfNotPresent"]).await?;
    weir.has_replicas(2).await?;
    await_condition(&shop.kubectl, PIPELINE, ("UpToDate", "True", "UpgradeAvailable"), UP).await?;
    publisher().await?.publish_singly(0..5).await?;
    weir.roll_back().await?;
    weir.has_replicas(1).await?;
    await_condition(&shop.kubectl, PIPELINE, ("UpToDate", "True", "UpToDate"), UP).await?;
    publisher().await?.publish_singly(5..10).await?;
    subscriber.expect(0..10).await?;
    ensure!(subscriber.connections() == 1, "{} connections", subscriber.connections());
    let after = ready_pods(&shop.kubectl, PODS, 1).await?;
    let uid = |pods: &[serde_json::Value]| pods[0]["metadata"]["uid"].clone();
    ensure!(uid(&pods) == uid(&after), "the gateway's pod was replaced");
    Ok(())
}

/// A second release of the whole cluster is refused with the remedy, and so is one of a namespace that the
/// first one reconciles.
async fn is_alone_in_the_cluster(weir: &Weir, till: &Namespace) -> Result<()> {
    let own = format!("watchNamespaces={{{}}}", till.name);
    for settings in [&[][..], &["crds.install=false"], &["crds.install=false", &own]] {
        match weir.install_another(till, settings).await {
            Ok(said) => bail!("a second release was installed: {said}"),
            Err(error) => {
                let error = format!("{error:#}");
                let named = error.contains("the release weir of the namespace weir-system");
                ensure!(named && error.contains("watchNamespaces"), "{error}");
            }
        }
    }
    let made = till.kubectl.succeed(&["get", "deployments", "--output=name"]).await?;
    ensure!(made.is_empty(), "{made}");
    Ok(())
}

/// Two releases, each with namespaces of its own and with permissions in these alone.
async fn share_the_cluster(weir: &Weir, shop: &Namespace, till: &Namespace) -> Result<()> {
    let own = format!("watchNamespaces={{{}}}", shop.name);
    weir.upgrade(&[&own]).await?;
    let others = format!("watchNamespaces={{{}}}", till.name);
    match weir.install_another(till, &[&others]).await {
        Ok(said) => bail!("the definitions have two owners: {said}"),
        Err(error) => {
            let error = format!("{error:#}");
            ensure!(error.contains("set crds.install=false"), "{error}");
        }
    }
    weir.install_another(till, &[&others, "crds.install=false"]).await?;
    apply(&till.kubectl, GATEWAY).await?;
    await_condition(&till.kubectl, PIPELINE, ("Ready", "True", "Serving"), UP).await?;
    // The first one still reconciles its own, and has no word in the other's.
    shop.kubectl.succeed(&["delete", "service", "orders"]).await?;
    eventually("the Service is there again", UP, async || {
        shop.kubectl.get("service", "orders").await.map(drop)
    })
    .await?;
    weir.may_not_reconcile(till).await?;
    weir.uninstall_another(till).await?;
    weir.roll_back().await?;
    weir.has_replicas(1).await
}
