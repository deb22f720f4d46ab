//! The example of an application with the sidecar, applied in one go as its reader does it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::time::timeout;
use weir_tests::client::sse::EventSource;
use weir_tests::with_namespace;

use crate::objects::{apply, ready_pods, restrict, text};
use crate::sidecar::is_injected;

const EXAMPLE: &str = include_str!("../../../examples/sidecar.yaml");

/// What stands in for the example's image, which is in a registry: it has the same programs.
const IMAGE: (&str, &str) = ("docker.io/curlimages/curl:8.11.1", "localhost/toolbox:1");

/// It places an order every second.
const ORDER: Duration = Duration::from_secs(10);

pub(crate) async fn story() -> Result<()> {
    with_namespace("example", async |shop| {
        restrict(&shop).await?;
        let local = EXAMPLE.replace(IMAGE.0, IMAGE.1);
        ensure!(local != EXAMPLE, "the example has another image than {}", IMAGE.0);
        apply(&shop.kubectl, &local).await?;
        // The pipeline comes first in the file, and so before the pods.
        let pods = ready_pods(&shop.kubectl, "app=shop", 2).await?;
        pods.iter().try_for_each(is_injected)?;
        for pod in &pods {
            let address = text(pod, "/status/podIP")?;
            let url = format!("http://{address}:7070/shop/sse?from=earliest");
            let mut source = EventSource::open(&url).await?;
            // The sidecar is there before the application, and so misses nothing of it.
            for order in 1..=3 {
                let event = timeout(ORDER, source.next()).await;
                let event = event.with_context(|| format!("order {order} does not come"))??;
                let data: Value = serde_json::from_str(&event.data)?;
                ensure!(data == json!({ "order": order }), "{data} came instead of {order}");
            }
        }
        Ok(())
    })
    .await
}
