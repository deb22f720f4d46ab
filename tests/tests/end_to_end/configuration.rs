//! How soon a change of a pipeline is in force in all of its sidecars.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::time::Instant;
use weir_tests::client::http::Connection;
use weir_tests::{eventually, with_namespace};

use crate::objects::{UP, apply, await_condition, ready_pods, restrict, text};

const PIPELINE: &str = include_str!("../../fixtures/end_to_end/pipeline.yaml");
const APPLICATION: &str = include_str!("../../fixtures/end_to_end/application.yaml");

const SIDECARS: usize = 10;

/// How often it is measured.
const CHANGES: usize = 5;

/// The times that it took, from the change being answered to the last sidecar serving it; sorted.
pub(crate) async fn measure() -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    with_namespace("configuration", async |shop| {
        restrict(&shop).await?;
        apply(&shop.kubectl, PIPELINE).await?;
        let pipeline = ("streampipeline", "shop");
        let wanted = ("Injected", "Unknown", "NoPodSelected");
        await_condition(&shop.kubectl, pipeline, wanted, UP).await?;
        let replicas = format!("replicas: {SIDECARS}");
        apply(&shop.kubectl, &APPLICATION.replace("replicas: 2", &replicas)).await?;
        let pods = ready_pods(&shop.kubectl, "app=shop", SIDECARS).await?;
        let addresses =
            pods.iter().map(|pod| text(pod, "/status/podIP")).collect::<Result<Vec<_>>>()?;
        await_condition(&shop.kubectl, pipeline, ("Injected", "True", "AllInjected"), UP).await?;
        for change in 1..=CHANGES {
            let patch =
                format!(r#"{{"spec": {{"endpoints": {{"sse": {{"heartbeat": "{change}s"}}}}}}}}"#);
            let patch = ["patch", pipeline.0, pipeline.1, "--type=merge", "--patch", &patch];
            shop.kubectl.succeed(&patch).await?;
            let changed = Instant::now();
            let generation =
                &shop.kubectl.get(pipeline.0, pipeline.1).await?["metadata"]["generation"];
            let generation = generation.as_i64().context("it has a generation")?;
            eventually("all sidecars serve the change", UP * 2, async || {
                let asked = addresses.iter().map(|address| served(address));
                let served = futures::future::try_join_all(asked).await?;
                let current = served.iter().filter(|served| **served == Some(generation)).count();
                ensure!(current == SIDECARS, "{current} of {SIDECARS}");
                Ok(())
            })
            .await?;
            times.push(changed.elapsed());
        }
        Ok(())
    })
    .await?;
    times.sort();
    Ok(times)
}

/// The generation that the sidecar at an address serves, as it tells it itself.
async fn served(address: &str) -> Result<Option<i64>> {
    let url = format!("http://{address}:7071/samples").parse()?;
    let answer = Connection::open(&url).await?.get("/samples").await?;
    let samples: Value = serde_json::from_slice(&answer.body)?;
    Ok(samples["pipelines"][0]["generation"].as_i64())
}
