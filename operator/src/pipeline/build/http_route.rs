//! Builds the HTTPRoute: subscribers outside reach the pipeline through a Gateway, for as long as they like.

use weir_crds::names::port;
use weir_crds::v1alpha1::{HttpRouteExposure, ParentRef};

use super::metadata;
use crate::pipeline::validate::ValidatedPipeline;
use crate::routes::{
    BackendReference, HTTPRoute, HttpPathMatch, HttpRouteMatch, HttpRouteRule, HttpRouteSpec,
    HttpRouteTimeouts, ParentReference,
};

/// Builds the route.
pub(super) fn build(pipeline: &ValidatedPipeline, route: &HttpRouteExposure) -> HTTPRoute {
    let HttpRouteExposure { parent_refs, hostnames, scheme: _ } = route;
    let parent = |ParentRef { name, namespace, section_name }: &ParentRef| ParentReference {
        name: name.clone(),
        namespace: namespace.clone(),
        section_name: section_name.clone(),
    };
    HTTPRoute {
        metadata: metadata(pipeline, pipeline.name.clone()),
        spec: HttpRouteSpec {
            parent_refs: parent_refs.iter().map(parent).collect(),
            hostnames: hostnames.clone(),
            rules: vec![rule(&pipeline.name)],
        },
        status: None,
    }
}

fn rule(pipeline: &str) -> HttpRouteRule {
    let path = HttpPathMatch { kind: "PathPrefix".to_owned(), value: format!("/{pipeline}") };
    HttpRouteRule {
        matches: vec![HttpRouteMatch { path: Some(path) }],
        backend_refs: vec![BackendReference {
            name: pipeline.to_owned(),
            port: Some(i32::from(port::PUBLIC)),
        }],
        // None at all: Envoy ends a response after 15 s where nothing is said.
        timeouts: Some(HttpRouteTimeouts { request: Some("0s".to_owned()) }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pipeline::testing::valid;
    use crate::testing::gateway;

    #[test]
    fn a_route_leads_the_pipelines_paths_to_its_service_without_a_timeout() {
        let mut pipeline = gateway("orders", 1);
        let exposure = json!({ "httpRoute": {
            "parentRefs": [{ "name": "public", "namespace": "infra", "sectionName": "https" }],
            "hostnames": ["orders.test"],
        } });
        pipeline.spec.exposure = serde_json::from_value(exposure).unwrap();
        let valid = valid(&pipeline);
        let route = build(&valid, valid.exposure.http_route.as_ref().unwrap());
        let expected = json!({
            "parentRefs": [{ "name": "public", "namespace": "infra", "sectionName": "https" }],
            "hostnames": ["orders.test"],
            "rules": [{
                "matches": [{ "path": { "type": "PathPrefix", "value": "/orders" } }],
                "backendRefs": [{ "name": "orders", "port": 7070 }],
                "timeouts": { "request": "0s" },
            }],
        });
        assert_eq!(serde_json::to_value(&route.spec).unwrap(), expected);
        let route = serde_json::to_value(&route).unwrap();
        assert_eq!(route["apiVersion"], crate::routes::API_VERSION);
        assert!(route.get("status").is_none(), "{route}");
    }
}
