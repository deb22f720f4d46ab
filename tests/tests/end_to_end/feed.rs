//! A gateway with a publisher and subscribers who must not notice what becomes of its pods.

use anyhow::{Result, ensure};
use serde_json::Value;
use weir_tests::{Kubectl, Namespace, eventually};

use crate::flock::{Flock, Told};
use crate::objects::{UP, apply, await_condition, is_ready, restrict, text};
use crate::steady::Steady;
use crate::store::Store;

const TWO_REPLICAS: &str = include_str!("../../fixtures/end_to_end/feed.yaml");
const PIPELINE: (&str, &str) = ("streampipeline", "feed");
const PODS: &str = "weir.dev/pipeline=feed";

/// How many there are of those who must not notice, how many events they get, and how soon they are sent away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Audience {
    pub(crate) subscribers: usize,
    pub(crate) per_second: u64,
    pub(crate) window: &'static str,
}

/// One that is being published to and subscribed to.
pub(crate) struct Feed {
    pub(crate) kubectl: Kubectl,
    url: String,
    flock: Flock,
    steady: Steady,
    store: Option<Store>,
}

/// A pod of it, by name and node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) pod: String,
    pub(crate) node: String,
}

impl Feed {
    /// Makes one of two replicas in a namespace. Events flow when it returns.
    pub(crate) async fn open(namespace: &Namespace, audience: Audience) -> Result<Self> {
        let feed = Self::on_a_shared_log(namespace, TWO_REPLICAS, audience).await?;
        feed.places().await?;
        Ok(feed)
    }

    /// Makes what the manifest says, on a log that all replicas share.
    pub(crate) async fn on_a_shared_log(
        namespace: &Namespace,
        manifest: &str,
        audience: Audience,
    ) -> Result<Self> {
        let store = Store::start(&namespace.cluster).await?;
        let manifest = manifest.replace("REDIS", &store.address);
        Ok(Self { store: Some(store), ..Self::of(namespace, &manifest, audience).await? })
    }

    /// Makes what the manifest says.
    pub(crate) async fn of(
        namespace: &Namespace,
        manifest: &str,
        audience: Audience,
    ) -> Result<Self> {
        let Audience { subscribers, per_second, window } = audience;
        let kubectl = namespace.kubectl.clone();
        restrict(namespace).await?;
        apply(&kubectl, &manifest.replace("WINDOW", window)).await?;
        await_condition(&kubectl, PIPELINE, ("Ready", "True", "Serving"), UP).await?;
        let service = kubectl.get("service", PIPELINE.1).await?;
        let url = format!("http://{}:7070/feed", text(&service, "/spec/clusterIP")?);
        let flock = Flock::gather(&format!("{url}/sse"), subscribers).await?;
        let steady = Steady::start(&format!("{url}/events"), per_second);
        steady.publishes(per_second).await?;
        Ok(Self { kubectl, url, flock, steady, store: None })
    }

    /// More subscribers, who come now.
    pub(crate) async fn more(&self, subscribers: usize) -> Result<Flock> {
        Flock::join(&format!("{}/sse", self.url), subscribers).await
    }

    /// Waits until so many more events are published.
    pub(crate) async fn publishes(&self, more: u64) -> Result<()> {
        self.steady.publishes(more).await
    }

    /// Its pods, once there are two, both ready, and none that is leaving.
    pub(crate) async fn places(&self) -> Result<Vec<Place>> {
        self.of_count(2).await
    }

    /// The same with so many.
    pub(crate) async fn of_count(&self, count: usize) -> Result<Vec<Place>> {
        places(&self.kubectl, count, &[]).await
    }

    /// Its two pods, once none of these is left.
    pub(crate) async fn places_but(&self, gone: &[Place]) -> Result<Vec<Place>> {
        places(&self.kubectl, 2, gone).await
    }

    /// Ends the publisher and the subscribers. Fails where one of these missed an event or saw one twice.
    pub(crate) async fn close(self) -> Result<Told> {
        let Self { kubectl: _, url: _, flock, steady, store } = self;
        steady.publishes(100).await?;
        let repeated = steady.repeated();
        let (published, per_second) = steady.end().await?;
        let mut told = flock.tell().await?;
        drop(store);
        told.per_second = per_second;
        ensure!(told.seen == published, "{} of {published} events seen", told.seen);
        println!(
            "{published} events, {per_second:.0} a second, each seen once and in order by everyone; {repeated} \
             requests of the publisher repeated; {}",
            told.line()
        );
        Ok(told)
    }
}

async fn places(kubectl: &Kubectl, count: usize, gone: &[Place]) -> Result<Vec<Place>> {
    // As long as two replicas take to send everyone away, one after the other.
    let what = format!("{count} pods are ready and no other is left");
    eventually(&what, UP * 3, async || {
        let text = kubectl.succeed(&["get", "pods", "--selector", PODS, "--output=json"]).await?;
        let list: Value = serde_json::from_str(&text)?;
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        let places = pods.iter().map(Place::of).collect::<Result<Vec<_>>>()?;
        let settled = pods.len() == count && pods.iter().all(is_ready);
        let stayed = places.iter().any(|place| gone.iter().any(|gone| gone.pod == place.pod));
        ensure!(settled && !stayed, "{places:?}");
        Ok(places)
    })
    .await
}

impl Place {
    /// One that is not on a node yet has no name there.
    fn of(pod: &Value) -> Result<Self> {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
        Ok(Self { pod: text(pod, "/metadata/name")?.to_owned(), node })
    }
}
