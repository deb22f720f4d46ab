//! Builds the Ingress, with what its controller needs to be told so that streams last.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule,
    IngressServiceBackend, IngressSpec, IngressTLS, ServiceBackendPort,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weir_crds::names::port;
use weir_crds::v1alpha1::{IngressExposure, IngressTls};

use super::metadata;
use crate::pipeline::validate::ValidatedPipeline;

/// What ingress-nginx is told: it closes a connection that is silent for a minute, and collects responses.
const NGINX: [(&str, &str); 3] = [
    ("nginx.ingress.kubernetes.io/proxy-read-timeout", "3600"),
    ("nginx.ingress.kubernetes.io/proxy-send-timeout", "3600"),
    ("nginx.ingress.kubernetes.io/proxy-buffering", "off"),
];

/// Builds the Ingress.
pub(super) fn build(pipeline: &ValidatedPipeline, ingress: &IngressExposure) -> Ingress {
    let IngressExposure { class_name, host, tls, annotations: wanted } = ingress;
    let mut annotations =
        usual(class_name.as_deref(), pipeline.manifest.spec.endpoints.tls.is_some());
    annotations.extend(wanted.clone());
    let tls = tls.as_ref().map(|IngressTls { secret_name }| {
        vec![IngressTLS { hosts: Some(vec![host.clone()]), secret_name: secret_name.clone() }]
    });
    Ingress {
        metadata: ObjectMeta {
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            ..metadata(pipeline, pipeline.name.clone())
        },
        spec: Some(IngressSpec {
            ingress_class_name: class_name.clone(),
            rules: Some(vec![IngressRule {
                host: Some(host.clone()),
                http: Some(HTTPIngressRuleValue { paths: vec![path(&pipeline.name)] }),
            }]),
            tls,
            ..IngressSpec::default()
        }),
        ..Ingress::default()
    }
}

/// The annotations for ingress-nginx, also where the class is the cluster's default, as nobody else reads
/// them; none for any other class.
fn usual(class: Option<&str>, encrypted: bool) -> BTreeMap<String, String> {
    if !class.is_none_or(|class| class.contains("nginx")) {
        return BTreeMap::new();
    }
    let mut pairs = NGINX.to_vec();
    if encrypted {
        pairs.push(("nginx.ingress.kubernetes.io/backend-protocol", "HTTPS"));
    }
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn path(pipeline: &str) -> HTTPIngressPath {
    HTTPIngressPath {
        path: Some(format!("/{pipeline}")),
        path_type: "Prefix".to_owned(),
        backend: IngressBackend {
            service: Some(IngressServiceBackend {
                name: pipeline.to_owned(),
                port: Some(ServiceBackendPort {
                    number: Some(i32::from(port::PUBLIC)),
                    ..ServiceBackendPort::default()
                }),
            }),
            ..IngressBackend::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pipeline::testing::valid;
    use crate::testing::gateway;

    fn built(ingress: &Value) -> Value {
        let mut pipeline = gateway("orders", 1);
        pipeline.spec.exposure = serde_json::from_value(json!({ "ingress": ingress })).unwrap();
        let valid = valid(&pipeline);
        let entry = valid.exposure.ingress.as_ref().unwrap();
        serde_json::to_value(build(&valid, entry)).unwrap()
    }

    #[test]
    fn an_ingress_leads_the_pipelines_paths_to_its_service() {
        let ingress = built(&json!({
            "className": "nginx", "host": "orders.test", "tls": { "secretName": "cert" },
        }));
        let expected = json!({
            "ingressClassName": "nginx",
            "rules": [{ "host": "orders.test", "http": { "paths": [{
                "path": "/orders",
                "pathType": "Prefix",
                "backend": { "service": { "name": "orders", "port": { "number": 7070 } } },
            }] } }],
            "tls": [{ "hosts": ["orders.test"], "secretName": "cert" }],
        });
        assert_eq!(ingress["spec"], expected);
    }

    #[test]
    fn nginx_is_told_what_it_needs_and_the_manifest_has_the_last_word() {
        let annotations = |class: &str| {
            let ingress = built(&json!({ "className": class, "host": "orders.test" }));
            ingress["metadata"]["annotations"].clone()
        };
        assert_eq!(annotations("nginx")["nginx.ingress.kubernetes.io/proxy-read-timeout"], "3600");
        assert!(annotations("traefik").is_null());
        let key = "nginx.ingress.kubernetes.io/proxy-read-timeout";
        let wanted = built(&json!({
            "host": "orders.test", "annotations": { key: "60", "a.test/b": "c" },
        }));
        let found = &wanted["metadata"]["annotations"];
        assert_eq!((&found[key], &found["a.test/b"]), (&json!("60"), &json!("c")));
        assert_eq!(found["nginx.ingress.kubernetes.io/proxy-buffering"], "off");
    }

    #[test]
    fn a_pipeline_that_is_served_over_tls_is_reached_over_tls() {
        let found = usual(Some("internal-nginx"), true);
        assert_eq!(found["nginx.ingress.kubernetes.io/backend-protocol"], "HTTPS");
        assert!(
            !usual(Some("nginx"), false)
                .contains_key("nginx.ingress.kubernetes.io/backend-protocol")
        );
    }
}
