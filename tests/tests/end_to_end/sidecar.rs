//! An application's own pods get the sidecar; what the application posts in its pod reaches the
//! subscribers of that pod, each event once and in order.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use weir_tests::client::http::Connection;
use weir_tests::{Namespace, eventually, with_namespace};

use crate::objects::{
    UP, apply, await_condition, condition, counts, ready_pods, restrict, show, text,
};
use crate::publisher::{Publisher, event};
use crate::subscriber::{Subscriber, all_expect};

const PIPELINE: &str = include_str!("../../fixtures/end_to_end/pipeline.yaml");
const APPLICATION: &str = include_str!("../../fixtures/end_to_end/application.yaml");
const POD: &str = include_str!("../../fixtures/end_to_end/pod.yaml");
const PUBLISH: &str = include_str!("../../fixtures/end_to_end/publish.sh");

/// How many events the application posts.
const EVENTS: u64 = 1_000;

/// The counts on a resource may be a minute old, and are read every five seconds.
const COUNTED: Duration = Duration::from_secs(80);

const PIPELINE_OBJECT: (&str, &str) = ("streampipeline", "shop");

pub(crate) async fn story() -> Result<()> {
    with_namespace("sidecar", async |shop| {
        restrict(&shop).await?;
        apply(&shop.kubectl, PIPELINE).await?;
        let wanted = ("Injected", "Unknown", "NoPodSelected");
        let message = await_condition(&shop.kubectl, PIPELINE_OBJECT, wanted, UP).await?;
        ensure!(message.contains("app=shop"), "{message}");
        apply(&shop.kubectl, APPLICATION).await?;
        let pods = ready_pods(&shop.kubectl, "app=shop", 2).await?;
        pods.iter().try_for_each(is_injected)?;
        let wanted = ("Injected", "True", "AllInjected");
        let message = await_condition(&shop.kubectl, PIPELINE_OBJECT, wanted, UP).await?;
        ensure!(message.starts_with("2 of 2 "), "{message}");
        let deliveries = deliver(&shop, &pods).await?;
        is_counted(&shop, deliveries).await?;
        is_reached_by_its_name(&shop, &pods).await?;
        show(&shop.kubectl, &["get", "pods", "--output=wide"]).await?;
        show(&shop.kubectl, &["get", "streampipeline,streamslo", "--output=wide"]).await?;
        stays_untouched().await
    })
    .await
}

/// A pod carries the native sidecar, before all that is its own, and its own is as it was.
pub(crate) fn is_injected(pod: &Value) -> Result<()> {
    let spec = &pod["spec"];
    let sidecar = &spec["initContainers"][0];
    ensure!(sidecar["name"] == "weir-sidecar", "no sidecar in {spec}");
    ensure!(sidecar["restartPolicy"] == "Always", "the sidecar is not native: {sidecar}");
    ensure!(spec["containers"].as_array().is_some_and(|own| own.len() == 1), "{spec}");
    ensure!(spec["containers"][0]["name"] == "app", "{spec}");
    ensure!(pod["metadata"]["labels"]["weir.dev/injected"] == "true", "{}", pod["metadata"]);
    Ok(())
}

/// Has the application of the first pod publish, and returns how many deliveries its subscribers, and one
/// of the other pod, have seen.
async fn deliver(shop: &Namespace, pods: &[Value]) -> Result<u64> {
    let [first, other] = [&pods[0], &pods[1]].map(|pod| text(pod, "/status/podIP"));
    let (first, other) = (first?, other?);
    let mut everyone = vec![
        Subscriber::sse(&format!("http://{first}:7070/shop/sse")).await?,
        Subscriber::sse(&format!("http://{first}:7070/shop/sse?from=earliest")).await?,
        Subscriber::web_socket(&format!("ws://{first}:7070/shop/ws")).await?,
    ];
    let mut apart = Subscriber::sse(&format!("http://{other}:7070/shop/sse")).await?;
    let publish = async {
        let pod = text(&pods[0], "/metadata/name")?;
        let arguments = ["exec", pod, "--container=app", "--", "/bin/sh", "-c", PUBLISH];
        are_answered(&shop.kubectl.succeed(&arguments).await?)
    };
    tokio::try_join!(publish, all_expect(&mut everyone, 0..EVENTS))?;
    // One replica's log holds what was posted beside it, and nothing else.
    apart.expect_nothing(Duration::from_millis(500)).await?;
    is_closed_to_others(first).await?;
    Ok(everyone.len() as u64 * EVENTS)
}

/// Every event was taken, and the one that was posted twice was taken once.
fn are_answered(output: &str) -> Result<()> {
    let (mut accepted, mut duplicates) = (0, 0);
    for line in output.lines() {
        let answer: Value = serde_json::from_str(line)?;
        accepted += answer["accepted"].as_u64().unwrap_or_default();
        duplicates += answer["duplicates"].as_u64().unwrap_or_default();
    }
    ensure!((accepted, duplicates) == (EVENTS, 1), "{accepted}, {duplicates} times: {output}");
    Ok(())
}

/// Nobody but the application publishes: the public port refuses it, with a remedy, and the port of the
/// application does not listen on the pod's address.
async fn is_closed_to_others(address: &str) -> Result<()> {
    let mut stranger = Publisher::open(&format!("http://{address}:7070/shop/events")).await?;
    let answer = stranger.post("application/json", event(0)).await?;
    let body = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == 403 && body.contains("spec.endpoints.publish"), "{body}");
    let loopback = format!("http://{address}:7072/shop/events").parse()?;
    ensure!(Connection::open(&loopback).await.is_err(), "port 7072 is open to the cluster");
    Ok(())
}

/// The deliveries that the subscribers saw stand on the StreamSLO.
async fn is_counted(shop: &Namespace, deliveries: u64) -> Result<()> {
    eventually("the StreamSLO has the counts of its subscribers", COUNTED, async || {
        let slo = shop.kubectl.get("streamslo", "shop").await?;
        for objective in ["errors", "no-loss"] {
            let found = counts(&slo, objective);
            ensure!(found == Some((deliveries, deliveries)), "{objective}: {found:?}");
        }
        Ok(())
    })
    .await?;
    shop.kubectl.wait("streamslo/shop", "condition=Met", UP).await.map(drop)
}

/// The URL on the resource works as it stands there, by the cluster's DNS.
async fn is_reached_by_its_name(shop: &Namespace, pods: &[Value]) -> Result<()> {
    let pipeline = shop.kubectl.get("streampipeline", "shop").await?;
    let url = text(&pipeline, "/status/endpoints/sse")?;
    // The stream has no end, so curl is ended; what it was answered is printed all the same.
    let look = format!(
        "curl --silent --max-time 1 --output /dev/null --write-out '%{{http_code}} %{{content_type}}' {url} || true"
    );
    let pod = text(&pods[0], "/metadata/name")?;
    let arguments = ["exec", pod, "--container=app", "--", "/bin/sh", "-c", &look];
    let answer = shop.kubectl.succeed(&arguments).await?;
    ensure!(answer.starts_with("200 text/event-stream"), "{url}: {answer}");
    let complete = condition(&pipeline, "StreamComplete");
    let complete = complete.map(|(status, reason, _)| format!("{status} {reason}"));
    ensure!(complete.as_deref() == Some("False LocalLogWithReplicas"), "{complete:?}");
    Ok(())
}

/// The same pod in a namespace without a pipeline is as its author wrote it.
async fn stays_untouched() -> Result<()> {
    with_namespace("plain", async |plain| {
        restrict(&plain).await?;
        apply(&plain.kubectl, POD).await?;
        let pods = ready_pods(&plain.kubectl, "app=shop", 1).await?;
        let words = pods[0].to_string();
        ensure!(!words.contains("weir"), "{words}");
        ensure!(pods[0]["spec"].get("initContainers").is_none(), "{words}");
        Ok(())
    })
    .await
}
