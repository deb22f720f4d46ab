//! Delivery: what each subscriber is granted, and what becomes of one that falls behind.

#[cfg(feature = "kube")]
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scalar::{Duration, Quantity};

/// The terms of delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[cfg_attr(
    feature = "kube",
    x_kube(validation = Rule::new("!has(self.conflateKey) || self.slowConsumer == 'Conflate'").field_path(".conflateKey").message("has a meaning only where slowConsumer is Conflate: set that, or remove conflateKey"))
)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// What becomes of a subscriber that falls behind by more than maxLag.
    #[serde(default)]
    pub slow_consumer: SlowConsumer,
    /// What makes two events stand for the same thing, of which only the newest matters to a subscriber
    /// that is behind: a CEL expression over the event, such as event.data.sensor. By default it is the
    /// event's subject, or, where it has none, its source and type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub conflate_key: Option<String>,
    /// How far a subscriber may fall behind before slowConsumer says what follows.
    #[serde(default)]
    pub max_lag: MaxLag,
    /// The most connections that one replica holds for this pipeline.
    #[serde(default = "default_max_connections")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: i32,
    /// The most connections that one client's address, or the /64 of an IPv6 address, holds on one replica
    /// for this pipeline. The subscriptions on one socket count as one. Without it, an address may have as
    /// many as there are: leave it out where clients come through a proxy or share an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections_per_address: Option<i32>,
    /// The most connections that one client's address, or the /64 of an IPv6 address, opens a second on one
    /// replica; what is more is closed before its TLS handshake. Where a replica serves several pipelines,
    /// the laxest of them holds. Without it, that is not bounded: leave it out where clients come through a
    /// proxy or share an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_handshakes_per_address: Option<i32>,
    /// After about this long a connection is closed, with the cursor to come back with: so that
    /// connections spread over new replicas, and leave before a load balancer cuts them. Each lives for
    /// 80 to 100 percent of it. Without it, connections stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = crate::rules::within("10s", "24h"))
    )]
    pub max_connection_age: Option<Duration>,
    /// How subscribers are sent away when a replica stops.
    #[serde(default)]
    pub drain: Drain,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            slow_consumer: SlowConsumer::default(),
            conflate_key: None,
            max_lag: MaxLag::default(),
            max_connections: default_max_connections(),
            max_connections_per_address: None,
            max_handshakes_per_address: None,
            max_connection_age: None,
            drain: Drain::default(),
        }
    }
}

const fn default_max_connections() -> i32 {
    10_000
}

/// What becomes of a subscriber that doesn't keep up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SlowConsumer {
    /// It is disconnected, and resumes where it was.
    #[default]
    Disconnect,
    /// It gets only the newest event of each key of what it is behind by.
    Conflate,
    /// It skips the oldest of what it is behind by, and is told so.
    DropOldest,
    /// Publishers wait for it.
    Block,
}

/// How far a subscriber may fall behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaxLag {
    /// The most events that wait for one subscriber.
    #[serde(default = "default_max_lag_events")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub events: i32,
    /// The most bytes of events that wait for one subscriber.
    #[serde(default = "default_max_lag_bytes")]
    pub bytes: Quantity,
}

impl Default for MaxLag {
    fn default() -> Self {
        Self { events: default_max_lag_events(), bytes: default_max_lag_bytes() }
    }
}

const fn default_max_lag_events() -> i32 {
    10_000
}

fn default_max_lag_bytes() -> Quantity {
    Quantity::mebibytes(4)
}

/// How subscribers are sent away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// The time over which the connections are closed, one after the other, so that the reconnecting
    /// subscribers don't arrive elsewhere all at once.
    #[serde(default = "default_window")]
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = crate::rules::within("0s", "10m"))
    )]
    pub window: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { window: default_window() }
    }
}

/// Leaves a third of Kubernetes' default grace period of 30 seconds to the application.
fn default_window() -> Duration {
    Duration::seconds(20)
}
