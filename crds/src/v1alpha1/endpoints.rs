//! Endpoints: how subscribers read a stream, and who may publish into it.

#[cfg(feature = "kube")]
use kube::KubeSchema;
#[cfg(not(feature = "kube"))]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scalar::Duration;

/// The endpoints of a pipeline on the public port. One that is absent is not served; where the whole
/// field is absent, SSE and WebSocket are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[cfg_attr(
    feature = "kube",
    x_kube(validation = Rule::new("has(self.sse) || has(self.websocket)").message("set at least one of sse and websocket, or nobody could read the stream"))
)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// Server-Sent Events at /{pipeline}/sse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sse: Option<Sse>,
    /// WebSocket at /{pipeline}/ws.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub websocket: Option<WebSocket>,
    /// Publishing by POST to /{pipeline}/events on the public port. Off unless present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<Publish>,
}

impl Default for Endpoints {
    fn default() -> Self {
        Self { sse: Some(Sse::default()), websocket: Some(WebSocket::default()), publish: None }
    }
}

/// Server-Sent Events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Sse {
    /// After this long without an event, a comment keeps proxies from closing the connection.
    #[serde(default = "default_heartbeat")]
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = crate::rules::within("1s", "5m"))
    )]
    pub heartbeat: Duration,
}

impl Default for Sse {
    fn default() -> Self {
        Self { heartbeat: default_heartbeat() }
    }
}

/// The HTML standard suggests a comment about every 15 seconds.
fn default_heartbeat() -> Duration {
    Duration::seconds(15)
}

/// WebSocket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WebSocket {
    /// How often an idle connection is sent a ping; one that leaves it unanswered for another such
    /// interval is closed.
    #[serde(default = "default_ping")]
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = crate::rules::within("1s", "5m"))
    )]
    pub ping: Duration,
}

impl Default for WebSocket {
    fn default() -> Self {
        Self { ping: default_ping() }
    }
}

/// Well under the 60 seconds after which common load balancers close an idle connection.
fn default_ping() -> Duration {
    Duration::seconds(25)
}

/// Publishing on the public port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Publish {
    /// Whether whoever reaches the port may publish. Must be true: there is no other way yet, and
    /// opening a stream to everybody should be written down.
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = Rule::new("self").message("must be true: remove endpoints.publish to close the endpoint"))
    )]
    pub anonymous: bool,
}
