//! A rolling update of a gateway under load.

use anyhow::{Context as _, Result, ensure};
use weir_tests::with_namespace;

use crate::feed::{Audience, Feed};
use crate::flock::Told;

/// Changes the template of the pods, and nothing that they serve.
const CHANGE: &str =
    r#"{"spec": {"placement": {"gateway": {"resources": {"requests": {"memory": "70Mi"}}}}}}"#;

/// Nobody loses an event or sees one twice while every pod is replaced.
pub(crate) async fn story(audience: Audience) -> Result<Told> {
    let mut told = None;
    with_namespace("roll", async |namespace| {
        let feed = Feed::open(&namespace, audience).await?;
        let before = feed.places().await?;
        let patch = ["patch", "streampipeline", "feed", "--type=merge", "--patch", CHANGE];
        feed.kubectl.succeed(&patch).await?;
        let after = feed.places_but(&before).await?;
        println!("a rolling update, from {before:?} to {after:?}:");
        let subscribers = audience.subscribers;
        let outcome = feed.close().await?;
        ensure!(outcome.times() >= subscribers, "{} of {subscribers} moved", outcome.times());
        told = Some(outcome);
        Ok(())
    })
    .await?;
    told.context("nothing was told")
}
