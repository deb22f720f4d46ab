//! Endpoints: how subscribers read a stream, and who may publish into it.

#[cfg(feature = "kube")]
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scalar::{Duration, Quantity};

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
    /// Reading the log by GET from /{pipeline}/events: a page of events by cursor or by time, at once or as
    /// soon as there is one. Off unless present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Read>,
    /// Streams of their own at /{pipeline}/streams/{path}, which clients create, append to and read by the
    /// Durable Streams protocol. Off unless present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durable_streams: Option<DurableStreams>,
    /// TLS on the public port. Where it is present, the pipeline is served over TLS only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Which pages of other origins may use the endpoints. A browser keeps all others out, and a WebSocket
    /// of one that is not named is refused; where this is absent, WebSockets of all pages are let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
}

impl Default for Endpoints {
    fn default() -> Self {
        Self {
            sse: Some(Sse::default()),
            websocket: Some(WebSocket::default()),
            publish: None,
            read: None,
            durable_streams: None,
            tls: None,
            cors: None,
        }
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
    /// Compression of messages to clients that offer it (RFC 7692). Off unless present. An event is
    /// compressed once for all its subscribers. Leave it off where one event holds both a secret and
    /// what a stranger chose: the compressed size tells about the one by the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// The most frames a second that one client may send, pings among them; a second's worth may come at
    /// once. One that sends more is closed with 1008, or, where it speaks weir.v1, held back.
    #[serde(default = "default_max_message_rate")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_message_rate: i32,
}

impl Default for WebSocket {
    fn default() -> Self {
        Self {
            ping: default_ping(),
            compression: None,
            max_message_rate: default_max_message_rate(),
        }
    }
}

/// More than a client has reason to send, and less than what takes the server's time from others.
const fn default_max_message_rate() -> i32 {
    1_000
}

/// Compression of messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Compression {
    /// The size from which on a message is compressed: below it, there is little to gain.
    #[serde(default = "default_min_size")]
    pub min_size: Quantity,
}

/// Each message is compressed by itself, which pays from about this size on.
fn default_min_size() -> Quantity {
    Quantity::plain(512)
}

/// Well under the 60 seconds after which common load balancers close an idle connection.
fn default_ping() -> Duration {
    Duration::seconds(25)
}

/// Publishing on the public port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Publish {
    /// Whether whoever reaches the port may publish. Otherwise it takes a token that auth.jwt.publish
    /// lets in.
    #[serde(default)]
    pub anonymous: bool,
}

/// Cross-origin resource sharing: which pages of other origins a browser lets read the answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[cfg_attr(
    feature = "kube",
    x_kube(validation = Rule::new("!self.allowedOrigins.exists(o, o == '*') || (self.allowedOrigins.size() == 1 && !self.allowCredentials)").field_path(".allowedOrigins").message("'*' must stand alone, and without allowCredentials: name the origins instead"))
)]
#[serde(rename_all = "camelCase")]
pub struct Cors {
    /// The origins, such as https://shop.example.org; or '*' alone for all.
    #[schemars(length(min = 1, max = 32), inner(length(max = 256)))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::origins("o == '*' || o")))]
    pub allowed_origins: Vec<String>,
    /// Whether the pages may send cookies along.
    #[serde(default)]
    pub allow_credentials: bool,
    /// How long a browser may remember what is allowed.
    #[serde(default = "default_max_age")]
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = crate::rules::within("0s", "24h"))
    )]
    pub max_age: Duration,
}

/// What browsers remember at most, or nearly.
fn default_max_age() -> Duration {
    Duration::seconds(600)
}

/// Reading the log by GET.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Read {}

/// Durable streams. Each replica has its own, whatever the log: in memory, where they end with the data
/// plane, and beside a log on a disk on that disk, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DurableStreams {
    /// Whether whoever reaches the port may create, append to and delete streams. Otherwise it takes a token
    /// that auth.jwt.publish lets in.
    #[serde(default)]
    pub anonymous: bool,
    /// The most streams.
    #[serde(default = "default_max_streams")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_streams: i32,
    /// The most bytes that one stream holds, with what it inherits where it is a fork.
    #[serde(default = "default_max_stream_bytes")]
    pub max_stream_bytes: Quantity,
    /// The most bytes that all streams together hold.
    #[serde(default = "default_max_bytes")]
    pub max_bytes: Quantity,
    /// How long a stream stays that is neither read nor written, where its creator doesn't say.
    #[serde(default = "default_ttl")]
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = crate::rules::within("1s", "8760h"))
    )]
    pub default_ttl: Duration,
    /// How long a long-poll waits for something new. Less than the shortest patience of the proxies in
    /// between.
    #[serde(default = "default_long_poll")]
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = crate::rules::within("1s", "5m"))
    )]
    pub long_poll: Duration,
}

const fn default_max_streams() -> i32 {
    1_000
}

fn default_max_stream_bytes() -> Quantity {
    Quantity::mebibytes(8)
}

/// As much as a log holds.
fn default_max_bytes() -> Quantity {
    Quantity::mebibytes(64)
}

fn default_ttl() -> Duration {
    Duration::seconds(24 * 3_600)
}

/// Half of the 60 seconds after which common load balancers give up.
fn default_long_poll() -> Duration {
    Duration::seconds(30)
}

/// TLS on the public port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// The name of a Secret of the type kubernetes.io/tls in this namespace. It may be renewed at any
    /// time.
    #[cfg_attr(
        feature = "kube",
        schemars(length(max = 253)),
        x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')").message("must be the name of a Secret: lower-case letters, digits, hyphens and dots"))
    )]
    pub secret_name: String,
}
