//! The part of the table about the gateway: what its pods are given, and how many there are.

use crate::pipeline::PIPELINE;
use crate::shapes::Shape;
use crate::table::{Case, accepted, refused, refused_alike};

const GATEWAY: &str = "spec.placement.gateway";

pub(crate) fn cases() -> Vec<Case> {
    let rules =
        [rebalance(), resources(), volume(), labels(), tolerations(), spread(), autoscaling()];
    [rules.concat(), behaviour("scaleUp"), behaviour("scaleDown")].concat()
}

/// Sets what stands in the gateway.
fn gateway(rest: &str) -> String {
    format!("spec: {{placement: {{gateway: {{{rest}}}}}}}")
}

fn shape<'a>(path: &'a str, patch: &'a str) -> Shape<'a> {
    Shape { base: PIPELINE, path, patch }
}

fn rebalance() -> Vec<Case> {
    let shared = "needs a log that replicas share, or subscribers would come back to another stream: set log.storage.redis or natsJetStream, or remove rebalance";
    let with = |storage: &str| {
        format!(
            "spec: {{placement: {{gateway: {{rebalance: {{}}}}}}, log: {{storage: {{{storage}}}}}}}"
        )
    };
    let field = format!("{GATEWAY}.rebalance");
    vec![
        accepted(PIPELINE, &with("redis: {address: 'redis:6379'}")),
        accepted(PIPELINE, &with("natsJetStream: {address: 'nats:4222'}")),
        refused_alike(PIPELINE, &with("disk: {}"), &field, shared),
        refused_alike(PIPELINE, &gateway("rebalance: {}"), &field, shared),
    ]
}

fn resources() -> Vec<Case> {
    let patch = |rest: &str| gateway(&format!("resources: {{{rest}}}"));
    let field = |name: &str| format!("{GATEWAY}.resources.limits.{name}");
    let room = "must be at least 64Mi and, where the log is in memory, log.retention.maxBytes besides: raise it, or lower log.retention.maxBytes";
    let below = |what: &str| format!("must not be less than requests.{what}");
    let disk = "log: {storage: {disk: {}}}";
    let on_disk =
        |rest: &str| format!("spec: {{placement: {{gateway: {{resources: {{{rest}}}}}}}, {disk}}}");
    vec![
        accepted(PIPELINE, &patch("")),
        accepted(
            PIPELINE,
            &patch("requests: {cpu: 500m, memory: 1Gi}, limits: {cpu: '0.5', memory: 1Gi}"),
        ),
        accepted(PIPELINE, &patch("requests: {cpu: '999'}, limits: {memory: 128Mi}")),
        accepted(PIPELINE, &on_disk("limits: {memory: 64Mi}")),
        refused_alike(
            PIPELINE,
            &patch("requests: {cpu: 501m}, limits: {cpu: '0.5'}"),
            &field("cpu"),
            &below("cpu"),
        ),
        refused_alike(
            PIPELINE,
            &patch("requests: {memory: 2Gi}, limits: {memory: 1Gi}"),
            &field("memory"),
            &below("memory"),
        ),
        refused_alike(PIPELINE, &patch("limits: {memory: 127Mi}"), &field("memory"), room),
        refused_alike(PIPELINE, &on_disk("limits: {memory: 63Mi}"), &field("memory"), room),
    ]
}

fn volume() -> Vec<Case> {
    let on_disk = "spec: {log: {storage: {disk: {}}}, placement: {gateway: {volume: {$}}}}";
    let patch = |rest: &str| on_disk.replace('$', rest);
    let class = patch("storageClassName: $");
    let deleted = patch("whenDeleted: $");
    let field = format!("{GATEWAY}.volume");
    let alone = "holds a log on a disk: set log.storage.disk, or remove volume";
    [
        vec![
            accepted(PIPELINE, &patch("")),
            refused_alike(PIPELINE, &gateway("volume: {}"), &field, alone),
        ],
        shape(&format!("{field}.storageClassName"), &class).name("a StorageClass"),
        shape(&format!("{field}.whenDeleted"), &deleted).choice(&["Retain", "Delete"]),
    ]
    .concat()
}

/// Sets what stands in the gateway's pod.
fn pod(rest: &str) -> String {
    gateway(&format!("pod: {{{rest}}}"))
}

fn labels() -> Vec<Case> {
    let path = |name: &str| format!("{GATEWAY}.pod.{name}");
    let labels = [path("labels"), pod("labels: $")];
    let annotations = [path("annotations"), pod("annotations: $")];
    let selector = [path("nodeSelector"), pod("nodeSelector: $")];
    let class = [path("priorityClassName"), pod("priorityClassName: $")];
    [
        shape(&labels[0], &labels[1]).labels(),
        shape(&labels[0], &labels[1]).foreign(),
        shape(&annotations[0], &annotations[1]).annotations(16),
        shape(&selector[0], &selector[1]).labels(),
        shape(&class[0], &class[1]).name("a PriorityClass"),
        // Nodes have labels of these domains, too.
        vec![accepted(PIPELINE, &pod("nodeSelector: {app.kubernetes.io/name: x}"))],
    ]
    .concat()
}

const KEY: &str = "a key must be a label's key, such as app or app.kubernetes.io/name";
const VALUE: &str = "a value must be a label's value: at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit";

/// A label's key that is wrong in each way that one can be.
fn keys(field: &str, patch: &dyn Fn(&str) -> String) -> Vec<Case> {
    let longer = format!("a/{}", "k".repeat(316));
    vec![
        refused(
            PIPELINE,
            &patch("a b"),
            &format!("{field}: Invalid value: \"a b\": {KEY}"),
            &format!("{field}: {KEY}, unlike \"a b\""),
        ),
        refused(
            PIPELINE,
            &patch("''"),
            &format!(
                "{field}: Invalid value: \"\": {field} in body should be at least 1 chars long, {field}: Invalid value: \"\": {KEY}"
            ),
            &format!("{field}: {KEY}, unlike \"\""),
        ),
        refused(
            PIPELINE,
            &patch(&longer),
            &format!("{field}: Too long: may not be more than 317 bytes"),
            &format!("{field}: {KEY}, unlike {longer:?}"),
        ),
    ]
}

fn tolerations() -> Vec<Case> {
    let patch = |list: &str| pod(&format!("tolerations: [{list}]"));
    let list = format!("{GATEWAY}.pod.tolerations");
    let field = |name: &str| format!("{list}[0].{name}");
    let needs_key =
        "must be given, except for the operator Exists, which tolerates every taint then";
    let no_value = "has no meaning for the operator Exists: remove it, or set operator: Equal";
    let only = "has a meaning for the effect NoExecute only: set that, or remove it";
    let longer = "v".repeat(64);
    let many = |count: usize| vec!["{operator: Exists}"; count].join(", ");
    let (operator, effect) = (patch("{key: a, operator: $}"), patch("{key: a, effect: $}"));
    [
        vec![
            accepted(
                PIPELINE,
                &patch("{key: a.b/c, value: d, effect: NoExecute, tolerationSeconds: 0}"),
            ),
            accepted(PIPELINE, &patch(&many(16))),
            refused(
                PIPELINE,
                &patch(&many(17)),
                &format!("{list}: Too many: 17: must have at most 16 items"),
                &format!("{list}: must have at most 16 items, not 17"),
            ),
            refused_alike(PIPELINE, &patch("{value: a}"), &field("key"), needs_key),
            refused_alike(
                PIPELINE,
                &patch("{key: a, operator: Exists, value: b}"),
                &field("value"),
                no_value,
            ),
            refused_alike(
                PIPELINE,
                &patch("{key: a, effect: NoSchedule, tolerationSeconds: 5}"),
                &field("tolerationSeconds"),
                only,
            ),
            refused(
                PIPELINE,
                &patch("{key: a, value: b c}"),
                &format!("{}: Invalid value: \"b c\": {VALUE}", field("value")),
                &format!("{}: {VALUE}, unlike \"b c\"", field("value")),
            ),
            refused(
                PIPELINE,
                &patch(&format!("{{key: a, value: {longer}}}")),
                &format!("{}: Too long: may not be more than 63 bytes", field("value")),
                &format!("{}: {VALUE}, unlike {longer:?}", field("value")),
            ),
        ],
        keys(&field("key"), &|key| patch(&format!("{{key: {key}}}"))),
        shape(&field("operator"), &operator).choice(&["Equal", "Exists"]),
        shape(&field("effect"), &effect).choice(&["NoSchedule", "PreferNoSchedule", "NoExecute"]),
    ]
    .concat()
}

fn spread() -> Vec<Case> {
    let patch = |list: &str| pod(&format!("topologySpread: [{list}]"));
    let list = format!("{GATEWAY}.pod.topologySpread");
    let numbered = |count: usize| {
        let keys: Vec<_> = (0..count).map(|n| format!("{{topologyKey: k{n}}}")).collect();
        keys.join(", ")
    };
    let field = format!("{list}[0].whenUnsatisfiable");
    let choice = patch("{topologyKey: a, whenUnsatisfiable: $}");
    [
        vec![
            accepted(PIPELINE, &patch(&numbered(4))),
            refused(
                PIPELINE,
                &patch(&numbered(5)),
                &format!("{list}: Too many: 5: must have at most 4 items"),
                &format!("{list}: must have at most 4 items, not 5"),
            ),
            refused(
                PIPELINE,
                &patch("{topologyKey: a}, {topologyKey: a, maxSkew: 2}"),
                &format!("{list}[1]: Duplicate value: {{\"topologyKey\":\"a\"}}"),
                &format!("{list}[1].topologyKey: \"a\" is used twice: each key must be unique"),
            ),
            shape(&format!("{list}[0].topologyKey"), "").required(&patch("{maxSkew: 1}")),
        ],
        keys(&format!("{list}[0].topologyKey"), &|key| patch(&format!("{{topologyKey: {key}}}"))),
        shape(&field, &choice).choice(&["ScheduleAnyway", "DoNotSchedule"]),
    ]
    .concat()
}

fn scaling(rest: &str) -> String {
    gateway(&format!("autoscaling: {{{rest}}}"))
}

fn autoscaling() -> Vec<Case> {
    let field = format!("{GATEWAY}.autoscaling");
    let nothing =
        "set at least one of connectionsPerReplica and lagPerReplica, or there is nothing to go by";
    let decided =
        "is decided by autoscaling: leave it out, and set autoscaling.minReplicas and maxReplicas";
    let too_many = "must not be more than delivery.maxConnections, beyond which a replica turns subscribers away";
    let both = gateway("replicas: 2, autoscaling: {maxReplicas: 9, lagPerReplica: 5}");
    let fewer = scaling("minReplicas: 3, maxReplicas: 2, lagPerReplica: 5");
    let many = scaling("maxReplicas: 2, connectionsPerReplica: 10001");
    let below = |name: &str| format!("{field}.{name}");
    vec![
        accepted(
            PIPELINE,
            &scaling("maxReplicas: 9, connectionsPerReplica: 10000, lagPerReplica: 5"),
        ),
        accepted(
            PIPELINE,
            &gateway("replicas: 1, autoscaling: {maxReplicas: 9, lagPerReplica: 5}"),
        ),
        refused_alike(PIPELINE, &both, &format!("{GATEWAY}.replicas"), decided),
        refused_alike(PIPELINE, &fewer, &below("maxReplicas"), "must not be less than minReplicas"),
        refused_alike(PIPELINE, &many, &below("connectionsPerReplica"), too_many),
        refused_alike(PIPELINE, &scaling("maxReplicas: 2"), &field, nothing),
        shape(&format!("{field}.maxReplicas"), "").required(&scaling("lagPerReplica: 5")),
    ]
}

/// The rules of one direction.
fn behaviour(direction: &str) -> Vec<Case> {
    let field = format!("{GATEWAY}.autoscaling.{direction}");
    let patch =
        |rest: &str| scaling(&format!("maxReplicas: 9, lagPerReplica: 5, {direction}: {{{rest}}}"));
    let policies = |list: &str| patch(&format!("policies: [{list}]"));
    const POLICY: &str = "{type: Pods, value: 1, period: 1m}";
    let list = format!("{field}.policies");
    let select = [format!("{field}.selectPolicy"), patch("selectPolicy: $")];
    let kind = [format!("{list}[0].type"), policies("{type: $, value: 1, period: 1m}")];
    let required = |name: &str, without: &str| {
        shape(&format!("{list}[0].{name}"), "").required(&policies(without))
    };
    [
        vec![
            accepted(PIPELINE, &policies(&[POLICY; 8].join(", "))),
            refused(
                PIPELINE,
                &policies(&[POLICY; 9].join(", ")),
                &format!("{list}: Too many: 9: must have at most 8 items"),
                &format!("{list}: must have at most 8 items, not 9"),
            ),
            required("type", "{value: 1, period: 1m}"),
            required("value", "{type: Pods, period: 1m}"),
            required("period", "{type: Pods, value: 1}"),
        ],
        shape(&select[0], &select[1]).choice(&["Max", "Min", "Disabled"]),
        shape(&kind[0], &kind[1]).choice(&["Pods", "Percent"]),
    ]
    .concat()
}
