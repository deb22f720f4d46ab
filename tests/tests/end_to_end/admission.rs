//! What injection adds to the creation of a pod.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use tokio::time::Instant;
use weir_tests::{Namespace, with_namespace};

use crate::objects::{UP, apply, await_condition, restrict};

const PIPELINE: &str = include_str!("../../fixtures/end_to_end/pipeline.yaml");
const POD: &str = include_str!("../../fixtures/end_to_end/pod.yaml");

/// How many pods of each kind, the first of which are not measured.
const PODS: usize = 550;
const WARM_UP: usize = 50;

/// How long the creation of pods took, sorted: first of those that are left alone, then of those that are
/// injected. One goes after the other, so that both have the same neighbours. They are not scheduled, because
/// each is a dry run, which is stored by nobody and admitted like any other.
pub(crate) async fn measure() -> Result<[Vec<Duration>; 2]> {
    let mut times = [Vec::new(), Vec::new()];
    with_namespace("admission", async |shop| {
        restrict(&shop).await?;
        apply(&shop.kubectl, PIPELINE).await?;
        let wanted = ("Injected", "Unknown", "NoPodSelected");
        await_condition(&shop.kubectl, ("streampipeline", "shop"), wanted, UP).await?;
        let injected: Pod = serde_yaml::from_str(POD)?;
        let plain: Pod = serde_yaml::from_str(&POD.replace("app: shop", "app: other"))?;
        for round in 0..PODS {
            let taken =
                [create(&shop, &plain, false).await?, create(&shop, &injected, true).await?];
            if round >= WARM_UP {
                times.iter_mut().zip(taken).for_each(|(times, taken)| times.push(taken));
            }
        }
        Ok(())
    })
    .await?;
    times.iter_mut().for_each(|times| times.sort());
    Ok(times)
}

async fn create(namespace: &Namespace, pod: &Pod, injected: bool) -> Result<Duration> {
    let api: Api<Pod> = namespace.api();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let begun = Instant::now();
    let created = api.create(&dry, pod).await?;
    let taken = begun.elapsed();
    let first = created.spec.and_then(|spec| spec.init_containers).unwrap_or_default();
    ensure!(injected != first.is_empty(), "injected: {injected}, and has {first:?}");
    Ok(taken)
}
