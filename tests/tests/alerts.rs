//! Holds the rules of docs/alerts.md to metrics and conditions that there are.

// Tells the lints that all of it is a test.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};

use kube::Resource as _;
use serde_json::{Value, json};
use weir_crds::v1alpha1::{StreamPipeline, StreamSLO};
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

/// The metrics that kube-state-metrics is told to make, each with the labels that it is given.
fn made_of_conditions() -> BTreeMap<String, BTreeSet<String>> {
    let [config]: [Value; 1] = of_kind("CustomResourceStateMetrics").try_into().unwrap();
    let mut made = BTreeMap::new();
    for resource in config["spec"]["resources"].as_array().unwrap() {
        let prefix = text(resource, "metricNamePrefix");
        for metric in resource["metrics"].as_array().unwrap() {
            let own = &metric["each"]["info"]["labelsFromPath"];
            let labels =
                [&resource["labelsFromPath"], own].map(|labels| labels.as_object().unwrap());
            let labels = labels.iter().flat_map(|labels| labels.keys().cloned()).collect();
            made.insert(format!("{prefix}_{}", text(metric, "name")), labels);
        }
    }
    made
}

/// The labels of which a rule asks or tells.
fn labels_of(rule: &Value) -> BTreeSet<String> {
    let expression = text(rule, "expr");
    let selector =
        expression.split_once('{').map_or("", |(_, rest)| rest.split('}').next().unwrap());
    let asked = selector.split(',').map(|matcher| matcher.split(['=', '!']).next().unwrap());
    let summary = text(&rule["annotations"], "summary");
    let is_other = |character: char| !character.is_alphanumeric() && character != '_';
    let told = summary.split("$labels.").skip(1).map(|rest| rest.split(is_other).next().unwrap());
    asked.chain(told).map(str::to_owned).collect()
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
            let is_there = OPERATOR.contains(&row)
                || SIDECAR.contains(&row)
                || of_conditions.contains_key(&name);
            assert!(is_there, "nobody has {name}");
        }
        let severity = text(&rule["labels"], "severity");
        assert!(["page", "ticket"].contains(&severity), "{rule}");
        assert!(rule["annotations"]["summary"].is_string(), "{rule}");
    }
}

#[test]
fn kube_state_metrics_looks_at_our_kinds_and_gives_each_label_that_a_rule_asks_for() {
    let [config]: [Value; 1] = of_kind("CustomResourceStateMetrics").try_into().unwrap();
    let resources = config["spec"]["resources"].as_array().unwrap();
    let kinds: Vec<Value> =
        resources.iter().map(|resource| resource["groupVersionKind"].clone()).collect();
    let kind = |kind: &str| json!({ "group": "weir.dev", "version": "v1alpha1", "kind": kind });
    let of = [StreamSLO::kind(&()), StreamPipeline::kind(&())];
    assert_eq!(kinds, of.map(|name| kind(&name)));
    let of_conditions = made_of_conditions();
    let mut held = 0;
    for rule in rules() {
        let asked = metrics_in([text(&rule, "expr")]);
        let Some(made) = asked.iter().find_map(|name| of_conditions.get(name)) else { continue };
        for label in labels_of(&rule) {
            // The namespace, where the scrape honours no labels.
            assert!(made.contains(&label) || label == "exported_namespace", "{label}: {rule}");
        }
        held += 1;
    }
    assert_eq!(held, 4);
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
