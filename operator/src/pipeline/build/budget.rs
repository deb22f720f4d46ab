//! Builds the PodDisruptionBudget: of a gateway's replicas, one at a time is taken by the drain of a node.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::labels;
use crate::pipeline::validate::ValidatedPipeline;

/// Builds the budget. With one replica it lets that go, and so holds up no drain.
pub(super) fn build(pipeline: &ValidatedPipeline) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(pipeline, pipeline.name.clone()),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(labels::of_gateway(&pipeline.name)),
                ..LabelSelector::default()
            }),
            // A pod that serves nobody is not waited for.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pipeline::testing::valid;
    use crate::testing::gateway;

    #[test]
    fn one_replica_of_the_gateway_may_be_away() {
        let budget = build(&valid(&gateway("orders", 3)));
        let expected = json!({
            "maxUnavailable": 1,
            "selector": { "matchLabels": {
                "weir.dev/pipeline": "orders", "app.kubernetes.io/component": "gateway",
            } },
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        });
        assert_eq!(serde_json::to_value(budget.spec).unwrap(), expected);
    }
}
