//! Makes the states of a cluster for the unit tests of the phases.

use weir_crds::v1alpha1::StreamPipeline;

use super::observe::{Existing, Observed, ObservedPod, Replica, Report};
use super::validate::{ValidGateway, ValidPlacement, ValidatedPipeline, validate};
use crate::testing::options;
use crate::upgrade::Upgrade;

/// A cluster with nothing but the pipeline.
pub(super) fn observed(pipeline: &StreamPipeline) -> Observed {
    Observed {
        pipeline: pipeline.clone(),
        others: Vec::new(),
        slos: Vec::new(),
        existing: Existing::default(),
        pods: Vec::new(),
        workloads: Vec::new(),
        replicas: Vec::new(),
        unready: Vec::new(),
        knows_routes: true,
        no_injection: None,
        exposes: true,
        scaling: None,
        rebalancing: None,
        contested: Vec::new(),
        told: None,
        upgrade: Upgrade::of(pipeline, &options()),
    }
}

/// What validation makes of it.
pub(super) fn validated(observed: &Observed) -> ValidatedPipeline {
    validate(observed, &options()).unwrap()
}

/// What validation makes of a pipeline alone.
pub(super) fn valid(pipeline: &StreamPipeline) -> ValidatedPipeline {
    validated(&observed(pipeline))
}

/// Its gateway.
pub(super) fn placed(pipeline: &ValidatedPipeline) -> &ValidGateway {
    match &pipeline.placement {
        ValidPlacement::Gateway(gateway) => gateway,
        ValidPlacement::Sidecar => panic!("no gateway"),
    }
}

/// A selected pod that carries the data plane and is ready.
pub(super) fn serving_pod(name: &str) -> ObservedPod {
    ObservedPod {
        name: name.to_owned(),
        uid: format!("uid-of-{name}"),
        ip: Some("10.0.0.1".to_owned()),
        ready: true,
        selected: true,
        member: true,
        owner: Some("replicaset/web-5d".to_owned()),
        workload: Some("deployment/web".to_owned()),
        ..ObservedPod::default()
    }
}

/// A replica that runs `generation`, with one source `demo` of this health.
pub(super) fn replica(pod: &str, generation: i64, healthy: bool) -> Replica {
    let message = (!healthy).then(|| "connection refused".to_owned());
    let source = weir_slo::SourceSample {
        name: "demo".to_owned(),
        healthy,
        message,
        ..weir_slo::SourceSample::default()
    };
    let sample = weir_slo::PipelineSample {
        generation: Some(generation),
        sources: vec![source],
        ..weir_slo::PipelineSample::default()
    };
    Replica { pod: pod.to_owned(), report: Report::Serving(Box::new(sample)), refused: None }
}

/// A gateway or sidecar of which each named pod serves the current generation.
pub(super) fn running(pipeline: &StreamPipeline, pods: &[&str]) -> Observed {
    let generation = pipeline.metadata.generation.unwrap();
    let mut observed = observed(pipeline);
    observed.pods = pods.iter().map(|name| serving_pod(name)).collect();
    observed.replicas = pods.iter().map(|name| replica(name, generation, true)).collect();
    observed
}
