//! A gateway gets a second replica when many subscribe, shares its subscribers out, and gives the replica back when
//! they have left; those who stay notice nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::time::timeout;
use weir_tests::client::http::Connection;
use weir_tests::{Kubectl, eventually, with_namespace};

use crate::feed::{Audience, Feed};
use crate::objects::{UP, show, text};

const MANIFEST: &str = include_str!("../../fixtures/end_to_end/scaling.yaml");

/// Those who stay.
const AUDIENCE: Audience = Audience { subscribers: 10, per_second: 20, window: "2s" };

/// Those who come and leave: with them there are twice as many as one replica is to have.
const VISITORS: usize = 70;

/// Each replica has so many in the end. About half of those who are sent away come to the new one, so that this can take
/// more than one time; but where it has no more than half of its share, the other one sends some away again.
const SHARED: u64 = 21;

/// A pod that goes while it is asked may never answer.
const ANSWER: Duration = Duration::from_secs(5);

pub(crate) async fn story() -> Result<()> {
    with_namespace("scaling", async |namespace| {
        let feed = Feed::on_a_shared_log(&namespace, MANIFEST, AUDIENCE).await?;
        feed.of_count(1).await?;
        let visitors = feed.more(VISITORS).await?;
        feed.places().await?;
        are_shared_out(&feed.kubectl).await?;
        show(&feed.kubectl, &["get", "events", "--field-selector=reason=Rebalancing"]).await?;
        visitors.leave()?;
        feed.of_count(1).await?;
        println!("from one replica to two and back:");
        let told = feed.close().await?;
        ensure!(told.times() > 0, "nobody was moved");
        Ok(())
    })
    .await
}

/// Waits until no replica has far fewer subscribers than its share.
async fn are_shared_out(kubectl: &Kubectl) -> Result<()> {
    // As long as three times take, each with a pause and the wait for the operator's next look.
    eventually("the replicas share their subscribers", UP * 3, async || {
        let selector = ["get", "pods", "--selector=weir.dev/pipeline=feed", "--output=json"];
        let list: Value = serde_json::from_str(&kubectl.succeed(&selector).await?)?;
        let mut counts = Vec::new();
        let pods = list["items"].as_array().context("no list")?.iter();
        // One that was begun and given up at once can take its time to go, and answers nobody.
        for pod in pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()) {
            let answer = timeout(ANSWER, subscribers(text(pod, "/status/podIP")?)).await;
            counts.push(answer.context("a pod does not answer")??);
        }
        let are_shared = counts.len() == 2 && counts.iter().all(|count| *count >= SHARED);
        ensure!(are_shared, "{counts:?}");
        println!("the replicas have {counts:?} subscribers");
        Ok(())
    })
    .await
}

/// How many the replica at an address says that it has.
async fn subscribers(address: &str) -> Result<u64> {
    let url = format!("http://{address}:7071/samples").parse()?;
    let answer = Connection::open(&url).await?.get("/samples").await?;
    let samples: Value = serde_json::from_slice(&answer.body)?;
    samples["pipelines"][0]["subscribers"]["sse"].as_u64().context("it does not say")
}
