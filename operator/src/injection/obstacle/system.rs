//! For which operating system a pod is: few say so by `os`, most by the nodes that they ask for.

use serde_json::Value;

/// What a pod for it is told.
pub(in crate::injection) const WORDS: &str = "it is for Windows, for which there is no sidecar";
/// What it is called.
pub(in crate::injection) const WINDOWS: &str = "windows";
/// The label by which nodes say what runs on them.
pub(in crate::injection) const LABEL: &str = "kubernetes.io/os";

/// Whether the pod can run on nodes with Windows alone.
pub(super) fn is_windows(spec: &Value) -> bool {
    let says = |value: Option<&Value>| value.and_then(Value::as_str) == Some(WINDOWS);
    let selected = spec.get("nodeSelector").and_then(|labels| labels.get(LABEL));
    says(spec.pointer("/os/name")) || says(selected) || is_required(spec)
}

/// Whether every node that the affinity admits has it: the terms are alternatives.
fn is_required(spec: &Value) -> bool {
    let terms = spec.pointer(
        "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms",
    );
    let terms = terms.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    !terms.is_empty() && terms.iter().all(is_for_windows)
}

fn is_for_windows(term: &Value) -> bool {
    let expressions = term.get("matchExpressions").and_then(Value::as_array);
    expressions.into_iter().flatten().any(|expression| {
        let text = |key: &str| expression.get(key).and_then(Value::as_str);
        let values = expression.get("values").and_then(Value::as_array);
        let values = values.map_or(&[][..], Vec::as_slice);
        text("key") == Some(LABEL)
            && text("operator") == Some("In")
            && !values.is_empty()
            && values.iter().all(|value| value.as_str() == Some(WINDOWS))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn required(terms: &Value) -> Value {
        json!({ "affinity": { "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms },
        } } })
    }

    #[test]
    fn a_pod_for_windows_says_so_in_one_of_three_ways() {
        let on = |values: Value| {
            json!({ "matchExpressions": [
                { "key": "kubernetes.io/os", "operator": "In", "values": values },
            ] })
        };
        for (spec, expected) in [
            (json!({}), false),
            (json!({ "os": { "name": "windows" } }), true),
            (json!({ "os": { "name": "linux" } }), false),
            (json!({ "nodeSelector": { "kubernetes.io/os": "windows" } }), true),
            (json!({ "nodeSelector": { "kubernetes.io/os": "linux" } }), false),
            (required(&json!([on(json!(["windows"]))])), true),
            (required(&json!([on(json!(["windows"])), on(json!(["linux"]))])), false),
            (required(&json!([on(json!(["windows", "linux"]))])), false),
            (
                required(&json!([{ "matchExpressions": [
                { "key": "kubernetes.io/os", "operator": "NotIn", "values": ["windows"] },
            ] }])),
                false,
            ),
        ] {
            assert_eq!(is_windows(&spec), expected, "{spec}");
        }
    }
}
