//! The whole line on two real nodes, as a user goes it: Weir installed by Helm, manifests applied by kubectl,
//! events published by an application, subscribers who count what they get, and the same counts on the
//! StreamSLO.
//!
//! The images of `cargo xtask images` must be on the nodes, and the test must run in the cluster's network:
//! `cargo xtask test` sees to both. What kubectl shows is printed, for `--nocapture`.
//!
//! - `installation`: Helm, and how the operator is taken away and brought back.
//! - `sidecar`: an application's own pods get the sidecar, and its subscribers every event.
//! - `example`: the same as `examples/sidecar.yaml` has it.
//! - `slipped`: a pod that was created while no webhook answered is reported.
//! - `plugin`: `kubectl weir`, which reaches pods through the API server.
//! - `changes`: a pipeline is changed, refused, mended, deleted and made anew under its subscribers.
//! - `volume`: a log on a persistent volume outlives its process, and its pod.
//! - `modes`: injection goes from the webhook to policies and back, off and on.
//! - `releases`: upgrade, rollback, and two releases in one cluster.
//! - `nodes`: pods of every node reach those of every other one.
//! - `scaling`: a gateway gets a replica for its subscribers, shares them out, and gives it back.
//! - `roll`, `drain`: a rolling update and the drain of a node, which nobody notices who reads a `feed`.
//! - `bars`: what is measured, by `cargo xtask bench cluster`; also by `configuration` and `admission`.
//! - `gateway`: the quick start's manifest, from `kubectl apply` to `kubectl delete`.
//! - `subscriber`, `publisher`, `cable`: who takes part in it; `flock`, `steady`, `store` where they are many.
//! - `objects`: what stands on a resource.

// Tells the lints that all of it is a test.
#![cfg(test)]

mod admission;
mod bars;
mod cable;
mod changes;
mod configuration;
mod drain;
mod example;
mod feed;
mod flock;
mod gateway;
mod installation;
mod modes;
mod nodes;
mod objects;
mod plugin;
mod publisher;
mod releases;
mod roll;
mod scaling;
mod sidecar;
mod slipped;
mod steady;
mod store;
mod subscriber;
mod volume;

use std::fmt;

use anyhow::{Result, ensure};

use crate::feed::Audience;

/// Enough to be many, and sent away soon, so that nobody waits for long.
const AUDIENCE: Audience = Audience { subscribers: 40, per_second: 200, window: "3s" };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: cargo xtask test"]
async fn applied_manifests_lead_to_deliveries_that_are_counted_on_the_resource()
-> std::result::Result<(), Failure> {
    let told = installation::with_weir(async |weir| {
        nodes::are_two(&weir.cluster).await?;
        if bars::are_asked_for() {
            return bars::hold().await;
        }
        let told =
            tokio::join!(nodes::story(), sidecar::story(), example::story(), gateway::story());
        let (nodes, sidecar, example, gateway) = told;
        all(&[("nodes", nodes), ("sidecar", sidecar), ("example", example), ("gateway", gateway)])?;
        // Not beside the first ones, whose latency is an objective.
        let told =
            tokio::join!(plugin::story(), scaling::story(), changes::story(), volume::story());
        let (plugin, scaling, changes, volume) = told;
        all(&[("plugin", plugin), ("scaling", scaling), ("changes", changes), ("volume", volume)])?;
        roll::story(AUDIENCE).await?;
        // Alone, because they take the operator away.
        drain::story(AUDIENCE).await?;
        slipped::story(weir).await?;
        modes::story(weir).await?;
        releases::story(weir).await
    });
    told.await.map_err(Failure)
}

/// Fails with what each story says that failed.
fn all(stories: &[(&str, Result<()>)]) -> Result<()> {
    let failed = stories.iter().filter_map(|(name, told)| Some((name, told.as_ref().err()?)));
    let failed: Vec<_> = failed.map(|(name, error)| format!("{name}: {error:#}")).collect();
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(())
}

/// Shows an error in one line: where in this program it came from helps nobody.
struct Failure(anyhow::Error);

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}
