//! Checks how a pipeline is exposed.

use std::net::IpAddr;

use super::{Violations, label::is_dns_subdomain};
use crate::v1alpha1::{
    Exposure, HttpRouteExposure, IngressExposure, IngressTls, NetworkPolicyExposure, ParentRef,
    Peer, ServiceExposure, ServiceType, StreamPipelineSpec,
};

pub(super) fn check_exposure(
    found: &mut Violations,
    exposure: &Exposure,
    spec: &StreamPipelineSpec,
) {
    let Exposure { service, http_route, ingress, network_policy } = exposure;
    found.require(
        http_route.is_none() || ingress.is_none(),
        "spec.exposure.ingress",
        "must not stand beside httpRoute: set one of them",
    );
    if let Some(service) = service {
        check_service(found, service);
    }
    if let Some(route) = http_route {
        check_route(found, route);
    }
    if let Some(ingress) = ingress {
        check_ingress(found, ingress);
    }
    if let Some(policy) = network_policy {
        found.require(
            spec.placement.gateway.is_some(),
            "spec.exposure.networkPolicy",
            "needs placement.gateway: of an application's pods it would close the application's own ports, \
             too",
        );
        check_policy(found, policy);
    }
}

fn check_service(found: &mut Violations, service: &ServiceExposure) {
    let ServiceExposure { kind, external_traffic_policy, app_protocol: _, annotations } = service;
    found.require(
        external_traffic_policy.is_none() || *kind != ServiceType::ClusterIP,
        "spec.exposure.service.externalTrafficPolicy",
        "has a meaning for the types NodePort and LoadBalancer only: set one of them, or remove it",
    );
    found.annotations("spec.exposure.service.annotations", annotations, 32);
}

fn check_route(found: &mut Violations, route: &HttpRouteExposure) {
    let HttpRouteExposure { parent_refs, hostnames, scheme: _ } = route;
    let field = "spec.exposure.httpRoute";
    let count = parent_refs.len();
    found.require(
        (1..=8).contains(&count),
        format!("{field}.parentRefs"),
        format!("must have 1 to 8 items, not {count}"),
    );
    for (index, parent) in parent_refs.iter().enumerate() {
        let ParentRef { name, namespace, section_name } = parent;
        let field = format!("{field}.parentRefs[{index}]");
        found.object_name(format!("{field}.name"), Some(name), "a Gateway");
        if let Some(namespace) = namespace {
            found.name(&format!("{field}.namespace"), namespace, std::iter::empty::<&str>());
        }
        found.object_name(format!("{field}.sectionName"), section_name.as_deref(), "a listener");
    }
    found.count(format!("{field}.hostnames"), hostnames.len(), 16);
    for host in hostnames {
        check_host(found, &format!("{field}.hostnames"), host);
    }
}

fn check_ingress(found: &mut Violations, ingress: &IngressExposure) {
    let IngressExposure { class_name, host, tls, annotations } = ingress;
    let field = "spec.exposure.ingress";
    found.object_name(format!("{field}.className"), class_name.as_deref(), "an IngressClass");
    check_host(found, &format!("{field}.host"), host);
    if let Some(IngressTls { secret_name }) = tls {
        found.object_name(format!("{field}.tls.secretName"), secret_name.as_deref(), "a Secret");
    }
    found.annotations(&format!("{field}.annotations"), annotations, 32);
}

fn check_host(found: &mut Violations, field: &str, host: &str) {
    found.require(
        is_dns_subdomain(host.strip_prefix("*.").unwrap_or(host)) && host.len() <= 253,
        field,
        "must be a host name in lower case, such as orders.example.org or *.example.org",
    );
}

fn check_policy(found: &mut Violations, policy: &NetworkPolicyExposure) {
    let NetworkPolicyExposure { subscribers, scrapers } = policy;
    for (name, peers) in [("subscribers", subscribers), ("scrapers", scrapers)] {
        let field = format!("spec.exposure.networkPolicy.{name}");
        found.count(&field, peers.len(), 16);
        for (index, peer) in peers.iter().enumerate() {
            check_peer(found, &format!("{field}[{index}]"), peer);
        }
    }
}

fn check_peer(found: &mut Violations, field: &str, peer: &Peer) {
    let Peer { cidr, namespace, pod_labels } = peer;
    found.require(
        cidr.is_some() != (namespace.is_some() || !pod_labels.is_empty()),
        field,
        "set cidr alone, or one or both of namespace and podLabels",
    );
    found.require(
        cidr.as_deref().is_none_or(is_cidr),
        format!("{field}.cidr"),
        "must be addresses and their common bits, such as 10.0.0.0/8",
    );
    if let Some(namespace) = namespace {
        found.name(&format!("{field}.namespace"), namespace, std::iter::empty::<&str>());
    }
    found.labels(&format!("{field}.podLabels"), pod_labels, 16);
}

/// Whether a text is an address and a number of bits, as CEL's `isCIDR` has it.
fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let most = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    let plain = bits.bytes().all(|b| b.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
    plain && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cidr_is_an_address_and_as_many_bits_as_it_has_at_most() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "fd00::/8", "::/0", "10.1.2.3/32"] {
            assert!(is_cidr(text), "{text}");
        }
        for text in
            ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/08", "a/1", "1.1.1.1/"]
        {
            assert!(!is_cidr(text), "{text}");
        }
    }
}
