//! The part of the table about StreamSLO: its unions, its lists and what holds between fields.

use crate::table::{Case, accepted, refused, refused_alike};

/// The least that is valid.
pub(crate) const SLO: &str = "
apiVersion: weir.dev/v1alpha1
kind: StreamSLO
metadata: {name: orders}
spec:
  pipelineRef: {name: orders}
  timeWindow: {duration: 28d}
  objectives: [{name: errors, target: '99.9', errorRate: {}}]
";

pub(crate) fn cases() -> Vec<Case> {
    [names(), objectives(), kinds(), slices(), required()].concat()
}

fn names() -> Vec<Case> {
    let named = |name: &str| format!("metadata: {{name: {name}}}");
    let refers = |name: &str| format!("spec: {{pipelineRef: {{name: {name}}}}}");
    let exists = "spec.pipelineRef.name: must name a StreamPipeline of this namespace, whose name has 1 to 52 characters";
    vec![
        accepted(SLO, &named("a.b-1")),
        accepted(SLO, &named(&"a".repeat(63))),
        refused(
            SLO,
            &named(&"a".repeat(64)),
            "<nil>: Invalid value: metadata.name must have at most 63 characters",
            "metadata.name: must have at most 63 characters",
        ),
        accepted(SLO, &refers(&"a".repeat(52))),
        refused(
            SLO,
            &refers("''"),
            "spec.pipelineRef.name: Invalid value: \"\": spec.pipelineRef.name in body should be at least 1 chars long",
            exists,
        ),
        refused(
            SLO,
            &refers(&"a".repeat(53)),
            "spec.pipelineRef.name: Too long: may not be more than 52 bytes",
            exists,
        ),
    ]
}

fn objectives() -> Vec<Case> {
    let patch = |list: &str| format!("spec: {{objectives: [{list}]}}");
    let numbered = |count: usize| {
        let objectives = (0..count).map(|index| format!("{{name: o{index}, delivery: {{}}}}"));
        patch(&objectives.collect::<Vec<_>>().join(", "))
    };
    vec![
        accepted(SLO, &numbered(16)),
        refused(
            SLO,
            &patch(""),
            "spec.objectives: Invalid value: 0: spec.objectives in body should have at least 1 items",
            "spec.objectives: must have 1 to 16 objectives",
        ),
        refused(
            SLO,
            &numbered(17),
            "spec.objectives: Too many: 17: must have at most 16 items",
            "spec.objectives: must have 1 to 16 objectives",
        ),
        refused(
            SLO,
            &patch("{name: a, delivery: {}}, {name: a, delivery: {}}"),
            "spec.objectives[1]: Duplicate value: {\"name\":\"a\"}",
            "spec.objectives[1].name: \"a\" is used twice: each name must be unique",
        ),
        refused(
            SLO,
            &patch("{delivery: {}}"),
            "spec.objectives[0].name: Required value",
            "spec.objectives[0]: missing field `name`",
        ),
    ]
}

fn kinds() -> Vec<Case> {
    let patch = |objective: &str| format!("spec: {{objectives: [{{name: a, {objective}}}]}}");
    let one = "an objective needs exactly one kind: set one of latency, errorRate and delivery";
    let target = "must be set, except for a delivery objective, which is strict and has none";
    vec![
        accepted(SLO, &patch("target: '99', latency: {threshold: 50ms}")),
        accepted(SLO, &patch("delivery: {maxLost: 3}")),
        refused_alike(SLO, &patch("target: '99'"), "spec.objectives[0]", one),
        refused_alike(
            SLO,
            &patch("target: '99', latency: {threshold: 50ms}, errorRate: {}"),
            "spec.objectives[0]",
            one,
        ),
        refused_alike(SLO, &patch("errorRate: {}"), "spec.objectives[0].target", target),
        refused_alike(
            SLO,
            &patch("target: '99', delivery: {}"),
            "spec.objectives[0].target",
            target,
        ),
        refused(
            SLO,
            &patch("target: '99', latency: {}"),
            "spec.objectives[0].latency.threshold: Required value",
            "spec.objectives[0].latency: missing field `threshold`",
        ),
        refused(
            SLO,
            &patch("target: 99.5, errorRate: {}"),
            "spec.objectives[0].target: Invalid value: \"number\": spec.objectives[0].target in body must be of type string: \"number\"",
            "spec.objectives[0].target: invalid type: floating point `99.5`, expected a string",
        ),
    ]
}

fn slices() -> Vec<Case> {
    let patch = |window: &str, slice: &str, latency: &str| {
        format!(
            "spec: {{timeWindow: {{duration: {window}}}, objectives: [{{name: a, target: '99', timeSlice: {{window: {slice}}}, latency: {{threshold: 50ms{latency}}}}}]}}"
        )
    };
    let quantile = ", quantile: '0.95'";
    let field = "spec.objectives[0].timeSlice";
    let needs =
        "needs latency.quantile: only a latency objective with a quantile is judged by time slices";
    let mut cases = vec![
        refused_alike(SLO, &patch("28d", "1m", ""), field, needs),
        refused_alike(
            SLO,
            "spec: {objectives: [{name: a, target: '99', timeSlice: {window: 1m}, errorRate: {}}]}",
            field,
            needs,
        ),
    ];
    for (window, slice) in [("30m", "30m"), ("1h", "1h"), ("1d", "1h"), ("1w", "1h")] {
        cases.push(accepted(SLO, &patch(window, slice, quantile)));
    }
    for (window, slice) in [("30m", "30m5s"), ("1m", "1h")] {
        cases.push(refused(
            SLO,
            &patch(window, slice, quantile),
            "spec.objectives: Invalid value: a timeSlice.window must be not longer than the time window: shorten it, or lengthen timeWindow.duration",
            "spec.objectives[0].timeSlice.window: must be not longer than the time window: shorten it, or lengthen timeWindow.duration",
        ));
    }
    cases
}

fn required() -> Vec<Case> {
    vec![
        accepted(SLO, "spec: {timeWindow: {isRolling: true}}"),
        refused(
            SLO,
            "spec: {timeWindow: {isRolling: false}}",
            "spec.timeWindow.isRolling: Invalid value: false: must be true, because calendar windows are not supported",
            "spec.timeWindow.isRolling: must be true, because calendar windows are not supported",
        ),
        refused(SLO, "spec: null", "spec: Required value", "missing field `spec`"),
        refused(
            SLO,
            "spec: {pipelineRef: null}",
            "spec.pipelineRef: Required value",
            "spec: missing field `pipelineRef`",
        ),
        refused(
            SLO,
            "spec: {timeWindow: null}",
            "spec.timeWindow: Required value",
            "spec: missing field `timeWindow`",
        ),
        refused(
            SLO,
            "spec: {objectives: null}",
            "spec.objectives: Required value",
            "spec: missing field `objectives`",
        ),
        refused(
            SLO,
            "spec: {timeWindow: {duration: null}}",
            "spec.timeWindow.duration: Required value",
            "spec.timeWindow: missing field `duration`",
        ),
        refused(
            SLO,
            "spec: {pipelineRef: {name: null}}",
            "spec.pipelineRef.name: Required value",
            "spec.pipelineRef: missing field `name`",
        ),
    ]
}
