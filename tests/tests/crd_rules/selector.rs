//! The part of the table about the selector of a sidecar placement.

use crate::pipeline::HTTP;
use crate::table::{Case, accepted, refused, refused_alike};

const SELECTOR: &str = "spec.placement.sidecar.selector";
const KEY: &str = "a key must be a label's key, such as app or app.kubernetes.io/name";
const VALUE: &str = "a value must be a label's value: at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit";

pub(crate) fn cases() -> Vec<Case> {
    [labels(), requirements(), operators(), values(), keys(), restarts(), resources()].concat()
}

fn restarts() -> Vec<Case> {
    let patch = |restart: &str| format!("spec: {{placement: {{sidecar: {{restart: {restart}}}}}}}");
    let field = "spec.placement.sidecar.restart";
    vec![
        accepted(HTTP, &patch("Never")),
        accepted(HTTP, &patch("OnChange")),
        refused(
            HTTP,
            &patch("Always"),
            &format!(
                "{field}: Unsupported value: \"Always\": supported values: \"Never\", \"OnChange\""
            ),
            &format!("{field}: unknown variant `Always`, expected `Never` or `OnChange`"),
        ),
    ]
}

fn resources() -> Vec<Case> {
    let patch = |rest: &str| format!("spec: {{placement: {{sidecar: {{resources: {{{rest}}}}}}}}}");
    let field = |name: &str| format!("spec.placement.sidecar.resources.limits.{name}");
    let room = "must be at least 64Mi and, where the log is in memory, log.retention.maxBytes besides: raise it, or lower log.retention.maxBytes";
    vec![
        accepted(HTTP, &patch("")),
        accepted(HTTP, &patch("requests: {cpu: 5m, memory: 1Mi}, limits: {memory: 128Mi}")),
        refused_alike(HTTP, &patch("limits: {memory: 127Mi}"), &field("memory"), room),
        refused_alike(
            HTTP,
            &patch("requests: {cpu: 501m}, limits: {cpu: '0.5'}"),
            &field("cpu"),
            "must not be less than requests.cpu",
        ),
        refused_alike(
            HTTP,
            &patch("requests: {memory: 2Gi}, limits: {memory: 1Gi}"),
            &field("memory"),
            "must not be less than requests.memory",
        ),
    ]
}

fn labels() -> Vec<Case> {
    let patch = |labels: &str| {
        format!("spec: {{placement: {{sidecar: {{selector: {{matchLabels: {labels}}}}}}}}}")
    };
    let empty = "must not be empty, because it would select every pod of the namespace: set matchLabels or matchExpressions";
    let many: Vec<_> = (0..17).map(|index| format!("l{index}: x")).collect();
    let (longest, longer) = ("v".repeat(63), "v".repeat(64));
    let field = format!("{SELECTOR}.matchLabels");
    vec![
        accepted(HTTP, &patch("{app.kubernetes.io/name: shop, tier: ''}")),
        accepted(HTTP, &patch(&format!("{{app: {longest}}}"))),
        accepted(HTTP, &patch(&format!("{{app: null, {}}}", many[..16].join(", ")))),
        refused_alike(HTTP, &patch("{app: null}"), SELECTOR, empty),
        refused(
            HTTP,
            &patch(&format!("{{app: null, {}}}", many.join(", "))),
            &format!("{field}: Too many: 17: must have at most 16 items"),
            &format!("{field}: must have at most 16 items, not 17"),
        ),
        refused(
            HTTP,
            &patch("{my app: shop}"),
            &format!("{field}: Invalid value: {KEY}"),
            &format!("{field}: {KEY}, unlike \"my app\""),
        ),
        refused(
            HTTP,
            &patch("{app: my shop}"),
            &format!("{field}: Invalid value: {VALUE}"),
            &format!("{field}: {VALUE}, unlike \"my shop\""),
        ),
        refused(
            HTTP,
            &patch(&format!("{{x: {longer}}}")),
            &format!("{field}.x: Too long: may not be more than 63 bytes"),
            &format!("{field}: {VALUE}, unlike {longer:?}"),
        ),
    ]
}

fn requirements() -> Vec<Case> {
    const EXISTS: &str = "{key: tier, operator: Exists}";
    let field = format!("{SELECTOR}.matchExpressions");
    vec![
        accepted(
            HTTP,
            &expressions(
                "{key: tier, operator: In, values: [web, api]}, {key: a.b/c, operator: NotIn, values: ['']}",
            ),
        ),
        accepted(
            HTTP,
            &expressions(
                "{key: tier, operator: Exists}, {key: old, operator: DoesNotExist, values: []}",
            ),
        ),
        accepted(HTTP, &expressions(&[EXISTS; 16].join(", "))),
        refused(
            HTTP,
            &expressions(&[EXISTS; 17].join(", ")),
            &format!("{field}: Too many: 17: must have at most 16 items"),
            &format!("{field}: must have at most 16 items, not 17"),
        ),
        refused(
            HTTP,
            &expressions("{operator: Exists}"),
            &format!("{field}[0].key: Required value"),
            &format!("{field}[0]: missing field `key`"),
        ),
        refused(
            HTTP,
            &expressions("{key: tier}"),
            &format!("{field}[0].operator: Required value"),
            &format!("{field}[0]: missing field `operator`"),
        ),
    ]
}

fn operators() -> Vec<Case> {
    let given = "must be given for the operators In and NotIn, and for these only";
    let values = format!("{SELECTOR}.matchExpressions[0].values");
    let operator = format!("{SELECTOR}.matchExpressions[0].operator");
    vec![
        refused_alike(HTTP, &expressions("{key: tier, operator: In}"), &values, given),
        refused_alike(
            HTTP,
            &expressions("{key: tier, operator: NotIn, values: []}"),
            &values,
            given,
        ),
        refused_alike(
            HTTP,
            &expressions("{key: tier, operator: Exists, values: [web]}"),
            &values,
            given,
        ),
        refused(
            HTTP,
            &expressions("{key: tier, operator: Is}"),
            &format!(
                "{operator}: Unsupported value: \"Is\": supported values: \"In\", \"NotIn\", \"Exists\", \"DoesNotExist\""
            ),
            &format!(
                "{operator}: unknown variant `Is`, expected one of `In`, `NotIn`, `Exists`, `DoesNotExist`"
            ),
        ),
    ]
}

fn values() -> Vec<Case> {
    let patch = |count: usize| {
        let values = (0..count).map(|index| format!("v{index}")).collect::<Vec<_>>().join(", ");
        expressions(&format!("{{key: tier, operator: In, values: [{values}]}}"))
    };
    let longer = "v".repeat(64);
    let field = format!("{SELECTOR}.matchExpressions[0].values");
    vec![
        accepted(HTTP, &patch(32)),
        refused(
            HTTP,
            &patch(33),
            &format!("{field}: Too many: 33: must have at most 32 items"),
            &format!("{field}: must have at most 32 items, not 33"),
        ),
        refused(
            HTTP,
            &expressions(&format!("{{key: tier, operator: In, values: [{longer}]}}")),
            &format!("{field}[0]: Too long: may not be more than 63 bytes"),
            &format!("{field}: {VALUE}, unlike {longer:?}"),
        ),
        refused(
            HTTP,
            &expressions("{key: tier, operator: In, values: ['a b']}"),
            &format!("{field}: Invalid value: {VALUE}"),
            &format!("{field}: {VALUE}, unlike \"a b\""),
        ),
    ]
}

fn keys() -> Vec<Case> {
    let patch = |key: &str| expressions(&format!("{{key: {key}, operator: Exists}}"));
    let field = format!("{SELECTOR}.matchExpressions[0].key");
    let longer = format!("a/{}", "k".repeat(316));
    vec![
        accepted(HTTP, &patch(&format!("{}/{}", "d".repeat(63), "k".repeat(63)))),
        refused(
            HTTP,
            &patch("a b"),
            &format!("{field}: Invalid value: \"a b\": {KEY}"),
            &format!("{field}: {KEY}, unlike \"a b\""),
        ),
        refused(
            HTTP,
            &patch("''"),
            &format!(
                "{field}: Invalid value: \"\": {field} in body should be at least 1 chars long, {field}: Invalid value: \"\": {KEY}"
            ),
            &format!("{field}: {KEY}, unlike \"\""),
        ),
        refused(
            HTTP,
            &patch(&longer),
            &format!("{field}: Too long: may not be more than 317 bytes"),
            &format!("{field}: {KEY}, unlike {longer:?}"),
        ),
    ]
}

fn expressions(list: &str) -> String {
    format!("spec: {{placement: {{sidecar: {{selector: {{matchExpressions: [{list}]}}}}}}}}")
}
