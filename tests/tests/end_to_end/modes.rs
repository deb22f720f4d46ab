//! Injection goes from the webhook to policies and back, is turned off and on again. Each time the upgrade comes to its
//! end, another replica leads, the pipelines notice nothing, and new pods carry the sidecar.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use weir_tests::{Namespace, eventually, with_namespace};

use crate::installation::Weir;
use crate::objects::{UP, apply, await_condition, condition, ready_pods, restrict};
use crate::sidecar::is_injected;

const PIPELINE: &str = include_str!("../../fixtures/end_to_end/pipeline.yaml");
const GATEWAY: &str = include_str!("../../../examples/quickstart.yaml");
const POD: &str = include_str!("../../fixtures/end_to_end/pod.yaml");

/// One beside an application, and one in a gateway.
const PIPELINES: [&str; 2] = ["shop", "orders"];

/// How often it is tried out what a new pod would get.
const TRY: Duration = Duration::from_millis(250);

/// An upgrade to other values.
struct Step {
    title: &'static str,
    settings: &'static [&'static str],
    /// For how long new pods may be without a sidecar; whether they have one at all is up to the values where absent.
    bare: Option<Duration>,
}

const STEPS: [Step; 4] = [
    Step {
        title: "from the webhook to policies",
        settings: &["injection.mode=policy"],
        bare: Some(Duration::from_secs(2)),
    },
    Step {
        title: "from policies to the webhook",
        settings: &[],
        bare: Some(Duration::from_secs(2)),
    },
    Step { title: "off", settings: &["webhook.enabled=false"], bare: None },
    Step { title: "on", settings: &[], bare: None },
];

pub(crate) async fn story(weir: &Weir) -> Result<()> {
    with_namespace("modes", async |shop| {
        let kubectl = &shop.kubectl;
        restrict(&shop).await?;
        apply(kubectl, PIPELINE).await?;
        apply(kubectl, GATEWAY).await?;
        let wanted = ("Injected", "Unknown", "NoPodSelected");
        await_condition(kubectl, ("streampipeline", "shop"), wanted, UP).await?;
        apply(kubectl, POD).await?;
        for name in PIPELINES {
            let wanted = ("Ready", "True", "Serving");
            await_condition(kubectl, ("streampipeline", name), wanted, UP).await?;
        }
        for (number, step) in STEPS.iter().enumerate() {
            upgrade(weir, &shop, number, step).await?;
        }
        Ok(())
    })
    .await
}

async fn upgrade(weir: &Weir, shop: &Namespace, number: usize, step: &Step) -> Result<()> {
    let Step { title, settings, bare } = step;
    let before = weir.leader().await?;
    let (watch, begun) = (Watch::start(shop), Instant::now());
    weir.upgrade(settings).await?;
    let rolled_out = begun.elapsed();
    weir.is_led_anew(&before).await?;
    if !settings.contains(&"webhook.enabled=false") {
        // Whoever waits for the upgrade may be a moment before the leader.
        let tried = || tried(shop);
        eventually("a new pod would be injected", UP, async || is_injected(&tried().await?))
            .await?;
        let name = format!("after-{number}");
        apply(&shop.kubectl, &POD.replace("name: single", &format!("name: {name}"))).await?;
        let pods = ready_pods(&shop.kubectl, "app=shop", 2).await?;
        pods.iter().try_for_each(is_injected)?;
        shop.kubectl.succeed(&["delete", "pod", &name]).await?;
    }
    let Seen { without, troubles } = watch.end().await?;
    println!(
        "injection {title}: rolled out in {} s, and for {} ms new pods would have been without a sidecar",
        rolled_out.as_secs(),
        without.as_millis()
    );
    ensure!(troubles.is_empty(), "injection {title}: {troubles:?}");
    ensure!(bare.is_none_or(|most| without <= most), "injection {title}: {without:?}");
    Ok(())
}

/// What would become of a new pod.
async fn tried(shop: &Namespace) -> Result<Value> {
    let pod: Pod = serde_yaml::from_str(&POD.replace("name: single", "name: tried"))?;
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    Ok(serde_json::to_value(shop.api::<Pod>().create(&dry_run, &pod).await?)?)
}

/// Looks on while something is done.
struct Watch {
    ending: Arc<AtomicBool>,
    task: JoinHandle<Result<Seen>>,
}

/// What was seen.
#[derive(Default)]
struct Seen {
    /// For how long new pods would have been without a sidecar, at the longest.
    without: Duration,
    /// What was not as it should be of the pipelines.
    troubles: BTreeSet<String>,
}

impl Watch {
    fn start(shop: &Namespace) -> Self {
        let ending = Arc::<AtomicBool>::default();
        let task = tokio::spawn(look_on(shop.clone(), Arc::clone(&ending)));
        Self { ending, task }
    }

    async fn end(self) -> Result<Seen> {
        self.ending.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

async fn look_on(shop: Namespace, ending: Arc<AtomicBool>) -> Result<Seen> {
    let pipelines = shop.custom("StreamPipeline", "streampipelines");
    let (mut seen, mut bare) = (Seen::default(), None);
    while !ending.load(Ordering::Relaxed) {
        let now = Instant::now();
        if is_injected(&tried(&shop).await?).is_ok() {
            bare = None;
        } else {
            let since = *bare.get_or_insert(now);
            seen.without = seen.without.max(since.elapsed());
        }
        for name in PIPELINES {
            let found = serde_json::to_value(pipelines.get(name).await?)?;
            for kind in ["Ready", "UpToDate"] {
                let stands = condition(&found, kind);
                if stands.as_ref().is_none_or(|(status, ..)| status != "True") {
                    seen.troubles.insert(format!("{name}: {kind} is {stands:?}"));
                }
            }
        }
        sleep(TRY).await;
    }
    Ok(seen)
}
