//! The URLs at which a pipeline is found: from outside where it is exposed under a known name, else from
//! inside the cluster.

use kube::ResourceExt;
use weir_crds::names::port;
use weir_crds::v1alpha1::{
    EndpointStatus, Endpoints, Exposure, HttpRouteExposure, IngressExposure, Scheme, ServiceType,
    StreamPipeline,
};

use crate::pipeline::namespace;
use crate::pipeline::observe::Observed;

/// The URLs.
pub(super) fn of(observed: &Observed) -> EndpointStatus {
    let pipeline = &observed.pipeline;
    let Endpoints { sse, websocket, publish, read: _, durable_streams: _, cors: _, tls } =
        &pipeline.spec.endpoints;
    let name = pipeline.name_any();
    let (encrypted, host) = outside(observed).unwrap_or_else(|| (tls.is_some(), inside(pipeline)));
    let s = if encrypted { "s" } else { "" };
    EndpointStatus {
        sse: sse.as_ref().map(|_| format!("http{s}://{host}/{name}/sse")),
        websocket: websocket.as_ref().map(|_| format!("ws{s}://{host}/{name}/ws")),
        publish: publish.as_ref().map(|_| format!("http{s}://{host}/{name}/events")),
    }
}

fn inside(pipeline: &StreamPipeline) -> String {
    format!("{}.{}.svc:{}", pipeline.name_any(), namespace(pipeline), port::PUBLIC)
}

/// Whether TLS is spoken outside, and with whom.
fn outside(observed: &Observed) -> Option<(bool, String)> {
    let Exposure { service, http_route, ingress, network_policy: _ } =
        observed.pipeline.spec.exposure.as_ref()?;
    if let Some(HttpRouteExposure { parent_refs: _, hostnames, scheme }) = http_route
        && observed.exposes
        && let Some(host) = hostnames.iter().find(|host| is_one(host))
    {
        return Some((*scheme == Scheme::Https, host.clone()));
    }
    if let Some(IngressExposure { class_name: _, host, tls, annotations: _ }) = ingress
        && observed.exposes
        && is_one(host)
    {
        return Some((tls.is_some(), host.clone()));
    }
    let balanced = service.as_ref().is_some_and(|found| found.kind == ServiceType::LoadBalancer);
    let address = balanced.then(|| load_balancer(observed)).flatten()?;
    let encrypted = observed.pipeline.spec.endpoints.tls.is_some();
    Some((encrypted, format!("{address}:{}", port::PUBLIC)))
}

/// Whether it is one host name, and no wildcard.
fn is_one(host: &str) -> bool {
    !host.starts_with('*')
}

/// The address of the Service's load balancer, once it has one.
pub(super) fn load_balancer(observed: &Observed) -> Option<String> {
    let status = observed.existing.service.as_ref()?.status.as_ref()?;
    let entry = status.load_balancer.as_ref()?.ingress.as_ref()?.first()?;
    entry.hostname.clone().or_else(|| {
        let ip = entry.ip.as_ref()?;
        Some(if ip.contains(':') { format!("[{ip}]") } else { ip.clone() })
    })
}
