//! The part of the table about whole numbers: the bounds themselves, and the first numbers outside.

use crate::pipeline::PIPELINE;
use crate::slo::SLO;
use crate::table::{Case, accepted, refused};

/// The valid object, the field, the patch that sets it to `$`, and its bounds.
type Row = (&'static str, &'static str, &'static str, i64, i64);

const ROWS: &[Row] = &[
    (
        PIPELINE,
        "spec.placement.gateway.replicas",
        "{spec: {placement: {gateway: {replicas: $}}}}",
        1,
        100,
    ),
    (
        PIPELINE,
        "spec.placement.gateway.autoscaling.minReplicas",
        "{spec: {placement: {gateway: {autoscaling: {minReplicas: $, maxReplicas: 100, lagPerReplica: 1}}}}}",
        1,
        100,
    ),
    (
        PIPELINE,
        "spec.placement.gateway.autoscaling.maxReplicas",
        "{spec: {placement: {gateway: {autoscaling: {maxReplicas: $, lagPerReplica: 1}}}}}",
        1,
        100,
    ),
    (
        PIPELINE,
        "spec.placement.gateway.autoscaling.connectionsPerReplica",
        "{spec: {delivery: {maxConnections: 1000000}, placement: {gateway: {autoscaling: {maxReplicas: 2, connectionsPerReplica: $}}}}}",
        1,
        1_000_000,
    ),
    (
        PIPELINE,
        "spec.placement.gateway.autoscaling.lagPerReplica",
        "{spec: {placement: {gateway: {autoscaling: {maxReplicas: 2, lagPerReplica: $}}}}}",
        1,
        1_000_000_000,
    ),
    (
        PIPELINE,
        "spec.placement.gateway.autoscaling.scaleUp.policies[0].value",
        "{spec: {placement: {gateway: {autoscaling: {maxReplicas: 2, lagPerReplica: 1, scaleUp: {policies: [{type: Pods, period: 1m, value: $}]}}}}}}",
        1,
        1_000,
    ),
    (
        PIPELINE,
        "spec.placement.gateway.autoscaling.scaleDown.policies[0].value",
        "{spec: {placement: {gateway: {autoscaling: {maxReplicas: 2, lagPerReplica: 1, scaleDown: {policies: [{type: Pods, period: 1m, value: $}]}}}}}}",
        1,
        1_000,
    ),
    (
        PIPELINE,
        "spec.placement.gateway.pod.tolerations[0].tolerationSeconds",
        "{spec: {placement: {gateway: {pod: {tolerations: [{operator: Exists, effect: NoExecute, tolerationSeconds: $}]}}}}}",
        0,
        86_400,
    ),
    (
        PIPELINE,
        "spec.placement.gateway.pod.topologySpread[0].maxSkew",
        "{spec: {placement: {gateway: {pod: {topologySpread: [{topologyKey: a, maxSkew: $}]}}}}}",
        1,
        100,
    ),
    (
        PIPELINE,
        "spec.sources[0].generator.rate",
        "{spec: {sources: [{name: app, generator: {rate: $}}]}}",
        1,
        100_000,
    ),
    (
        PIPELINE,
        "spec.endpoints.durableStreams.maxStreams",
        "{spec: {endpoints: {sse: {}, durableStreams: {anonymous: true, maxStreams: $}}}}",
        1,
        100_000,
    ),
    (
        PIPELINE,
        "spec.log.storage.natsJetStream.replicas",
        "{spec: {log: {storage: {natsJetStream: {address: 'nats:4222', replicas: $}}}}}",
        1,
        5,
    ),
    (
        PIPELINE,
        "spec.log.retention.maxEvents",
        "{spec: {log: {retention: {maxEvents: $}}}}",
        1,
        10_000_000,
    ),
    (
        PIPELINE,
        "spec.delivery.maxLag.events",
        "{spec: {delivery: {maxLag: {events: $}}}}",
        1,
        10_000_000,
    ),
    (
        PIPELINE,
        "spec.delivery.maxConnections",
        "{spec: {delivery: {maxConnections: $}}}",
        1,
        1_000_000,
    ),
    (
        PIPELINE,
        "spec.delivery.maxConnectionsPerAddress",
        "{spec: {delivery: {maxConnectionsPerAddress: $}}}",
        1,
        1_000_000,
    ),
    (
        PIPELINE,
        "spec.delivery.maxHandshakesPerAddress",
        "{spec: {delivery: {maxHandshakesPerAddress: $}}}",
        1,
        100_000,
    ),
    (
        PIPELINE,
        "spec.endpoints.websocket.maxMessageRate",
        "{spec: {endpoints: {websocket: {maxMessageRate: $}}}}",
        1,
        100_000,
    ),
    (
        SLO,
        "spec.objectives[0].delivery.maxLost",
        "{spec: {objectives: [{name: a, delivery: {maxLost: $}}]}}",
        0,
        1_000_000,
    ),
    (
        SLO,
        "spec.objectives[0].timeSlice.minEvents",
        "{spec: {objectives: [{name: a, target: '99', latency: {threshold: 50ms, quantile: '0.95'}, timeSlice: {minEvents: $}}]}}",
        1,
        1_000_000,
    ),
];

pub(crate) fn cases() -> Vec<Case> {
    ROWS.iter().flat_map(row).collect()
}

fn row((base, field, patch, least, most): &Row) -> Vec<Case> {
    let set = |value: i64| patch.replace('$', &value.to_string());
    let outside = |value: i64, bound: String| {
        let server = format!("{field}: Invalid value: {value}: {field} in body should be {bound}");
        let file = format!("{field}: must be from {least} to {most}, not {value}");
        refused(base, &set(value), &server, &file)
    };
    vec![
        accepted(base, &set(*least)),
        accepted(base, &set(*most)),
        outside(least - 1, format!("greater than or equal to {least}")),
        outside(most + 1, format!("less than or equal to {most}")),
    ]
}
