//! Builds the NetworkPolicy: who may reach a gateway's pods, and at which port.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use weir_crds::names::port;
use weir_crds::v1alpha1::{NetworkPolicyExposure, Peer};

use super::metadata;
use crate::labels;
use crate::pipeline::validate::ValidatedPipeline;

/// The label that the API server itself gives each namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Builds the policy. The kubelet's probes need no rule: what comes from a pod's own node is let in.
pub(super) fn build(pipeline: &ValidatedPipeline, policy: &NetworkPolicyExposure) -> NetworkPolicy {
    let NetworkPolicyExposure { subscribers, scrapers } = policy;
    // By its namespace alone: what labels the operator's pods have, its installation chooses.
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(namespace(&pipeline.operator_namespace)),
        ..NetworkPolicyPeer::default()
    };
    let readers = std::iter::once(operator).chain(scrapers.iter().map(peer)).collect();
    let subscribers: Vec<_> = subscribers.iter().map(peer).collect();
    NetworkPolicy {
        metadata: metadata(pipeline, pipeline.name.clone()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(matching(labels::of_gateway(&pipeline.name))),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![
                rule(port::PUBLIC, Some(subscribers).filter(|peers| !peers.is_empty())),
                rule(port::ADMIN, Some(readers)),
            ]),
            ..NetworkPolicySpec::default()
        }),
    }
}

/// Lets some in at a port; everybody where nobody is named.
fn rule(port: u16, from: Option<Vec<NetworkPolicyPeer>>) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from,
        ports: Some(vec![NetworkPolicyPort {
            port: Some(IntOrString::Int(i32::from(port))),
            protocol: Some("TCP".to_owned()),
            ..NetworkPolicyPort::default()
        }]),
    }
}

fn peer(Peer { cidr, namespace: home, pod_labels }: &Peer) -> NetworkPolicyPeer {
    let pods = Some(pod_labels).filter(|labels| !labels.is_empty());
    NetworkPolicyPeer {
        ip_block: cidr.as_ref().map(|cidr| IPBlock { cidr: cidr.clone(), except: None }),
        namespace_selector: home.as_deref().map(namespace),
        pod_selector: pods.map(|labels| matching(labels.clone())),
    }
}

fn namespace(name: &str) -> LabelSelector {
    matching(BTreeMap::from([(NAMESPACE_NAME.to_owned(), name.to_owned())]))
}

fn matching(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pipeline::testing::valid;
    use crate::testing::gateway;

    fn rules(policy: &Value) -> Value {
        let mut pipeline = gateway("orders", 1);
        pipeline.spec.exposure =
            serde_json::from_value(json!({ "networkPolicy": policy })).unwrap();
        let valid = valid(&pipeline);
        let policy = build(&valid, valid.exposure.network_policy.as_ref().unwrap());
        let spec = serde_json::to_value(policy.spec).unwrap();
        assert_eq!(spec["policyTypes"], json!(["Ingress"]));
        assert_eq!(spec["podSelector"]["matchLabels"]["weir.dev/pipeline"], "orders");
        spec["ingress"].clone()
    }

    #[test]
    fn everybody_may_subscribe_and_only_the_operator_may_read_what_was_counted() {
        let port = |port: u16| json!([{ "port": port, "protocol": "TCP" }]);
        let operator = json!({ "namespaceSelector": {
            "matchLabels": { "kubernetes.io/metadata.name": "weir-system" },
        } });
        let expected =
            json!([{ "ports": port(7070) }, { "from": [operator], "ports": port(7071) }]);
        assert_eq!(rules(&json!({})), expected);
    }

    #[test]
    fn whoever_is_named_is_let_in_and_nobody_else() {
        let rules = rules(&json!({
            "subscribers": [{ "cidr": "10.0.0.0/8" }, { "podLabels": { "app": "web" } }],
            "scrapers": [{ "namespace": "monitoring", "podLabels": { "app": "prometheus" } }],
        }));
        let subscribers = json!([
            { "ipBlock": { "cidr": "10.0.0.0/8" } },
            { "podSelector": { "matchLabels": { "app": "web" } } },
        ]);
        assert_eq!(rules[0]["from"], subscribers);
        let scraper = json!({
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "monitoring" } },
            "podSelector": { "matchLabels": { "app": "prometheus" } },
        });
        assert_eq!(rules[1]["from"][1], scraper);
        assert_eq!(rules[1]["from"].as_array().unwrap().len(), 2);
    }
}
