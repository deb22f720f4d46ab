//! What becomes of the subscribers of a running sidecar, which two pipelines share, when one of these is changed,
//! changed to what can't be served, mended, deleted and made anew.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::Value;
use tokio::time::Instant;
use weir_tests::{Kubectl, eventually, with_namespace};

use crate::objects::{UP, apply, await_condition, ready_pods, restrict, text};
use crate::publisher::Publisher;
use crate::subscriber::Subscriber;

const PIPELINE: &str = include_str!("../../fixtures/end_to_end/shared.yaml");
const POD: &str = include_str!("../../fixtures/end_to_end/pod.yaml");

/// The one that is changed, and the one beside it.
const SHOP: &str = "shop";
const TILL: &str = "till";

/// How often a heartbeat is asked for.
const BEAT: Duration = Duration::from_secs(1);

/// How long the kubelet may take until the files of a pipeline are out of its pods.
const TAKEN_OUT: Duration = Duration::from_mins(3);

pub(crate) async fn story() -> Result<()> {
    with_namespace("changes", async |namespace| {
        let kubectl = &namespace.kubectl;
        restrict(&namespace).await?;
        for name in [SHOP, TILL] {
            apply(kubectl, &PIPELINE.replace("NAME", name)).await?;
            until(kubectl, name, ("Injected", "Unknown", "NoPodSelected")).await?;
        }
        apply(kubectl, POD).await?;
        let pods = ready_pods(kubectl, "app=shop", 1).await?;
        let mut shop = Stream::open(&pods[0], SHOP).await?;
        let mut till = Stream::open(&pods[0], TILL).await?;
        is_changed(kubectl, &mut shop, &mut till).await?;
        is_refused_and_mended(kubectl, &mut shop, &mut till).await?;
        is_deleted(kubectl, shop, &mut till).await?;
        // One of the same name is served by the sidecar that is there.
        apply(kubectl, &PIPELINE.replace("NAME", SHOP)).await?;
        until(kubectl, SHOP, ("UpToDate", "True", "UpToDate")).await?;
        let mut again = Stream::open(&pods[0], SHOP).await?;
        again.delivers().await?;
        till.delivers().await?;
        let now = ready_pods(kubectl, "app=shop", 1).await?;
        let state = |pod: &Value| {
            let restarts = pod["status"]["initContainerStatuses"][0]["restartCount"].clone();
            (pod["metadata"]["uid"].clone(), restarts)
        };
        ensure!(state(&now[0]) == state(&pods[0]), "the sidecar restarted: {}", now[0]["status"]);
        Ok(())
    })
    .await
}

/// A change reaches those who are connected, and costs nobody the connection.
async fn is_changed(kubectl: &Kubectl, shop: &mut Stream, till: &mut Stream) -> Result<()> {
    patch(kubectl, r#"{"endpoints": {"sse": {"heartbeat": "1s"}}}"#).await?;
    until(kubectl, SHOP, ("UpToDate", "True", "UpToDate")).await?;
    let (before, deadline) = (shop.subscriber.comments(), Instant::now() + UP);
    while shop.subscriber.comments() == before && Instant::now() < deadline {
        shop.subscriber.expect_nothing(BEAT).await?;
    }
    ensure!(
        shop.subscriber.comments() > before,
        "no heartbeat came, where one a second was asked for"
    );
    shop.delivers().await?;
    till.delivers().await
}

/// The expression is one that only the sidecar can judge. It serves on what it served before.
async fn is_refused_and_mended(
    kubectl: &Kubectl,
    shop: &mut Stream,
    till: &mut Stream,
) -> Result<()> {
    patch(kubectl, r#"{"delivery": {"slowConsumer": "Conflate", "conflateKey": "event.("}}"#)
        .await?;
    let told = until(kubectl, SHOP, ("UpToDate", "False", "ConfigurationRefused")).await?;
    for words in ["spec.delivery.conflateKey", "the one before is served on", "mend the spec"] {
        ensure!(told.contains(words), "{words:?} is not in: {told}");
    }
    println!("UpToDate: {told}");
    shop.delivers().await?;
    till.delivers().await?;
    // The other pipeline, which was not changed, is as it was.
    until(kubectl, TILL, ("UpToDate", "True", "UpToDate")).await?;
    patch(kubectl, r#"{"delivery": null}"#).await?;
    until(kubectl, SHOP, ("UpToDate", "True", "UpToDate")).await?;
    shop.delivers().await?;
    till.delivers().await
}

/// Its subscribers are sent away, and publishers are told that there is no such pipeline; the other one, and the
/// pod, stay as they are.
async fn is_deleted(kubectl: &Kubectl, mut shop: Stream, till: &mut Stream) -> Result<()> {
    kubectl.succeed(&["delete", "streampipeline", SHOP]).await?;
    eventually("the sidecar has closed the pipeline", TAKEN_OUT, async || {
        let mut publisher = Publisher::open(&shop.url("events")).await?;
        // No event, so that none is taken while it is still there.
        let answer = publisher.post("application/json", String::new()).await?;
        ensure!(answer.status == 404, "{}", answer.status);
        Ok(())
    })
    .await?;
    let sequel = shop.subscriber.expect(shop.next..shop.next + 1).await;
    let Err(end) = sequel else { bail!("an event came of a pipeline that is deleted") };
    println!("a deleted pipeline's subscriber is told: {end:#}");
    till.delivers().await
}

/// Changes the spec of the pipeline.
async fn patch(kubectl: &Kubectl, spec: &str) -> Result<()> {
    let change = format!(r#"{{"spec": {spec}}}"#);
    let patch = ["patch", "streampipeline", SHOP, "--type=merge", "--patch", &change];
    kubectl.succeed(&patch).await.map(drop)
}

async fn until(kubectl: &Kubectl, name: &str, wanted: (&str, &str, &str)) -> Result<String> {
    await_condition(kubectl, ("streampipeline", name), wanted, UP).await
}

/// A pipeline of a pod, with one who subscribes to it.
struct Stream {
    base: String,
    subscriber: Subscriber,
    next: u64,
}

impl Stream {
    async fn open(pod: &Value, pipeline: &str) -> Result<Self> {
        let base = format!("http://{}:7070/{pipeline}", text(pod, "/status/podIP")?);
        let subscriber = Subscriber::sse(&format!("{base}/sse")).await?;
        Ok(Self { base, subscriber, next: 0 })
    }

    fn url(&self, endpoint: &str) -> String {
        format!("{}/{endpoint}", self.base)
    }

    /// What is published comes, over the connection that there was from the beginning.
    async fn delivers(&mut self) -> Result<()> {
        let numbers = self.next..self.next + 5;
        self.next = numbers.end;
        let mut publisher = Publisher::open(&self.url("events")).await?;
        publisher.publish_singly(numbers.clone()).await?;
        self.subscriber.expect(numbers).await?;
        let connections = self.subscriber.connections();
        ensure!(connections == 1, "{}: {connections} connections", self.base);
        Ok(())
    }
}
