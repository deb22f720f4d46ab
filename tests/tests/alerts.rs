//! Holds the rules of docs/alerts.md to metrics and conditions that there are.

// Tells the lints that all of it is a test.
#![cfg(test)]

use std::collections::BTreeSet;

use serde_json::Value;
use weir_tests::metrics_in;

const PAGE: &str = include_str!("../../docs/alerts.md");
const OPERATOR: &str = include_str!("../../docs/operator-metrics.md");
const SIDECAR: &str = include_str!("../../docs/metrics.md");
/// Where the conditions are named.
const PIPELINE: &str = include_str!("../../operator/src/pipeline/status.rs");
const SLO: &str = include_str!("../../operator/src/slo/status/conditions.rs");

/// The documents of YAML on the page.
fn documents() -> Vec<Value> {
    let blocks = PAGE.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.map(|text| serde_yaml::from_str(text).unwrap()).collect()
}

fn of_kind(kind: &str) -> Vec<Value> {
    documents().into_iter().filter(|document| document["kind"] == kind).collect()
}

/// The rules of the page.
fn rules() -> Vec<Value> {
    let all = of_kind("PrometheusRule");
    assert_eq!(all.len(), 2);
    let groups = all.iter().flat_map(|rule| rule["spec"]["groups"].as_array().unwrap());
    groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

/// The metrics that kube-state-metrics is told to make.
fn made_of_conditions() -> BTreeSet<String> {
    let [config]: [Value; 1] = of_kind("CustomResourceStateMetrics").try_into().unwrap();
    let resources = config["spec"]["resources"].as_array().unwrap();
    let names = resources.iter().flat_map(|resource| {
        let metrics = resource["metrics"].as_array().unwrap();
        let prefix = text(resource, "metricNamePrefix");
        metrics.iter().map(move |metric| format!("{prefix}_{}", text(metric, "name")))
    });
    names.collect()
}

#[test]
fn every_rule_asks_for_metrics_that_there_are() {
    let of_conditions = made_of_conditions();
    assert_eq!(of_conditions.len(), 2);
    for rule in rules() {
        let asked = metrics_in([text(&rule, "expr")]);
        assert!(!asked.is_empty(), "{rule}");
        for name in asked {
            let row = format!("| `{name}` |");
            let is_there =
                OPERATOR.contains(&row) || SIDECAR.contains(&row) || of_conditions.contains(&name);
            assert!(is_there, "nobody has {name}");
        }
        let severity = text(&rule["labels"], "severity");
        assert!(["page", "ticket"].contains(&severity), "{rule}");
        assert!(rule["annotations"]["summary"].is_string(), "{rule}");
    }
}

#[test]
fn every_condition_that_is_asked_for_is_one_that_the_operator_writes() {
    let mut asked = 0;
    for rule in rules() {
        let expression = text(&rule, "expr");
        let Some((_, rest)) = expression.split_once("type=\"") else { continue };
        let condition = format!("\"{}\"", rest.split('"').next().unwrap());
        let written = if expression.starts_with("weir_slo_") { SLO } else { PIPELINE };
        assert!(written.contains(&condition), "no condition {condition}");
        asked += 1;
    }
    assert_eq!(asked, 4);
}
