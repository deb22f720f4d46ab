//! Builds the gateway's Deployment, where its replicas keep nothing that outlives them.

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::noted;
use crate::labels;
use crate::pipeline::given::Given;
use crate::pipeline::validate::{ValidGateway, ValidatedPipeline};

/// Builds the Deployment.
pub(super) fn build(
    pipeline: &ValidatedPipeline,
    gateway: &ValidGateway,
    given: &Given,
) -> Deployment {
    Deployment {
        metadata: noted(pipeline, given),
        spec: DeploymentSpec {
            replicas: Some(gateway.replicas),
            selector: LabelSelector {
                match_labels: Some(labels::of_gateway(&pipeline.name)),
                ..LabelSelector::default()
            },
            strategy: Some(strategy()),
            // Enough to look back by hand; the operator never rolls back.
            revision_history_limit: Some(2),
            template: given.template.clone(),
            ..DeploymentSpec::default()
        },
        ..Deployment::default()
    }
}

/// A new pod first, then an old one less: subscribers that are sent away find room.
fn strategy() -> DeploymentStrategy {
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_unavailable: Some(IntOrString::Int(0)),
            max_surge: Some(IntOrString::Int(1)),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::pod;
    use super::*;
    use crate::pipeline::testing::{placed, valid};
    use crate::testing::gateway;

    fn spec(pipeline: &ValidatedPipeline) -> Value {
        let gateway = placed(pipeline);
        let given = pod::give(pipeline, gateway);
        serde_json::to_value(build(pipeline, gateway, &given).spec).unwrap()
    }

    #[test]
    fn a_rollout_never_has_fewer_replicas_than_asked_for() {
        let spec = spec(&valid(&gateway("orders", 2)));
        assert_eq!(spec["replicas"], 2);
        assert_eq!(
            spec["strategy"]["rollingUpdate"],
            json!({ "maxUnavailable": 0, "maxSurge": 1 })
        );
    }

    #[test]
    fn the_pods_have_the_labels_that_the_deployment_selects() {
        let spec = spec(&valid(&gateway("orders", 2)));
        let labels = spec["template"]["metadata"]["labels"].as_object().unwrap();
        for (key, value) in spec["selector"]["matchLabels"].as_object().unwrap() {
            assert_eq!(labels.get(key), Some(value));
        }
    }
}
