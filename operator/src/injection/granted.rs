//! What the sidecar is granted of a node: what the logs of its pipelines need, or what these ask for.

use k8s_openapi::api::core::v1::ResourceRequirements;
use weir_crds::v1alpha1::{Log, Resources, StreamPipeline};

use crate::resources::{amount, largest, of};
use crate::sidecar::{log_bytes, resources};

/// What the data plane needs beside logs in memory. A pipeline that grants itself less is refused.
const LEAST_BYTES: u64 = 64 << 20;

/// What the sidecar of these pipelines is granted. One that asks for nothing counts with what is usual for all.
#[must_use]
pub fn granted(pipelines: &[&StreamPipeline]) -> ResourceRequirements {
    let logs = || pipelines.iter().map(|pipeline| &pipeline.spec.log);
    let usual = resources(log_bytes(logs()));
    let in_memory = log_bytes(logs().filter(|log: &&Log| log.storage.memory.is_some()));
    let each = pipelines.iter().map(|pipeline| of(usual.clone(), asked(pipeline)));
    largest(each, LEAST_BYTES.saturating_add(in_memory))
}

/// What a pipeline itself asks for.
pub(super) fn asked(pipeline: &StreamPipeline) -> Option<&Resources> {
    pipeline.spec.placement.sidecar.as_ref()?.resources.as_ref()
}

/// The limit of memory in bytes.
pub(super) fn memory_limit(resources: &ResourceRequirements) -> Option<u64> {
    amount("memory", &resources.limits.as_ref()?.get("memory")?.0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json, to_value};

    use super::*;
    use crate::testing::sidecar_pipeline;

    fn pipeline(resources: Value, max_bytes: &str) -> StreamPipeline {
        let mut pipeline = sidecar_pipeline("orders");
        pipeline.spec.placement.sidecar.as_mut().unwrap().resources =
            from_value(resources).unwrap();
        pipeline.spec.log.retention.max_bytes = max_bytes.parse().unwrap();
        pipeline
    }

    fn limit(pipelines: &[StreamPipeline]) -> Value {
        let pipelines: Vec<_> = pipelines.iter().collect();
        to_value(granted(&pipelines)).unwrap()["limits"]["memory"].clone()
    }

    #[test]
    fn what_a_pipeline_asks_for_takes_the_place_of_what_is_usual() {
        let asked = json!({ "requests": { "cpu": "5m" }, "limits": { "memory": "160Mi" } });
        let expected = json!({
            "requests": { "cpu": "5m", "memory": "64Mi" }, "limits": { "memory": "160Mi" },
        });
        assert_eq!(to_value(granted(&[&pipeline(asked, "64Mi")])).unwrap(), expected);
    }

    #[test]
    fn a_sidecar_of_several_pipelines_has_room_for_all_their_logs() {
        let usual = || pipeline(Value::Null, "64Mi");
        let asking = |limit: &str| pipeline(json!({ "limits": { "memory": limit } }), "64Mi");
        assert_eq!(limit(&[usual(), usual()]), "384Mi");
        assert_eq!(limit(&[usual(), asking("128Mi")]), "384Mi", "one of them asks for nothing");
        assert_eq!(limit(&[asking("300Mi"), asking("128Mi")]), "300Mi");
        assert_eq!(limit(&[asking("128Mi"), asking("128Mi")]), "192Mi", "64Mi and both logs");
    }
}
