//! What a manifest grants, in the units of the data plane.

use std::time::Duration;

use weir_crds::v1alpha1::{
    Delivery, Endpoints, Log, Retention as RetentionSpec, SlowConsumer, StorageKind,
    StreamPipelineSpec,
};

use crate::{auth, log::Retention};

/// The settings of a pipeline that may change while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The bounds of the log.
    pub retention: Retention,
    /// Whether the log is in memory only.
    pub in_memory: bool,
    /// The SSE endpoint's heartbeat; `None` where the endpoint is not served.
    pub heartbeat: Option<Duration>,
    /// The WebSocket endpoint's ping interval; `None` where the endpoint is not served.
    pub ping: Option<Duration>,
    /// Whether the log is read by GET.
    pub read: bool,
    /// The size from which on messages to a WebSocket are compressed, where a client can; `None` where
    /// none are.
    pub compression: Option<usize>,
    /// Whether the public port takes events, of those who may publish.
    pub publish: bool,
    /// By what terms subscribers are let in; those who were by others are sent away.
    pub terms: u64,
    /// Whether the public port serves the pipeline over TLS only.
    pub tls: bool,
    /// The size of the largest event of the http source; `None` where there is no such source.
    pub max_event_bytes: Option<usize>,
    /// What becomes of a subscriber behind by more than the next two.
    pub slow_consumer: SlowConsumer,
    /// By what events are told apart where they are conflated.
    pub conflate_key: Option<String>,
    /// The most events that wait for one subscriber.
    pub max_lag_events: u64,
    /// The most bytes of events that wait for one subscriber.
    pub max_lag_bytes: u64,
    /// The most connections.
    pub max_connections: u64,
    /// The most connections of one client's address; `None` where they are not bounded.
    pub max_connections_per_address: Option<u64>,
    /// How many connections one client's address may open a second; `None` where that is not bounded.
    pub max_handshakes_per_address: Option<u32>,
    /// How many frames a client of a WebSocket may send a second.
    pub max_message_rate: u32,
    /// After how long a connection is closed and comes back; `None` where it may stay.
    pub max_connection_age: Option<Duration>,
    /// The time over which connections are closed when the replica stops.
    pub drain: Duration,
}

/// The least that the tail holds, so that subscribers who reconnect are served from memory.
const LEAST_TAIL_BYTES: u64 = 8 * 1024 * 1024;

impl Settings {
    /// The bounds of what stands in memory: all of a memory log; of any other, more than a live
    /// subscriber may be behind by.
    #[must_use]
    pub fn tail(&self) -> Retention {
        if self.in_memory {
            return self.retention;
        }
        let enough = self.max_lag_bytes.saturating_mul(2).max(LEAST_TAIL_BYTES);
        Retention { max_bytes: self.retention.max_bytes.min(enough), ..self.retention }
    }

    /// How long a connection that begins now may stay: from 80 to 100 percent of the age, so that those
    /// who came together don't leave together. `None` where it may stay.
    #[must_use]
    pub fn lifetime(&self) -> Option<Duration> {
        self.max_connection_age.map(|age| age * fastrand::u32(80..=100) / 100)
    }
}

impl From<&StreamPipelineSpec> for Settings {
    fn from(spec: &StreamPipelineSpec) -> Self {
        let StreamPipelineSpec {
            placement: _,
            sources,
            log,
            endpoints,
            auth: _,
            delivery,
            exposure: _,
        } = spec;
        let Log { storage, retention } = log;
        let Endpoints { sse, websocket, publish, read, durable_streams: _, cors: _, tls } =
            endpoints;
        let Delivery {
            slow_consumer,
            conflate_key,
            max_lag,
            max_connections,
            max_connections_per_address,
            max_handshakes_per_address,
            max_connection_age,
            drain,
        } = delivery;
        let http = sources.iter().find_map(|source| source.http.as_ref());
        Self {
            retention: Retention::from(retention),
            in_memory: matches!(storage.kind(), Some(StorageKind::Memory(_))),
            heartbeat: sse.as_ref().map(|sse| sse.heartbeat.get()),
            ping: websocket.as_ref().map(|websocket| websocket.ping.get()),
            read: read.is_some(),
            compression: websocket.as_ref().and_then(|websocket| {
                let compression = websocket.compression.as_ref()?;
                Some(saturate(compression.min_size.bytes()))
            }),
            publish: publish.is_some(),
            terms: auth::terms(spec),
            tls: tls.is_some(),
            max_event_bytes: http.map(|http| saturate(http.max_event_bytes.bytes())),
            slow_consumer: *slow_consumer,
            conflate_key: conflate_key.clone(),
            max_lag_events: u64::try_from(max_lag.events).unwrap_or(0),
            max_lag_bytes: max_lag.bytes.bytes(),
            max_connections: u64::try_from(*max_connections).unwrap_or(0),
            max_connections_per_address: max_connections_per_address
                .map(|limit| u64::try_from(limit).unwrap_or(1)),
            max_handshakes_per_address: max_handshakes_per_address
                .map(|rate| u32::try_from(rate).unwrap_or(1)),
            max_message_rate: websocket.as_ref().map_or(u32::MAX, |websocket| {
                u32::try_from(websocket.max_message_rate).unwrap_or(1)
            }),
            max_connection_age: max_connection_age.as_ref().map(weir_crds::scalar::Duration::get),
            drain: drain.window.get(),
        }
    }
}

impl From<&RetentionSpec> for Retention {
    fn from(spec: &RetentionSpec) -> Self {
        let RetentionSpec { max_age, max_events, max_bytes } = spec;
        Self {
            max_age: max_age.get(),
            max_events: usize::try_from(*max_events).unwrap_or(0),
            max_bytes: max_bytes.bytes(),
        }
    }
}

fn saturate(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
