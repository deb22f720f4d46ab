//! Writes label selectors as the text that a list request takes.

use std::collections::BTreeMap;

use weir_crds::v1alpha1::{LabelSelector, Operator};

/// The text of a selector; empty for one that requires nothing.
#[must_use]
pub fn render(selector: &LabelSelector) -> String {
    let LabelSelector { match_labels, match_expressions } = selector;
    let equal = match_labels.iter().map(|(key, value)| format!("{key}={value}"));
    let expressions = match_expressions.iter().map(|requirement| {
        let key = &requirement.key;
        let values = requirement.values.join(",");
        match requirement.operator {
            Operator::In => format!("{key} in ({values})"),
            Operator::NotIn => format!("{key} notin ({values})"),
            Operator::Exists => key.clone(),
            Operator::DoesNotExist => format!("!{key}"),
        }
    });
    equal.chain(expressions).collect::<Vec<_>>().join(",")
}

/// The text of a selector that requires exactly these labels.
#[must_use]
pub fn of_labels(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_requirement_is_written_as_the_api_server_reads_it() {
        let selector = serde_json::json!({
            "matchLabels": { "app": "shop" },
            "matchExpressions": [
                { "key": "tier", "operator": "In", "values": ["a", "b"] },
                { "key": "zone", "operator": "NotIn", "values": ["c"] },
                { "key": "on", "operator": "Exists" },
                { "key": "off", "operator": "DoesNotExist" },
            ],
        });
        let selector: LabelSelector = serde_json::from_value(selector).unwrap();
        assert_eq!(render(&selector), "app=shop,tier in (a,b),zone notin (c),on,!off");
    }
}
