//! Makes resources for the unit tests. The names differ from the product's, so that a field in the
//! wrong place is noticed.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context as Waking, Poll};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tower_service::Service;
use weir_crds::v1alpha1::{StreamPipeline, StreamSLO};

use crate::context::{Context, Options};
use crate::metrics::ReconcileMetrics;
use crate::samples::Sampler;
use crate::upgrade::Upgrades;

/// The options of a test.
pub(crate) fn options() -> Options {
    Options {
        namespace: "weir-system".to_owned(),
        identity: "operator-0".to_owned(),
        watch_namespace: None,
        sidecar_image: "registry.test/weir-sidecar:1".to_owned(),
        sidecar_image_pull_policy: Some("IfNotPresent".to_owned()),
        sidecar_image_pull_secrets: Vec::new(),
        upgrades: Upgrades::OnRequest,
        policies: None,
        policies_owner: None,
        webhook: None,
        injects: true,
        excluded_namespaces: Vec::new(),
        restarts: true,
        exposure: true,
        admin_port: 7071,
        concurrency: 4,
    }
}

fn with_placement(name: &str, placement: &Value, spec: &Value) -> StreamPipeline {
    let mut pipeline = json!({
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "StreamPipeline",
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-of-{name}"), "generation": 3,
        },
        "spec": { "placement": placement },
    });
    for (key, value) in spec.as_object().unwrap() {
        pipeline["spec"][key] = value.clone();
    }
    serde_json::from_value(pipeline).unwrap()
}

/// A gateway with so many replicas, fed by a generator.
pub(crate) fn gateway(name: &str, replicas: i32) -> StreamPipeline {
    let sources = json!({ "sources": [{ "name": "demo", "generator": { "rate": 5 } }] });
    with_placement(name, &json!({ "gateway": { "replicas": replicas } }), &sources)
}

/// A gateway.
pub(crate) fn pipeline(name: &str) -> StreamPipeline {
    gateway(name, 2)
}

/// A sidecar in the pods with the label `app=shop`, fed by the application.
pub(crate) fn sidecar_pipeline(name: &str) -> StreamPipeline {
    let placement = json!({ "sidecar": { "selector": { "matchLabels": { "app": "shop" } } } });
    with_placement(name, &placement, &json!({ "sources": [{ "name": "app", "http": {} }] }))
}

/// An SLO of a pipeline.
pub(crate) fn slo(name: &str, pipeline: &str) -> StreamSLO {
    serde_json::from_value(json!({
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "StreamSLO",
        "metadata": { "name": name, "namespace": "shop", "uid": format!("uid-of-{name}"), "generation": 7 },
        "spec": {
            "pipelineRef": { "name": pipeline },
            "timeWindow": { "duration": "28d" },
            "objectives": [{ "name": "speed", "target": "99", "latency": { "threshold": "50ms" } }],
        },
    }))
    .unwrap()
}

type Answers = dyn Fn(&str) -> (StatusCode, Value) + Send + Sync;

/// An API server that gives the answer to each path.
#[derive(Clone)]
pub(crate) struct FakeApi {
    answers: Arc<Answers>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeApi {
    pub(crate) fn new(
        answers: impl Fn(&str) -> (StatusCode, Value) + Send + Sync + 'static,
    ) -> Self {
        Self { answers: Arc::new(answers), asked: Arc::default() }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.clone(), "default")
    }

    /// What it was asked so far: method and path.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}

impl Service<Request<Body>> for FakeApi {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Waking<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        self.asked.lock().push(format!("{} {path}", request.method()));
        let (status, answer) = (self.answers)(path);
        let body = Body::from(answer.to_string().into_bytes());
        ready(Ok(Response::builder().status(status).body(body).unwrap()))
    }
}

/// What every phase is handed, with this client.
pub(crate) fn context(client: Client) -> Context {
    let mut registry = Registry::default();
    let sampler = Arc::new(Sampler::register(Duration::from_secs(1), &mut registry));
    Context::new(client, ReconcileMetrics::register(&mut registry), sampler, options())
}
