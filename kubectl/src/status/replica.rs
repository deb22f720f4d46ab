//! Asks a replica which generation it runs, as the operator does: by its samples.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateWaiting, Pod};
use kube::ResourceExt;
use tokio::time::timeout;
use weir_crds::names::{SIDECAR_CONTAINER, port};
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
    if let Some(why) = not_yet(&pod) {
        return Replica { pod: name, ready, report: Report::Silent(why) };
    }
    let report = match timeout(PATIENCE, samples(cluster, &name)).await {
        Ok(Ok(body)) => understand(&body, &cluster.namespace, pipeline),
        Ok(Err(error)) => Report::Silent(chain(&error)),
        Err(_) => Report::Silent(format!("no answer within {} s", PATIENCE.as_secs())),
    };
    Replica { pod: name, ready, report }
}

/// Why there is nobody in the pod who could be asked.
fn not_yet(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref();
    if pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none()) {
        let mut conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
        let scheduled = conditions.find(|found| found.type_ == "PodScheduled");
        let why = scheduled.and_then(|found| found.message.as_ref());
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        return Some(format!("it is on no node yet{why}"));
    }
    let containers = status.iter().flat_map(|status| {
        let init = status.init_container_statuses.iter().flatten();
        init.chain(status.container_statuses.iter().flatten())
    });
    let sidecar = containers.into_iter().find(|found| found.name == SIDECAR_CONTAINER)?;
    let ContainerStateWaiting { message, reason } = sidecar.state.as_ref()?.waiting.as_ref()?;
    let words: Vec<_> = reason.iter().chain(message).map(String::as_str).collect();
    Some(format!("the sidecar does not run: {}", words.join(": ")))
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
    fn a_pod_in_which_nobody_can_be_asked_yet_says_why() {
        let said = |spec: serde_json::Value, status: serde_json::Value| {
            let pod = json!({ "metadata": { "name": "a" }, "spec": spec, "status": status });
            not_yet(&serde_json::from_value(pod).unwrap())
        };
        let spec = |node: Option<&str>| json!({ "containers": [], "nodeName": node });
        let unscheduled = json!({ "conditions": [{
            "type": "PodScheduled", "status": "False", "message": "0/2 nodes are available",
        }] });
        let on_no_node = Some("it is on no node yet: 0/2 nodes are available".to_owned());
        assert_eq!(said(spec(None), unscheduled), on_no_node);
        let sidecar = |state: serde_json::Value| {
            json!({ "initContainerStatuses": [{
                "name": "weir-sidecar", "image": "i", "imageID": "", "ready": false,
                "restartCount": 0, "state": state,
            }] })
        };
        let waiting = json!({ "waiting": { "reason": "ImagePullBackOff", "message": "no such" } });
        assert_eq!(
            said(spec(Some("node0")), sidecar(waiting)).unwrap(),
            "the sidecar does not run: ImagePullBackOff: no such"
        );
        // The application may be what is waited for.
        let running = sidecar(json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } }));
        assert_eq!(said(spec(Some("node0")), running), None);
    }

    #[test]
    fn what_is_not_understood_says_what_to_do() {
        let newer = understand(&body("weir.dev/samples/v9"), "shop", "orders");
        assert!(matches!(newer, Report::Silent(why) if why.contains("same version")));
        let garbage = understand(&Bytes::from_static(b"<html>"), "shop", "orders");
        assert!(matches!(garbage, Report::Silent(why) if why.contains("no samples")));
    }
}
