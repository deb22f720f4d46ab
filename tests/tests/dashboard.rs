//! Holds the chart's dashboard to metrics that there are.

// Tells the lints that all of it is a test.
#![cfg(test)]

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use weir_tests::{metrics_in, sources};

const DASHBOARD: &str = include_str!("../../charts/weir/files/dashboards/weir.json");
const SIDECAR: &str = include_str!("../../docs/metrics.md");
/// What every metric of the operator begins with.
const OPERATOR: &str = "weir_operator_";

/// The expressions of all panels and variables.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            let own = ["expr", "query"].iter().filter_map(|key| object.get(*key)?.as_str());
            found.extend(own.map(str::to_owned));
            object.values().for_each(|value| expressions(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The metrics that are asked for, without the endings that a scrape adds.
fn metrics() -> BTreeSet<String> {
    let mut found = Vec::new();
    expressions(&serde_json::from_str(DASHBOARD).unwrap(), &mut found);
    metrics_in(found.iter().map(String::as_str))
}

#[test]
fn every_metric_of_a_sidecar_is_one_that_it_has() {
    let (operators, sidecars): (Vec<_>, Vec<_>) =
        metrics().into_iter().partition(|name| name.starts_with(OPERATOR));
    assert!(sidecars.len() > 10 && operators.len() > 3, "{sidecars:?} {operators:?}");
    for name in sidecars {
        assert!(SIDECAR.contains(&format!("| `{name}` |")), "{name} is not in docs/metrics.md");
    }
}

#[test]
fn every_metric_of_the_operator_is_registered_by_it() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../operator/src")).unwrap();
    for name in metrics().iter().filter_map(|name| name.strip_prefix(OPERATOR)) {
        // A unit stands apart from the name.
        let unit = ["_seconds", "_ratio"].iter().find_map(|unit| name.strip_suffix(unit));
        let literal = format!("\"{}\"", unit.unwrap_or(name));
        assert!(sources.iter().any(|text| text.contains(&literal)), "nobody registers {literal}");
    }
}
