//! What a pipeline costs the API server, from its creation until there is nothing left to do.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Waking, Poll};
use std::time::Duration;

use anyhow::{Result, ensure};
use http::{Method, Request, Response};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::api::{Patch, PatchParams};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;
use tower_service::Service;
use weir_tests::{Namespace, eventually, with_namespace};

use crate::fixture::{Controller, LIMIT, condition, create_pipeline, gateway, options};
use crate::replicas::{Admin, samples};
use crate::workloads::Node;

/// How long nothing is asked where nothing is left to do; a pipeline is looked at again after 27 s at the soonest.
const QUIET: Duration = Duration::from_secs(5);

/// Counts what is asked about `orders`, by method, kind and subresource.
#[derive(Clone)]
struct Counted {
    client: Client,
    counts: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Counted {
    fn new(client: Client) -> Self {
        Self { client, counts: Arc::default() }
    }

    fn client(&self) -> Client {
        Client::new(self.clone(), "default")
    }

    fn counts(&self) -> BTreeMap<String, usize> {
        self.counts.lock().clone()
    }

    fn sum(&self, kind: &str) -> usize {
        self.counts().iter().filter(|(key, _)| key.contains(kind)).map(|(_, count)| count).sum()
    }

    /// Waits until nothing is asked any more.
    async fn quiet(&self) -> Result<()> {
        let mut last = (Instant::now(), self.counts());
        eventually("nothing is asked any more", LIMIT, async || {
            let counts = self.counts();
            if counts != last.1 {
                last = (Instant::now(), counts);
            }
            ensure!(last.0.elapsed() > QUIET, "{:?}", last.1);
            Ok(())
        })
        .await
    }
}

/// `PATCH deployments`, or nothing where it isn't about the pipeline.
fn key(request: &Request<Body>) -> Option<String> {
    let uri = request.uri().to_string();
    let (_, path) = request.uri().path().split_once("/namespaces/")?;
    let mut path = path.split('/').skip(1);
    let (kind, _name, subresource) = (path.next()?, path.next(), path.next());
    let is_event = kind == "events" && request.method() == Method::POST;
    if uri.contains("watch=true") || !(uri.contains("orders") || is_event) {
        return None;
    }
    Some(
        [request.method().as_str(), kind, subresource.unwrap_or_default()]
            .join(" ")
            .trim()
            .to_owned(),
    )
}

impl Service<Request<Body>> for Counted {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, kube::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Waking<'_>) -> Poll<Result<(), kube::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if let Some(key) = key(&request) {
            *self.counts.lock().entry(key).or_default() += 1;
        }
        let client = self.client.clone();
        Box::pin(async move { client.send(request).await })
    }
}

async fn start(namespace: &Namespace, admin: &Admin) -> Result<(Controller, Counted)> {
    let counted = Counted::new(namespace.cluster.client.clone());
    let mut options = options(&namespace.name);
    options.admin_port = admin.port;
    let controller = Controller::start_as(namespace, counted.client(), options).await?;
    Ok((controller, counted))
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_pipeline_costs_few_requests_until_it_is_ready_and_then_none() -> Result<()> {
    with_namespace("requests", async |namespace| {
        let admin = Admin::start(samples(&namespace.name, 1, true)).await?;
        let (controller, counted) = start(&namespace, &admin).await?;
        let _node = Node::start(&namespace);
        create_pipeline(&namespace, "orders", gateway(1)).await?;
        condition(&namespace, "orders", "Ready", "True", "Serving").await?;
        counted.quiet().await?;
        let counts = counted.counts();
        println!("{} requests: {counts:?}", counts.values().sum::<usize>());
        for kind in ["configmaps", "services", "deployments", "poddisruptionbudgets"] {
            // Each is asked for before it is there, and written once, whatever its status comes to say.
            ensure!(counts.get(&format!("PATCH {kind}")) == Some(&1), "{counts:?}");
            ensure!(counted.sum(kind) <= 2, "{counts:?}");
        }
        ensure!(counted.sum("httproutes") == 0, "{counts:?}");
        ensure!(counted.sum("streampipelines") <= 4, "{counts:?}");
        // Listed once at most, where the watch hasn't told of all yet, and told once of what was written since.
        ensure!(counts.get("GET pods").is_none_or(|lists| *lists == 1), "{counts:?}");
        ensure!(counts.get("PATCH pods").is_none_or(|patches| *patches == 1), "{counts:?}");
        ensure!(counts.values().sum::<usize>() <= 16, "{counts:?}");
        // What others note on an object, and what becomes of its status, is nothing to write for.
        let looked = controller.reconciled()?;
        let patch =
            json!({ "metadata": { "annotations": { "deployment.kubernetes.io/revision": "7" } } });
        namespace
            .api::<Deployment>()
            .patch_status("orders", &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        eventually("it is looked at again", LIMIT, async || {
            ensure!(controller.reconciled()? > looked, "not yet");
            Ok(())
        })
        .await?;
        counted.quiet().await?;
        let writes = |counts: &BTreeMap<String, usize>| {
            let writes = counts.iter().filter(|(key, _)| !key.starts_with("GET"));
            writes.map(|(key, count)| (key.clone(), *count)).collect::<Vec<_>>()
        };
        ensure!(writes(&counts) == writes(&counted.counts()), "{:?}", counted.counts());
        // And what is ours is put right.
        let patch = json!({ "metadata": { "labels": { "weir.dev/pipeline": null } } });
        let deployments = namespace.api::<Deployment>();
        deployments.patch("orders", &PatchParams::default(), &Patch::Merge(patch)).await?;
        eventually("the label is put right", LIMIT, async || {
            let found = deployments.get("orders").await?.metadata.labels.unwrap_or_default();
            ensure!(found.contains_key("weir.dev/pipeline"), "{found:?}");
            Ok(())
        })
        .await?;
        controller.stop().await
    })
    .await
}
