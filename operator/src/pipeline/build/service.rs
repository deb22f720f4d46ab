//! Builds the Service: where subscribers find the data plane, by the pipeline's own name.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use weir_crds::names::port;

use super::metadata;
use crate::labels;
use crate::pipeline::validate::{ValidPlacement, ValidatedPipeline};

/// Builds the Service.
pub(super) fn build(pipeline: &ValidatedPipeline) -> Service {
    let selector = match pipeline.placement {
        ValidPlacement::Sidecar => labels::of_sidecar(&pipeline.name),
        ValidPlacement::Gateway { .. } => labels::of_gateway(&pipeline.name),
    };
    Service {
        metadata: metadata(pipeline, pipeline.name.clone()),
        spec: Some(ServiceSpec {
            selector: Some(selector),
            ports: Some(vec![public_port()]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// The target is a number, because a named port of a native sidecar is not resolved by Kubernetes
/// before 1.32.
fn public_port() -> ServicePort {
    ServicePort {
        name: Some("http".to_owned()),
        port: i32::from(port::PUBLIC),
        target_port: Some(IntOrString::Int(i32::from(port::PUBLIC))),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pipeline::testing::valid;
    use crate::testing::{gateway, sidecar_pipeline};

    fn spec(pipeline: &ValidatedPipeline) -> serde_json::Value {
        serde_json::to_value(build(pipeline).spec).unwrap()
    }

    #[test]
    fn the_service_of_a_sidecar_selects_the_pods_that_the_webhook_marked() {
        let expected = json!({
            "selector": { "pipeline.weir.dev/orders": "true", "weir.dev/injected": "true" },
            "ports": [{ "name": "http", "port": 7070, "targetPort": 7070, "protocol": "TCP" }],
        });
        assert_eq!(spec(&valid(&sidecar_pipeline("orders"))), expected);
    }

    #[test]
    fn the_service_of_a_gateway_selects_its_own_pods_alone() {
        let selector = json!({
            "weir.dev/pipeline": "orders", "app.kubernetes.io/component": "gateway",
        });
        assert_eq!(spec(&valid(&gateway("orders", 1)))["selector"], selector);
    }
}
