//! Builds the Service: where subscribers find the data plane, by the pipeline's own name.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use weir_crds::names::port;
use weir_crds::v1alpha1::{AppProtocol, ExternalTrafficPolicy, ServiceExposure, ServiceType};

use super::metadata;
use crate::labels;
use crate::pipeline::validate::{ValidPlacement, ValidatedPipeline};

/// Builds the Service.
pub(super) fn build(pipeline: &ValidatedPipeline) -> Service {
    let selector = match pipeline.placement {
        ValidPlacement::Sidecar => labels::of_sidecar(&pipeline.name),
        ValidPlacement::Gateway(_) => labels::of_gateway(&pipeline.name),
    };
    let usual = ServiceExposure::default();
    let ServiceExposure { kind, external_traffic_policy, app_protocol, annotations } =
        pipeline.exposure.service.as_ref().unwrap_or(&usual);
    Service {
        metadata: ObjectMeta {
            annotations: Some(annotations.clone()).filter(|annotations| !annotations.is_empty()),
            ..metadata(pipeline, pipeline.name.clone())
        },
        spec: Some(ServiceSpec {
            type_: Some(type_of(*kind).to_owned()),
            external_traffic_policy: external_traffic_policy.map(policy).map(str::to_owned),
            selector: Some(selector),
            ports: Some(vec![public_port(
                pipeline.manifest.spec.endpoints.tls.is_some(),
                *app_protocol,
            )]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

const fn type_of(kind: ServiceType) -> &'static str {
    match kind {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    }
}

const fn policy(policy: ExternalTrafficPolicy) -> &'static str {
    match policy {
        ExternalTrafficPolicy::Cluster => "Cluster",
        ExternalTrafficPolicy::Local => "Local",
    }
}

/// The target is a number, because a named port of a native sidecar is not resolved by Kubernetes
/// before 1.32. Meshes and Gateways go by its name, or by the protocol: who takes TLS for plain HTTP reads nothing.
fn public_port(encrypted: bool, spoken: AppProtocol) -> ServicePort {
    let name = if encrypted { "https" } else { "http" };
    let protocol = match (spoken, encrypted) {
        (AppProtocol::Http, _) => name,
        (AppProtocol::WebSocket, false) => "kubernetes.io/ws",
        (AppProtocol::WebSocket, true) => "kubernetes.io/wss",
    };
    ServicePort {
        name: Some(name.to_owned()),
        app_protocol: Some(protocol.to_owned()),
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
            "type": "ClusterIP",
            "selector": { "pipeline.weir.dev/orders": "true", "weir.dev/injected": "true" },
            "ports": [{
                "name": "http", "appProtocol": "http", "port": 7070, "targetPort": 7070,
                "protocol": "TCP",
            }],
        });
        assert_eq!(spec(&valid(&sidecar_pipeline("orders"))), expected);
    }

    #[test]
    fn a_port_with_tls_is_not_taken_for_plain_http() {
        let mut pipeline = gateway("orders", 1);
        pipeline.spec.endpoints.tls =
            serde_json::from_value(json!({ "secretName": "tls" })).unwrap();
        let port = spec(&valid(&pipeline))["ports"][0].clone();
        assert_eq!((&port["name"], &port["appProtocol"]), (&json!("https"), &json!("https")));
    }

    #[test]
    fn a_gateway_is_told_of_websocket_where_the_manifest_says_so() {
        let mut pipeline = gateway("orders", 1);
        let exposure = json!({ "service": { "appProtocol": "WebSocket" } });
        pipeline.spec.exposure = serde_json::from_value(exposure).unwrap();
        let port = spec(&valid(&pipeline))["ports"][0].clone();
        assert_eq!(
            (&port["name"], &port["appProtocol"]),
            (&json!("http"), &json!("kubernetes.io/ws"))
        );
        let tls = serde_json::from_value(json!({ "secretName": "tls" }));
        pipeline.spec.endpoints.tls = tls.unwrap();
        assert_eq!(spec(&valid(&pipeline))["ports"][0]["appProtocol"], "kubernetes.io/wss");
    }

    #[test]
    fn a_load_balancer_is_what_the_manifest_says() {
        let mut pipeline = gateway("orders", 1);
        let exposure = json!({ "service": {
            "type": "LoadBalancer",
            "externalTrafficPolicy": "Local",
            "annotations": { "cloud.test/scheme": "internal" },
        } });
        pipeline.spec.exposure = serde_json::from_value(exposure).unwrap();
        let service = serde_json::to_value(build(&valid(&pipeline))).unwrap();
        assert_eq!(service["spec"]["type"], "LoadBalancer");
        assert_eq!(service["spec"]["externalTrafficPolicy"], "Local");
        let annotations = json!({ "cloud.test/scheme": "internal" });
        assert_eq!(service["metadata"]["annotations"], annotations);
    }

    #[test]
    fn the_service_of_a_gateway_selects_its_own_pods_alone() {
        let selector = json!({
            "weir.dev/pipeline": "orders", "app.kubernetes.io/component": "gateway",
        });
        assert_eq!(spec(&valid(&gateway("orders", 1)))["selector"], selector);
    }
}
