//! Checks a gateway: its replicas, and what its pods are given.

use super::Violations;
use crate::scalar::Quantity;
use crate::v1alpha1::{
    Amounts, Autoscaling, Gateway, GatewayPod, GatewayVolume, Rebalance, Resources, ScalingPolicy,
    ScalingRules, Storage, StreamPipelineSpec, TaintEffect, Toleration, TolerationOperator,
    TopologySpread,
};

const FIELD: &str = "spec.placement.gateway";

/// What the data plane needs beside a log in memory.
const LEAST_MEMORY: u64 = 64 << 20;

pub(super) fn check_gateway(found: &mut Violations, gateway: &Gateway, spec: &StreamPipelineSpec) {
    let Gateway { replicas, autoscaling, rebalance, resources, volume, pod } = gateway;
    found.range(format!("{FIELD}.replicas"), *replicas, 1, 100);
    if let Some(autoscaling) = autoscaling {
        found.require(
            *replicas == 1,
            format!("{FIELD}.replicas"),
            "is decided by autoscaling: leave it out, and set autoscaling.minReplicas and maxReplicas",
        );
        check_autoscaling(found, autoscaling, spec);
    }
    if let Some(Rebalance { window }) = rebalance {
        let Storage { memory: _, disk: _, redis, nats_jet_stream } = &spec.log.storage;
        found.require(
            redis.is_some() || nats_jet_stream.is_some(),
            format!("{FIELD}.rebalance"),
            "needs a log that replicas share, or subscribers would come back to another stream: set \
             log.storage.redis or natsJetStream, or remove rebalance",
        );
        found.within(format!("{FIELD}.rebalance.window"), window, "10s", "10m");
    }
    if let Some(resources) = resources {
        check_resources(found, FIELD, resources, spec);
    }
    if let Some(volume) = volume {
        check_volume(found, volume, spec);
    }
    if let Some(pod) = pod {
        check_pod(found, pod);
    }
}

fn check_autoscaling(found: &mut Violations, scaling: &Autoscaling, spec: &StreamPipelineSpec) {
    let Autoscaling {
        min_replicas,
        max_replicas,
        connections_per_replica: connections,
        lag_per_replica: lag,
        scale_up,
        scale_down,
    } = scaling;
    let field = format!("{FIELD}.autoscaling");
    found.range(format!("{field}.minReplicas"), *min_replicas, 1, 100);
    found.range(format!("{field}.maxReplicas"), *max_replicas, 1, 100);
    // A number that is out of its own bounds is complained of once.
    found.require(
        max_replicas >= min_replicas || *max_replicas < 1 || *min_replicas > 100,
        format!("{field}.maxReplicas"),
        "must not be less than minReplicas",
    );
    found.require(
        connections.is_some() || lag.is_some(),
        &field,
        "set at least one of connectionsPerReplica and lagPerReplica, or there is nothing to go by",
    );
    if let Some(connections) = connections {
        let field = format!("{field}.connectionsPerReplica");
        found.range(&field, *connections, 1, 1_000_000);
        found.require(
            *connections <= spec.delivery.max_connections || *connections > 1_000_000,
            field,
            "must not be more than delivery.maxConnections, beyond which a replica turns subscribers away",
        );
    }
    if let Some(lag) = lag {
        found.range(format!("{field}.lagPerReplica"), *lag, 1, 1_000_000_000);
    }
    for (name, rules) in [("scaleUp", scale_up), ("scaleDown", scale_down)] {
        if let Some(rules) = rules {
            check_rules(found, &format!("{field}.{name}"), rules);
        }
    }
}

fn check_rules(found: &mut Violations, field: &str, rules: &ScalingRules) {
    let ScalingRules { stabilization_window, select_policy: _, policies } = rules;
    if let Some(window) = stabilization_window {
        found.within(format!("{field}.stabilizationWindow"), window, "0s", "1h");
    }
    found.count(format!("{field}.policies"), policies.len(), 8);
    for (index, ScalingPolicy { kind: _, value, period }) in policies.iter().enumerate() {
        let field = format!("{field}.policies[{index}]");
        found.range(format!("{field}.value"), *value, 1, 1_000);
        found.within(format!("{field}.period"), period, "1s", "30m");
    }
}

pub(super) fn check_resources(
    found: &mut Violations,
    placement: &str,
    resources: &Resources,
    spec: &StreamPipelineSpec,
) {
    let Resources { requests, limits } = resources;
    let nothing = Amounts::default();
    let Amounts { cpu: cpu_request, memory: memory_request } =
        requests.as_ref().unwrap_or(&nothing);
    let Amounts { cpu: cpu_limit, memory: memory_limit } = limits.as_ref().unwrap_or(&nothing);
    let field = format!("{placement}.resources.limits");
    let covers = cpu_limit.as_ref().zip(cpu_request.as_ref());
    found.require(
        covers.is_none_or(|(limit, request)| limit.millis() >= request.millis()),
        format!("{field}.cpu"),
        "must not be less than requests.cpu",
    );
    let covers = memory_limit.as_ref().zip(memory_request.as_ref());
    found.require(
        covers.is_none_or(|(limit, request)| limit.bytes() >= request.bytes()),
        format!("{field}.memory"),
        "must not be less than requests.memory",
    );
    let log = spec.log.storage.memory.as_ref().map_or(0, |_| spec.log.retention.max_bytes.bytes());
    let least = LEAST_MEMORY.saturating_add(log);
    found.require(
        memory_limit.as_ref().map(Quantity::bytes).is_none_or(|limit| limit >= least),
        format!("{field}.memory"),
        "must be at least 64Mi and, where the log is in memory, log.retention.maxBytes besides: raise it, \
         or lower log.retention.maxBytes",
    );
}

fn check_volume(found: &mut Violations, volume: &GatewayVolume, spec: &StreamPipelineSpec) {
    let GatewayVolume { storage_class_name, when_deleted: _ } = volume;
    found.require(
        spec.log.storage.disk.is_some(),
        format!("{FIELD}.volume"),
        "holds a log on a disk: set log.storage.disk, or remove volume",
    );
    let class = storage_class_name.as_deref();
    found.object_name(format!("{FIELD}.volume.storageClassName"), class, "a StorageClass");
}

fn check_pod(found: &mut Violations, pod: &GatewayPod) {
    let GatewayPod {
        node_selector,
        tolerations,
        topology_spread,
        priority_class_name,
        labels,
        annotations,
    } = pod;
    let field = format!("{FIELD}.pod");
    found.labels(&format!("{field}.nodeSelector"), node_selector, 16);
    found.count(format!("{field}.tolerations"), tolerations.len(), 16);
    for (index, toleration) in tolerations.iter().enumerate() {
        check_toleration(found, &format!("{field}.tolerations[{index}]"), toleration);
    }
    found.count(format!("{field}.topologySpread"), topology_spread.len(), 4);
    for (index, spread) in topology_spread.iter().enumerate() {
        let TopologySpread { topology_key, max_skew, when_unsatisfiable: _ } = spread;
        let field = format!("{field}.topologySpread[{index}]");
        found.label_key(&format!("{field}.topologyKey"), topology_key);
        found.range(format!("{field}.maxSkew"), *max_skew, 1, 100);
        let twice =
            topology_spread.iter().take(index).any(|other| other.topology_key == *topology_key);
        found.require(
            !twice,
            format!("{field}.topologyKey"),
            format!("{topology_key:?} is used twice: each key must be unique"),
        );
    }
    let class = priority_class_name.as_deref();
    found.object_name(format!("{field}.priorityClassName"), class, "a PriorityClass");
    found.labels(&format!("{field}.labels"), labels, 16);
    found.foreign_keys(&format!("{field}.labels"), labels);
    found.annotations(&format!("{field}.annotations"), annotations, 16);
}

fn check_toleration(found: &mut Violations, field: &str, toleration: &Toleration) {
    let Toleration { key, operator, value, effect, toleration_seconds } = toleration;
    match key {
        Some(key) => found.label_key(&format!("{field}.key"), key),
        None => found.require(
            *operator == TolerationOperator::Exists,
            format!("{field}.key"),
            "must be given, except for the operator Exists, which tolerates every taint then",
        ),
    }
    if let Some(value) = value {
        found.label_value(&format!("{field}.value"), value);
    }
    found.require(
        *operator == TolerationOperator::Equal || value.is_none(),
        format!("{field}.value"),
        "has no meaning for the operator Exists: remove it, or set operator: Equal",
    );
    if let Some(seconds) = toleration_seconds {
        let field = format!("{field}.tolerationSeconds");
        found.range(&field, *seconds, 0, 86_400);
        found.require(
            *effect == Some(TaintEffect::NoExecute),
            field,
            "has a meaning for the effect NoExecute only: set that, or remove it",
        );
    }
}
