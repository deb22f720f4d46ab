//! Checks a StreamPipeline.

use super::{
    Violation, Violations,
    auth::{check_auth, check_cors},
    exposure::check_exposure,
    gateway::{check_gateway, check_resources},
    label::{is_dns_label, is_dns_subdomain},
    shared_log::{check_nats, check_redis},
};
use crate::v1alpha1::{
    Delivery, DiskStorage, DurableStreams, Endpoints, Gateway, LabelSelector,
    LabelSelectorRequirement, Log, Operator, Placement, PlacementKind, Retention, Sidecar,
    SlowConsumer, Source, SourceKind, Storage, StorageKind, StreamPipelineSpec, WebSocket,
};

/// The least room on a disk: a few of the largest requests.
const LEAST_DISK_BYTES: u64 = 16 << 20;

/// Every rule that the pipeline `name` with this `spec` breaks; none where it is valid.
#[must_use]
pub fn pipeline(name: &str, spec: &StreamPipelineSpec) -> Vec<Violation> {
    let StreamPipelineSpec { placement, sources, log, endpoints, auth, delivery, exposure } = spec;
    let mut found = Violations::default();
    found.require(
        is_dns_label(name) && name.len() <= 52 && name.starts_with(|c: char| c.is_ascii_lowercase()),
        "metadata.name",
        "must be a DNS label of at most 52 characters that starts with a letter, because it names a \
         Service and stands in every URL",
    );
    check_placement(&mut found, placement, spec);
    check_sources(&mut found, sources);
    check_log(&mut found, log, sources);
    check_endpoints(&mut found, endpoints);
    if let Some(auth) = auth {
        check_auth(&mut found, auth, placement);
    }
    check_delivery(&mut found, delivery);
    if let Some(exposure) = exposure {
        check_exposure(&mut found, exposure, spec);
    }
    check_publishing(&mut found, spec);
    check_replicas(&mut found, spec);
    check_room_for_streams(&mut found, spec);
    found.0
}

fn check_placement(found: &mut Violations, placement: &Placement, spec: &StreamPipelineSpec) {
    match placement.kind() {
        Some(PlacementKind::Sidecar(Sidecar { selector, restart: _, resources })) => {
            check_selector(found, selector);
            if let Some(resources) = resources {
                check_resources(found, "spec.placement.sidecar", resources, spec);
            }
        }
        Some(PlacementKind::Gateway(gateway)) => check_gateway(found, gateway, spec),
        None if placement.sidecar.is_none() => {
            found.require(false, "spec.placement", "set exactly one of sidecar and gateway");
        }
        // As kubectl scale and an autoscaler would have it.
        None => found.require(
            false,
            "spec.placement",
            "set exactly one of sidecar and gateway; only a gateway is scaled, so with a sidecar scale the application",
        ),
    }
}

fn check_selector(found: &mut Violations, selector: &LabelSelector) {
    let field = "spec.placement.sidecar.selector";
    found.require(
        !selector.is_empty(),
        field,
        "must not be empty, because it would select every pod of the namespace: set matchLabels or \
         matchExpressions",
    );
    let LabelSelector { match_labels, match_expressions } = selector;
    let labels = format!("{field}.matchLabels");
    found.count(&labels, match_labels.len(), 16);
    for (key, value) in match_labels {
        found.label_key(&labels, key);
        found.label_value(&labels, value);
    }
    found.count(format!("{field}.matchExpressions"), match_expressions.len(), 16);
    for (index, requirement) in match_expressions.iter().enumerate() {
        check_requirement(found, &format!("{field}.matchExpressions[{index}]"), requirement);
    }
}

fn check_requirement(found: &mut Violations, field: &str, requirement: &LabelSelectorRequirement) {
    let LabelSelectorRequirement { key, operator, values } = requirement;
    found.label_key(&format!("{field}.key"), key);
    let wants_values = match operator {
        Operator::In | Operator::NotIn => true,
        Operator::Exists | Operator::DoesNotExist => false,
    };
    let field = format!("{field}.values");
    found.require(
        wants_values != values.is_empty(),
        &field,
        "must be given for the operators In and NotIn, and for these only",
    );
    found.count(&field, values.len(), 32);
    for value in values {
        found.label_value(&field, value);
    }
}

fn check_sources(found: &mut Violations, sources: &[Source]) {
    let count = sources.len();
    found.require((1..=16).contains(&count), "spec.sources", "must have 1 to 16 sources");
    for (index, source) in sources.iter().enumerate() {
        let field = format!("spec.sources[{index}]");
        let earlier = sources.iter().take(index).map(|earlier| &earlier.name);
        found.name(&format!("{field}.name"), &source.name, earlier);
        match source.kind() {
            Some(SourceKind::Http(_)) => {}
            Some(SourceKind::Generator(generator)) => {
                found.range(format!("{field}.generator.rate"), generator.rate, 1, 100_000);
                found.within(format!("{field}.generator.per"), &generator.per, "100ms", "1h");
            }
            None => found.require(
                false,
                field,
                "a source needs exactly one kind: set one of http and generator",
            ),
        }
    }
}

fn check_log(found: &mut Violations, log: &Log, sources: &[Source]) {
    let Log { storage, retention } = log;
    check_storage(found, storage, retention);
    let field = "spec.log.retention";
    found.require(
        retention.max_age.millis() >= 1_000,
        format!("{field}.maxAge"),
        "must be at least 1s",
    );
    found.range(format!("{field}.maxEvents"), retention.max_events, 1, 10_000_000);
    let largest = sources.iter().filter_map(|source| source.http.as_ref());
    let largest = largest.map(|http| http.max_event_bytes.bytes()).max().unwrap_or(0);
    found.require(
        retention.max_bytes.bytes() >= largest,
        format!("{field}.maxBytes"),
        "must not be less than the largest event that a source takes: raise it, or lower the source's \
         http.maxEventBytes",
    );
}

fn check_storage(found: &mut Violations, storage: &Storage, retention: &Retention) {
    match storage.kind() {
        Some(StorageKind::Memory(_)) => {}
        Some(StorageKind::Disk(DiskStorage { size, durability: _ })) => {
            let least = retention.max_bytes.bytes().saturating_mul(2).max(LEAST_DISK_BYTES);
            found.require(
                size.bytes() >= least,
                "spec.log.storage.disk.size",
                "must be at least 16Mi, and twice retention.maxBytes: raise it, or lower \
                 retention.maxBytes",
            );
        }
        Some(StorageKind::Redis(redis)) => check_redis(found, redis),
        Some(StorageKind::Nats(nats)) => check_nats(found, nats),
        None => found.require(
            false,
            "spec.log.storage",
            "set exactly one of memory, disk, redis and natsJetStream",
        ),
    }
}

fn check_endpoints(found: &mut Violations, endpoints: &Endpoints) {
    let Endpoints { sse, websocket, publish: _, read: _, durable_streams, tls, cors } = endpoints;
    found.require(
        sse.is_some() || websocket.is_some(),
        "spec.endpoints",
        "set at least one of sse and websocket, or nobody could read the stream",
    );
    if let Some(sse) = sse {
        found.within("spec.endpoints.sse.heartbeat", &sse.heartbeat, "1s", "5m");
    }
    if let Some(websocket) = websocket {
        let WebSocket { ping, compression: _, max_message_rate } = websocket;
        let field = "spec.endpoints.websocket";
        found.within(format!("{field}.ping"), ping, "1s", "5m");
        found.range(format!("{field}.maxMessageRate"), *max_message_rate, 1, 100_000);
    }
    found.require(
        tls.as_ref().is_none_or(|tls| is_dns_subdomain(&tls.secret_name)),
        "spec.endpoints.tls.secretName",
        "must be the name of a Secret: lower-case letters, digits, hyphens and dots",
    );
    if let Some(cors) = cors {
        check_cors(found, cors);
    }
    if let Some(streams) = durable_streams {
        check_durable_streams(found, streams);
    }
}

fn check_durable_streams(found: &mut Violations, streams: &DurableStreams) {
    let DurableStreams {
        anonymous: _,
        max_streams,
        max_stream_bytes: _,
        max_bytes: _,
        default_ttl,
        long_poll,
    } = streams;
    let field = "spec.endpoints.durableStreams";
    found.range(format!("{field}.maxStreams"), *max_streams, 1, 100_000);
    found.within(format!("{field}.defaultTtl"), default_ttl, "1s", "8760h");
    found.within(format!("{field}.longPoll"), long_poll, "1s", "5m");
}

/// Somebody is named who may write, or everybody.
fn check_writers(found: &mut Violations, spec: &StreamPipelineSpec) {
    let by_token = spec.auth.as_ref().and_then(|auth| auth.jwt.as_ref()?.publish.as_ref());
    let publish = spec.endpoints.publish.as_ref();
    found.require(
        publish.is_none_or(|publish| publish.anonymous) || by_token.is_some(),
        "spec.endpoints.publish",
        "needs auth.jwt.publish, which says whose tokens may publish, or anonymous: true",
    );
    let streams = spec.endpoints.durable_streams.as_ref();
    found.require(
        streams.is_none_or(|streams| streams.anonymous) || by_token.is_some(),
        "spec.endpoints.durableStreams",
        "needs auth.jwt.publish, which says whose tokens may change streams, or anonymous: true",
    );
}

/// Durable streams that are in one replica are not in another.
fn check_replicas(found: &mut Violations, spec: &StreamPipelineSpec) {
    let replicas = spec.placement.gateway.as_ref().map_or(1, Gateway::most_replicas);
    found.require(
        spec.endpoints.durable_streams.is_none() || replicas <= 1,
        "spec.endpoints.durableStreams",
        "are in one replica, whatever the log: set placement.gateway.replicas to 1 without autoscaling, or \
         remove endpoints.durableStreams",
    );
}

/// Durable streams share the room of a log on a disk, and don't leave it before their time as events do.
fn check_room_for_streams(found: &mut Violations, spec: &StreamPipelineSpec) {
    let (Some(StorageKind::Disk(disk)), Some(streams)) =
        (spec.log.storage.kind(), &spec.endpoints.durable_streams)
    else {
        return;
    };
    let log = spec.log.retention.max_bytes.bytes().saturating_mul(2);
    found.require(
        disk.size.bytes() >= log.saturating_add(streams.max_bytes.bytes()),
        "spec.log.storage.disk.size",
        "must be at least twice retention.maxBytes and endpoints.durableStreams.maxBytes besides: raise \
         it, or lower one of these",
    );
}

fn check_delivery(found: &mut Violations, delivery: &Delivery) {
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
    if let Some(key) = conflate_key {
        found.require(
            *slow_consumer == SlowConsumer::Conflate,
            "spec.delivery.conflateKey",
            "has a meaning only where slowConsumer is Conflate: set that, or remove conflateKey",
        );
        found.require(
            key.len() <= 2_048,
            "spec.delivery.conflateKey",
            "must have at most 2048 bytes",
        );
    }
    found.range("spec.delivery.maxLag.events", max_lag.events, 1, 10_000_000);
    found.range("spec.delivery.maxConnections", *max_connections, 1, 1_000_000);
    if let Some(most) = max_connections_per_address {
        found.range("spec.delivery.maxConnectionsPerAddress", *most, 1, 1_000_000);
    }
    if let Some(most) = max_handshakes_per_address {
        found.range("spec.delivery.maxHandshakesPerAddress", *most, 1, 100_000);
    }
    if let Some(age) = max_connection_age {
        found.within("spec.delivery.maxConnectionAge", age, "10s", "24h");
    }
    found.within("spec.delivery.drain.window", &drain.window, "0s", "10m");
}

/// The rules between sources, placement and `endpoints.publish`.
fn check_publishing(found: &mut Violations, spec: &StreamPipelineSpec) {
    let posted = spec.sources.iter().filter(|source| source.http.is_some()).count();
    let published = spec.endpoints.publish.is_some();
    found.require(
        posted <= 1,
        "spec.sources",
        "at most one source may be of kind http, because /{pipeline}/events publishes into it",
    );
    found.require(
        !published || posted > 0,
        "spec.endpoints.publish",
        "needs a source of kind http to publish into: add one to sources, or remove endpoints.publish",
    );
    check_writers(found, spec);
    let is_gateway = matches!(spec.placement.kind(), Some(PlacementKind::Gateway(_)));
    found.require(
        !is_gateway || published || posted == 0,
        "spec.sources",
        "a source of kind http in a gateway needs endpoints.publish, because no application shares the \
         gateway's pods",
    );
}
