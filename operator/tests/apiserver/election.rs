//! The election at a real API server, whose answers to a lost race are its own.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use weir_operator::leader::{Elector, KubeLeases, Timing};
use weir_tests::{Namespace, with_namespace};

use crate::fixture::LIMIT;

fn elector(namespace: &Namespace, identity: &str) -> Elector<KubeLeases> {
    let leases = KubeLeases::new(namespace.cluster.client.clone(), &namespace.name, "leader");
    Elector::new(leases, identity.to_owned(), Timing::default())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn one_of_many_leads_and_the_next_follows_a_release_at_once() -> Result<()> {
    with_namespace("election", async |namespace| {
        let stop = CancellationToken::new();
        let mut candidates: Vec<_> =
            (0..5).map(|n| elector(&namespace, &format!("candidate-{n}"))).collect();
        let races = candidates
            .iter_mut()
            .map(|candidate| timeout(Duration::from_secs(5), candidate.acquire(&stop)));
        let wins = futures::future::join_all(races).await;
        let leaders: Vec<usize> =
            wins.iter().enumerate().filter(|(_, won)| **won == Ok(true)).map(|(n, _)| n).collect();
        ensure!(leaders.len() == 1, "{leaders:?}");
        candidates[leaders[0]].release().await;
        let started = Instant::now();
        let mut next = elector(&namespace, "next");
        ensure!(timeout(LIMIT, next.acquire(&stop)).await?);
        ensure!(started.elapsed() < Duration::from_secs(5), "it waited for the lease to expire");
        let lease = namespace.api::<Lease>().get("leader").await?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity);
        ensure!(holder.as_deref() == Some("next"), "{holder:?}");
        Ok(())
    })
    .await
}
