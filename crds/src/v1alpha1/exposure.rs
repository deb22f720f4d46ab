//! Exposure: how subscribers outside reach the pipeline, and who inside may.

use std::collections::BTreeMap;

#[cfg(feature = "kube")]
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How subscribers reach the pipeline beyond the Service that it always has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[cfg_attr(
    feature = "kube",
    x_kube(validation = Rule::new("!has(self.httpRoute) || !has(self.ingress)").field_path(".ingress").message("must not stand beside httpRoute: set one of them"))
)]
#[serde(rename_all = "camelCase")]
pub struct Exposure {
    /// Of what type the Service is, and what is noted on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceExposure>,
    /// A route of the Gateway API, which ends no stream by its age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_route: Option<HttpRouteExposure>,
    /// An Ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressExposure>,
    /// A NetworkPolicy for the gateway's pods, which lets in nobody but subscribers, the operator and who
    /// scrapes metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<NetworkPolicyExposure>,
}

/// The Service of the pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[cfg_attr(
    feature = "kube",
    x_kube(validation = Rule::new("!has(self.externalTrafficPolicy) || self.type != 'ClusterIP'").field_path(".externalTrafficPolicy").message("has a meaning for the types NodePort and LoadBalancer only: set one of them, or remove it"))
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceExposure {
    /// Who reaches it.
    #[serde(default, rename = "type")]
    pub kind: ServiceType,
    /// Whether subscribers from outside are passed on to any node's pods, or, with their own addresses, to
    /// those of the node that they reach. Limits on one client's address need the latter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<ExternalTrafficPolicy>,
    /// What Gateways and meshes are told that the port speaks. It serves HTTP and WebSocket alike, and most pass both
    /// on where it is called Http; WebSocket is for a Gateway that passes no WebSocket on else.
    #[serde(default)]
    pub app_protocol: AppProtocol,
    /// Annotations, which tell a cloud what its load balancer is to be like.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = { "type": "string", "maxLength": 1024 }))]
    #[cfg_attr(
        feature = "kube",
        x_kube(
            validation = crate::rules::label_keys("self"),
            validation = crate::rules::foreign_keys(),
        )
    )]
    pub annotations: BTreeMap<String, String>,
}

/// What a port is said to speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AppProtocol {
    /// HTTP: `http`, or with TLS `https`.
    #[default]
    Http,
    /// WebSocket, and the HTTP that it begins with: `kubernetes.io/ws`, or with TLS `kubernetes.io/wss`. A Gateway that
    /// has never heard of these refuses the route.
    WebSocket,
}

/// Who reaches a Service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// Pods of the cluster.
    #[default]
    ClusterIP,
    /// Whoever reaches a node, at a port that the cluster chooses.
    NodePort,
    /// Whoever reaches the load balancer that the cluster sets up.
    LoadBalancer,
}

/// Where traffic from outside is passed on to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExternalTrafficPolicy {
    /// To pods of any node.
    Cluster,
    /// To pods of the node that it reached, with the client's own address.
    Local,
}

/// A route of the Gateway API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteExposure {
    /// The Gateways that it is to be attached to.
    #[schemars(length(min = 1, max = 8))]
    pub parent_refs: Vec<ParentRef>,
    /// The host names that it serves; those of the Gateway's listeners where none is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 253)))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::hosts("self")))]
    pub hostnames: Vec<String>,
    /// What subscribers speak with the Gateway, for the URLs in the status.
    #[serde(default)]
    pub scheme: Scheme,
}

/// What subscribers speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Scheme {
    /// HTTP inside TLS.
    #[default]
    Https,
    /// Plain HTTP.
    Http,
}

/// A Gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// Its name.
    #[schemars(length(max = 253))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::name_of("a Gateway")))]
    pub name: String,
    /// Its namespace, where that is not the pipeline's own. The Gateway must let routes of the pipeline's
    /// namespace in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::label()))]
    pub namespace: Option<String>,
    /// One of its listeners; all of them where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::name_of("a listener")))]
    pub section_name: Option<String>,
}

/// An Ingress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct IngressExposure {
    /// The IngressClass; the cluster's default where it is left out. Unless it is one whose name doesn't
    /// contain nginx, the annotations are set by which ingress-nginx lets streams last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::name_of("an IngressClass")))]
    pub class_name: Option<String>,
    /// The host name that it serves.
    #[schemars(length(max = 253))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::hosts("[self]")))]
    pub host: String,
    /// TLS with subscribers. Without it they speak plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<IngressTls>,
    /// Annotations, before which the operator's own give way.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = { "type": "string", "maxLength": 1024 }))]
    #[cfg_attr(
        feature = "kube",
        x_kube(
            validation = crate::rules::label_keys("self"),
            validation = crate::rules::foreign_keys(),
        )
    )]
    pub annotations: BTreeMap<String, String>,
}

/// TLS between subscribers and an Ingress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct IngressTls {
    /// The Secret of the type kubernetes.io/tls that holds the certificate; the controller's own certificate
    /// where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::name_of("a Secret")))]
    pub secret_name: Option<String>,
}

/// Who may reach the gateway's pods. The operator always may.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicyExposure {
    /// Who may subscribe and publish; everybody where none is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub subscribers: Vec<Peer>,
    /// Who may read the metrics; nobody where none is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub scrapers: Vec<Peer>,
}

/// Pods, or addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[cfg_attr(
    feature = "kube",
    x_kube(validation = Rule::new("has(self.cidr) != (has(self.namespace) || (has(self.podLabels) && self.podLabels.size() > 0))").message("set cidr alone, or one or both of namespace and podLabels"))
)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Addresses, such as 10.0.0.0/8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 43))]
    #[cfg_attr(feature = "kube", x_kube(validation = Rule::new("isCIDR(self)").message("must be addresses and their common bits, such as 10.0.0.0/8")))]
    pub cidr: Option<String>,
    /// The pods of this namespace; of the pipeline's own where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::label()))]
    pub namespace: Option<String>,
    /// Labels that the pods must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = { "type": "string", "maxLength": 63 }))]
    #[cfg_attr(
        feature = "kube",
        x_kube(
            validation = crate::rules::label_keys("self"),
            validation = crate::rules::label_values("self.map(k, self[k])"),
        )
    )]
    pub pod_labels: BTreeMap<String, String>,
}
