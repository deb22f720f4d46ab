//! Makes resources for the unit tests. The names differ from the product's, so that a field in the
//! wrong place is noticed.

use serde_json::{Value, json};
use weir_crds::v1alpha1::{StreamPipeline, StreamSLO};

use crate::context::Options;
use crate::upgrade::Upgrades;

/// The options of a test.
pub(crate) fn options() -> Options {
    Options {
        namespace: "weir-system".to_owned(),
        identity: "operator-0".to_owned(),
        watch_namespace: None,
        sidecar_image: "registry.test/weir-sidecar:1".to_owned(),
        sidecar_image_pull_policy: Some("IfNotPresent".to_owned()),
        upgrades: Upgrades::OnRequest,
        policies: None,
        policies_owner: None,
        excluded_namespaces: Vec::new(),
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
