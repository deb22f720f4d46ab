//! HTTPRoute of the Gateway API, as far as it is written and read here; and whether the cluster knows it.

use std::time::Duration;

use kube::{Client, CustomResource};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The group and version in which HTTPRoute is stable.
pub const API_VERSION: &str = "gateway.networking.k8s.io/v1";

/// What a route asks for.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "HTTPRoute",
    plural = "httproutes",
    namespaced,
    status = "HttpRouteStatus",
    doc = "A route of the Gateway API, as far as it is written and read here.",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteSpec {
    /// The Gateways that it is attached to.
    #[serde(default)]
    pub parent_refs: Vec<ParentReference>,
    /// The host names that it serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// What becomes of which requests.
    #[serde(default)]
    pub rules: Vec<HttpRouteRule>,
}

/// A Gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    /// Its name.
    pub name: String,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// What becomes of some requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteRule {
    /// Which requests.
    #[serde(default)]
    pub matches: Vec<HttpRouteMatch>,
    /// Where they go.
    #[serde(default)]
    pub backend_refs: Vec<BackendReference>,
    /// How long they may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<HttpRouteTimeouts>,
}

/// Which requests a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteMatch {
    /// Their path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<HttpPathMatch>,
}

/// A path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpPathMatch {
    /// How it is compared.
    #[serde(rename = "type")]
    pub kind: String,
    /// What with.
    pub value: String,
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendReference {
    /// Its name.
    pub name: String,
    /// Its port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
}

/// How long requests may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteTimeouts {
    /// From the request to the end of its response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

/// What the Gateways make of a route.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HttpRouteStatus {
    /// Each Gateway that has looked at it.
    #[serde(default)]
    pub parents: Vec<RouteParentStatus>,
}

/// What one Gateway makes of a route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteParentStatus {
    /// The Gateway.
    pub parent_ref: ParentReference,
    /// Whether it accepts the route, and finds what that leads to.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// Whether the cluster knows HTTPRoute, as it was when it was last asked.
#[derive(Debug, Default)]
pub struct Routes(Mutex<Option<(Instant, bool)>>);

/// Who installs the definitions waits for the next look.
const ABSENT_FOR: Duration = Duration::from_secs(20);
/// They are hardly ever removed.
const PRESENT_FOR: Duration = Duration::from_secs(300);

impl Routes {
    /// Whether the cluster knows HTTPRoute. All who ask at the same time wait for one answer.
    ///
    /// # Errors
    ///
    /// Fails where the API server is not reached, or refuses to say.
    pub async fn are_known(&self, client: &Client) -> Result<bool, kube::Error> {
        let mut answer = self.0.lock().await;
        if let Some((asked, known)) = *answer
            && asked.elapsed() < if known { PRESENT_FOR } else { ABSENT_FOR }
        {
            return Ok(known);
        }
        let known = match client.list_api_group_resources(API_VERSION).await {
            Ok(list) => list.resources.iter().any(|resource| resource.name == "httproutes"),
            Err(kube::Error::Api(status)) if status.code == 404 => false,
            Err(error) => return Err(error),
        };
        *answer = Some((Instant::now(), known));
        Ok(known)
    }

    /// Takes note that the kind was not found after all: its definition was removed.
    pub async fn forget(&self) {
        *self.0.lock().await = None;
    }
}
