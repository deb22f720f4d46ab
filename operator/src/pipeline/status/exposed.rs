//! The condition Exposed: subscribers outside the cluster reach the pipeline.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use weir_crds::v1alpha1::{Exposure, HttpRouteExposure, IngressExposure, ServiceType};

use super::{condition, urls};
use crate::conditions::{Finding, Status};
use crate::pipeline::Outcome;
use crate::pipeline::observe::Observed;
use crate::routes::{API_VERSION, HTTPRoute, RouteParentStatus};

type Found = (Status, &'static str, String);

/// Finds the condition; `None` where nobody outside is to reach it.
pub(super) fn find(observed: &Observed, outcome: &Outcome) -> Option<Finding> {
    let exposure = observed.pipeline.spec.exposure.as_ref()?;
    let Exposure { service, http_route, ingress, network_policy: _ } = exposure;
    let missed = if observed.exposes { Vec::new() } else { asked(exposure) };
    let balanced = service.as_ref().is_some_and(|found| found.kind == ServiceType::LoadBalancer);
    let found = match (http_route, ingress) {
        _ if !missed.is_empty() => (Status::False, "ExposureOff", off(&missed)),
        (Some(_), _) if !observed.knows_routes => unknown_kind(),
        (Some(route), _) => routed(observed, route),
        (None, Some(ingress)) => admitted(observed, ingress),
        (None, None) if balanced => load_balanced(observed),
        (None, None) => return None,
    };
    let (status, reason, message) = match outcome {
        Outcome::Applied(_) => found,
        Outcome::Rejected(_) | Outcome::Failed(_) => {
            let message = "the pipeline's objects are not all written: see Ready";
            (Status::Unknown, "NotApplied", message.to_owned())
        }
    };
    Some(Finding { type_: condition::EXPOSED, status, reason, message })
}

/// Which fields ask for what an operator can be started without.
fn asked(exposure: &Exposure) -> Vec<&'static str> {
    let Exposure { service: _, http_route, ingress, network_policy } = exposure;
    let asked = [
        (http_route.is_some(), "httpRoute"),
        (ingress.is_some(), "ingress"),
        (network_policy.is_some(), "networkPolicy"),
    ];
    asked.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect()
}

/// What is said where this operator was started without what these fields ask for.
pub(super) fn off(asked: &[&str]) -> String {
    format!(
        "this operator makes no Ingresses, HTTPRoutes and NetworkPolicies, and leaves those alone that there are: \
         remove spec.exposure.{}, or install the chart with exposure.enabled=true",
        asked.join(" and spec.exposure.")
    )
}

fn unknown_kind() -> Found {
    let message = format!(
        "the cluster does not know HTTPRoute ({API_VERSION}): install the Gateway API's definitions and a \
         controller for them, which is noticed within a minute; or use spec.exposure.ingress instead"
    );
    (Status::False, "GatewayApiMissing", message)
}

/// What the Gateways have made of the route.
fn routed(observed: &Observed, route: &HttpRouteExposure) -> Found {
    let found = observed.existing.http_route.as_ref();
    let parents = found.map(parents).unwrap_or_default();
    let refusals: Vec<String> = parents.iter().flat_map(|parent| refusals(parent)).collect();
    if !refusals.is_empty() {
        return (Status::False, "RouteRefused", refusals.join("; "));
    }
    let missing: Vec<&str> = route.parent_refs.iter().map(|parent| parent.name.as_str()).collect();
    let accepting = parents.iter().filter(|parent| accepts(parent));
    if accepting.count() < missing.len() {
        let message = format!(
            "not every Gateway has accepted the route yet: if that lasts, see whether {} exists and has a \
             controller",
            missing.join(", ")
        );
        return (Status::Unknown, "RoutePending", message);
    }
    (Status::True, "RouteAccepted", "every Gateway has accepted the route".to_owned())
}

/// The Gateways that have looked at the route as it is now.
fn parents(route: &HTTPRoute) -> Vec<&RouteParentStatus> {
    let parents = route.status.iter().flat_map(|status| &status.parents);
    let current = |condition: &Condition| {
        condition.observed_generation.is_none_or(|seen| Some(seen) >= route.metadata.generation)
    };
    parents
        .filter(|parent| !parent.conditions.is_empty() && parent.conditions.iter().all(current))
        .collect()
}

/// Whether a Gateway has accepted the route, and found what it leads to as far as it says.
fn accepts(parent: &RouteParentStatus) -> bool {
    let says = |type_: &str| {
        let found = parent.conditions.iter().find(|condition| condition.type_ == type_);
        found.map(|condition| condition.status.as_str())
    };
    says("Accepted") == Some("True") && says("ResolvedRefs").is_none_or(|status| status == "True")
}

/// What a Gateway has against the route.
fn refusals(parent: &RouteParentStatus) -> Vec<String> {
    let against = parent.conditions.iter().filter(|condition| {
        ["Accepted", "ResolvedRefs"].contains(&condition.type_.as_str())
            && condition.status == "False"
    });
    let words = |condition: &Condition| {
        format!("Gateway {}: {}: {}", parent.parent_ref.name, condition.reason, condition.message)
    };
    against.map(words).collect()
}

/// Whether a controller has taken the Ingress.
fn admitted(observed: &Observed, ingress: &IngressExposure) -> Found {
    let found = observed.existing.ingress.as_ref().and_then(|found| found.status.as_ref());
    let balancer = found.and_then(|status| status.load_balancer.as_ref());
    let entries = balancer.and_then(|balancer| balancer.ingress.as_ref());
    if entries.is_some_and(|entries| !entries.is_empty()) {
        return (Status::True, "IngressAdmitted", "a controller has taken the Ingress".to_owned());
    }
    let class = match &ingress.class_name {
        Some(class) => format!("IngressClass {class}"),
        None => "the default IngressClass".to_owned(),
    };
    let message = format!(
        "no controller has given the Ingress an address yet: if that lasts, see whether {class} exists and has \
         a controller that says where it is"
    );
    (Status::Unknown, "IngressPending", message)
}

/// Whether the Service has its load balancer.
fn load_balanced(observed: &Observed) -> Found {
    match urls::load_balancer(observed) {
        Some(address) => {
            (Status::True, "LoadBalancerReady", format!("the load balancer is at {address}"))
        }
        None => {
            let name = observed.pipeline.name_any();
            let message = format!(
                "the Service has no load balancer yet: if that lasts, `kubectl describe service {name}` says \
                 why; a cluster without a provider of load balancers never makes one"
            );
            (Status::Unknown, "LoadBalancerPending", message)
        }
    }
}
