//! A gateway of two replicas on a shared log, with a publisher and subscribers who must not notice what
//! becomes of its pods.

use anyhow::{Result, ensure};
use serde_json::Value;
use weir_tests::{Kubectl, Namespace, eventually};

use crate::flock::{Flock, Told};
use crate::objects::{UP, apply, await_condition, is_ready, restrict, text};
use crate::steady::Steady;
use crate::store::Store;

const MANIFEST: &str = include_str!("../../fixtures/end_to_end/feed.yaml");
const PIPELINE: (&str, &str) = ("streampipeline", "feed");
const PODS: &str = "weir.dev/pipeline=feed";

/// How many there are of those who must not notice, and how soon subscribers are sent away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Audience {
    pub(crate) subscribers: usize,
    pub(crate) window: &'static str,
}

/// One that is being published to and subscribed to.
pub(crate) struct Feed {
    pub(crate) kubectl: Kubectl,
    flock: Flock,
    steady: Steady,
    _store: Store,
}

/// A pod of it, by name and node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) pod: String,
    pub(crate) node: String,
}

impl Feed {
    /// Makes one in a namespace. Events flow, at 200 a second, when it returns.
    pub(crate) async fn open(namespace: &Namespace, audience: Audience) -> Result<Self> {
        let kubectl = namespace.kubectl.clone();
        restrict(namespace).await?;
        let store = Store::start(&namespace.cluster).await?;
        let manifest = MANIFEST.replace("REDIS", &store.address);
        apply(&kubectl, &manifest.replace("WINDOW", audience.window)).await?;
        await_condition(&kubectl, PIPELINE, ("Ready", "True", "Serving"), UP).await?;
        places(&kubectl, &[]).await?;
        let service = kubectl.get("service", PIPELINE.1).await?;
        let url = format!("http://{}:7070/feed", text(&service, "/spec/clusterIP")?);
        let flock = Flock::gather(&format!("{url}/sse"), audience.subscribers).await?;
        let steady = Steady::start(&format!("{url}/events"));
        steady.publishes(200).await?;
        Ok(Self { kubectl, flock, steady, _store: store })
    }

    /// Its pods, once there are two, both ready, and none that is leaving.
    pub(crate) async fn places(&self) -> Result<Vec<Place>> {
        places(&self.kubectl, &[]).await
    }

    /// The same, once none of these is left.
    pub(crate) async fn places_but(&self, gone: &[Place]) -> Result<Vec<Place>> {
        places(&self.kubectl, gone).await
    }

    /// Ends the publisher and the subscribers. Fails where one of these missed an event or saw one twice.
    pub(crate) async fn close(self) -> Result<Told> {
        self.steady.publishes(200).await?;
        let repeated = self.steady.repeated();
        let (published, per_second) = self.steady.end().await?;
        let mut told = self.flock.tell().await?;
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

async fn places(kubectl: &Kubectl, gone: &[Place]) -> Result<Vec<Place>> {
    // As long as two replicas take to send everyone away, one after the other.
    eventually("two pods are ready and no other is left", UP * 3, async || {
        let text = kubectl.succeed(&["get", "pods", "--selector", PODS, "--output=json"]).await?;
        let list: Value = serde_json::from_str(&text)?;
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        let places = pods.iter().map(Place::of).collect::<Result<Vec<_>>>()?;
        let settled = pods.len() == 2 && pods.iter().all(is_ready);
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
