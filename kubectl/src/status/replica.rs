//! Asks a replica which generation it runs, as the operator does: by its samples.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::time::timeout;
use weir_crds::names::port;
use weir_operator::failure::chain;
use weir_slo::{PipelineSample, Samples};

use crate::cluster::Cluster;
use crate::pipelines::is_ready;
use crate::reach::{Body, Error, forward};

/// It answers from memory.
const PATIENCE: Duration = Duration::from_secs(5);

/// A replica, and what it answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Replica {
    /// The pod's name.
    pub(super) pod: String,
    /// Whether the pod is ready.
    pub(super) ready: bool,
    /// What it answered.
    pub(super) report: Report,
}

/// What a replica answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Report {
    /// It serves the pipeline.
    Serving {
        /// The sidecar's version.
        version: String,
        /// What it says of the pipeline.
        sample: Box<PipelineSample>,
    },
    /// It answers, but does not serve the pipeline yet.
    NotServing {
        /// The sidecar's version.
        version: String,
    },
    /// It did not answer, or not so that it could be understood.
    Silent(String),
}

/// Asks a replica. One that does not answer is part of the answer.
pub(super) async fn ask(cluster: &Cluster, pod: Pod, pipeline: &str) -> Replica {
    let (name, ready) = (pod.name_any(), is_ready(&pod));
    let report = match timeout(PATIENCE, samples(cluster, &name)).await {
        Ok(Ok(body)) => understand(&body, &cluster.namespace, pipeline),
        Ok(Err(error)) => Report::Silent(chain(&error)),
        Err(_) => Report::Silent(format!("no answer within {} s", PATIENCE.as_secs())),
    };
    Replica { pod: name, ready, report }
}

async fn samples(cluster: &Cluster, pod: &str) -> Result<Bytes, Error> {
    let mut link = forward(cluster, pod, port::ADMIN, false).await?;
    // No snapshot of the past is wanted here.
    let path = format!("/samples?since={}", Timestamp::now().as_millisecond());
    let answer = link.send("GET", &path, Body::default()).await?;
    answer.bytes(&link.place).await
}

fn understand(body: &Bytes, namespace: &str, pipeline: &str) -> Report {
    let samples: Samples = match serde_json::from_slice(body) {
        Ok(samples) => samples,
        Err(error) => return Report::Silent(format!("it answers what are no samples ({error})")),
    };
    if !samples.is_understood() {
        return Report::Silent(format!(
            "it speaks {}, and this program {}: bring both to the same version",
            samples.api_version,
            weir_slo::SAMPLES_V1
        ));
    }
    let version = samples.instance.version;
    let mut served = samples.pipelines.into_iter();
    let served = served.find(|found| found.namespace == namespace && found.name == pipeline);
    match served {
        Some(sample) => Report::Serving { version, sample: Box::new(sample) },
        None => Report::NotServing { version },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(version: &str) -> Bytes {
        let document = json!({
            "apiVersion": version, "instance": { "id": "i", "startedAt": 0, "version": "0.1.0" },
            "now": 1, "pipelines": [{ "namespace": "shop", "name": "orders", "generation": 3 }],
        });
        Bytes::from(document.to_string())
    }

    #[test]
    fn the_pipeline_is_found_by_namespace_and_name() {
        let body = body(weir_slo::SAMPLES_V1);
        let Report::Serving { version, sample } = understand(&body, "shop", "orders") else {
            panic!("it serves")
        };
        assert_eq!((version.as_str(), sample.generation), ("0.1.0", Some(3)));
        let elsewhere = understand(&body, "other", "orders");
        assert_eq!(elsewhere, Report::NotServing { version: "0.1.0".to_owned() });
    }

    #[test]
    fn what_is_not_understood_says_what_to_do() {
        let newer = understand(&body("weir.dev/samples/v9"), "shop", "orders");
        assert!(matches!(newer, Report::Silent(why) if why.contains("same version")));
        let garbage = understand(&Bytes::from_static(b"<html>"), "shop", "orders");
        assert!(matches!(garbage, Report::Silent(why) if why.contains("no samples")));
    }
}
