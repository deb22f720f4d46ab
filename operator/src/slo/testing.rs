//! Makes SLOs, pipelines, pods and samples documents for tests.

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use weir_crds::v1alpha1::{StreamPipeline, StreamSLO};
use weir_slo::{Counts, Instance, SAMPLES_V1, Samples, Snapshot, Timestamp};

/// The SLO shop/feed of the pipeline orders over 28 days, with objectives in YAML.
pub(super) fn slo(objectives: &str) -> StreamSLO {
    let objectives: serde_json::Value = serde_yaml::from_str(objectives).unwrap();
    serde_json::from_value(json!({
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "StreamSLO",
        "metadata": { "name": "feed", "namespace": "shop", "uid": "slo-uid", "generation": 3 },
        "spec": {
            "pipelineRef": { "name": "orders" },
            "timeWindow": { "duration": "28d" },
            "objectives": objectives,
        },
    }))
    .unwrap()
}

/// The pipeline shop/orders, with a placement in YAML.
pub(super) fn pipeline(placement: &str) -> StreamPipeline {
    let placement: serde_json::Value = serde_yaml::from_str(placement).unwrap();
    serde_json::from_value(json!({
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "StreamPipeline",
        "metadata": { "name": "orders", "namespace": "shop" },
        "spec": { "placement": placement, "sources": [{ "name": "app", "http": {} }] },
    }))
    .unwrap()
}

/// A ready pod that carries the sidecar of the pipeline orders.
pub(super) fn pod(name: &str, ip: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": format!("{name}-uid"),
            "labels": { "weir.dev/injected": "true", "pipeline.weir.dev/orders": "true" },
        },
        "status": {
            "phase": "Running",
            "podIP": ip,
            "initContainerStatuses": [{
                "name": "weir-sidecar", "ready": true, "image": "", "imageID": "", "restartCount": 0,
                "state": { "running": {} },
            }],
        },
    }))
    .unwrap()
}

/// A counter of an objective, as a sidecar with one pipeline and one SLO writes it.
pub(super) struct Counter {
    pub(super) instance: &'static str,
    pub(super) started_at: u64,
    pub(super) generation: i64,
    pub(super) fingerprint: &'static str,
    /// The snapshots; the last one is the reading of now.
    pub(super) readings: Vec<(u64, Counts)>,
}

impl Counter {
    /// A counter of the newest generation that stood at zero when the clock did.
    pub(super) fn new(instance: &'static str, readings: Vec<(u64, Counts)>) -> Self {
        Self { instance, started_at: 0, generation: 3, fingerprint: "written", readings }
    }

    /// The document, in which the counter stands for each objective of `slo`.
    pub(super) fn samples(&self, slo: &StreamSLO) -> Samples {
        let at = |millis| Timestamp::from_millis(millis);
        let snapshots: Vec<_> =
            self.readings.iter().map(|&(ms, counts)| Snapshot { at: at(ms), counts }).collect();
        let current = snapshots.last().copied().unwrap_or_default();
        let objective = |name: &str| weir_slo::ObjectiveSample {
            name: name.to_owned(),
            fingerprint: self.fingerprint.to_owned(),
            started_at: Some(at(self.started_at)),
            current: current.counts,
            recent: snapshots.clone(),
        };
        let counted = weir_slo::SloSample {
            namespace: "shop".to_owned(),
            name: "feed".to_owned(),
            generation: Some(self.generation),
            objectives: slo.spec.objectives.iter().map(|spec| objective(&spec.name)).collect(),
        };
        let pipeline = weir_slo::PipelineSample {
            namespace: "shop".to_owned(),
            name: "orders".to_owned(),
            slos: vec![counted],
            ..weir_slo::PipelineSample::default()
        };
        Samples {
            api_version: SAMPLES_V1.to_owned(),
            instance: Instance {
                id: self.instance.to_owned(),
                started_at: at(self.started_at),
                version: String::new(),
            },
            now: current.at,
            refused: None,
            pipelines: vec![pipeline],
        }
    }
}
