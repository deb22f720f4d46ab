//! The whole line on a real node, as a user goes it: Weir installed by Helm, manifests applied by kubectl,
//! events published by an application, subscribers who count what they get, and the same counts on the
//! StreamSLO.
//!
//! The images of `cargo xtask images` must be in the node, and the test must run in the cluster's network:
//! `cargo xtask test` sees to both. What kubectl shows is printed, for `--nocapture`.
//!
//! - `installation`: Helm, and how the operator is taken away and brought back.
//! - `sidecar`: an application's own pods get the sidecar, and its subscribers every event.
//! - `example`: the same as `examples/sidecar.yaml` has it.
//! - `slipped`: a pod that was created while no webhook answered is reported.
//! - `plugin`: `kubectl weir`, which reaches pods through the API server.
//! - `releases`: upgrade, rollback, and two releases in one cluster.
//! - `gateway`: the quick start's manifest, from `kubectl apply` to `kubectl delete`.
//! - `subscriber`, `publisher`, `cable`: who takes part in it.
//! - `objects`: what stands on a resource.

// Tells the lints that all of it is a test.
#![cfg(test)]

mod cable;
mod example;
mod gateway;
mod installation;
mod objects;
mod plugin;
mod publisher;
mod releases;
mod sidecar;
mod slipped;
mod subscriber;

use std::fmt;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: cargo xtask test"]
async fn applied_manifests_lead_to_deliveries_that_are_counted_on_the_resource()
-> Result<(), Failure> {
    let told = installation::with_weir(async |weir| {
        let (sidecar, example, gateway) =
            tokio::join!(sidecar::story(), example::story(), gateway::story());
        sidecar?;
        example?;
        gateway?;
        plugin::story().await?;
        // Alone, because they take the operator away.
        slipped::story(weir).await?;
        releases::story(weir).await
    });
    told.await.map_err(Failure)
}

/// Shows an error in one line: where in this program it came from helps nobody.
struct Failure(anyhow::Error);

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}
