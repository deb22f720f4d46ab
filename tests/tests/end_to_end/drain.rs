//! A node is drained: the gateway's pods that were on it move, and nobody loses an event.

use anyhow::{Context as _, Result, ensure};
use weir_tests::with_namespace;

use crate::feed::{Audience, Feed};
use crate::flock::Told;

/// As a person drains a node. The other options are for pods of the other stories.
const DRAIN: [&str; 5] =
    ["drain", "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=180s"];

pub(crate) async fn story(audience: Audience) -> Result<Told> {
    let mut told = None;
    with_namespace("drain", async |namespace| {
        let feed = Feed::open(&namespace, audience).await?;
        let before = feed.places().await?;
        let node = before.first().context("it has pods")?.node.clone();
        let drained = feed.kubectl.succeed(&[&DRAIN[..], &[&node]].concat()).await;
        let outcome = async {
            println!("$ kubectl drain {node}\n{}", drained?.trim_end());
            let after = feed.places().await?;
            ensure!(after.iter().all(|place| place.node != node), "{before:?} became {after:?}");
            println!("a node drained, from {before:?} to {after:?}:");
            feed.close().await
        };
        let outcome = outcome.await;
        namespace.kubectl.succeed(&["uncordon", &node]).await?;
        let outcome = outcome?;
        ensure!(outcome.times() > 0, "nobody was moved");
        told = Some(outcome);
        Ok(())
    })
    .await?;
    told.context("nothing was told")
}
