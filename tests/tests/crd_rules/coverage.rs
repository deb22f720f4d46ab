//! Finds the rules of the definitions that no case of the table breaks.

use serde_json::Value;

use crate::table::{Case, Verdict};

/// Something that the API server enforces, and the words by which its refusal is known.
struct Constraint {
    field: String,
    words: String,
}

/// The constraints that nothing in the table is refused for.
pub(crate) fn untested(cases: &[Case]) -> Vec<String> {
    let mut untested = Vec::new();
    for (_, definition) in weir_crds::definitions() {
        let definition = serde_json::to_value(definition).unwrap();
        let kind = &definition["spec"]["names"]["kind"];
        let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut constraints = Vec::new();
        collect(spec, "", &mut constraints);
        let refusals: Vec<_> = cases.iter().filter(|case| case.object["kind"] == *kind).collect();
        for Constraint { field, words } in constraints {
            if !refusals.iter().any(|case| breaks(case, &field, &words)) {
                untested.push(format!("{kind} {field}: {words}"));
            }
        }
    }
    untested
}

fn breaks(case: &Case, field: &str, words: &str) -> bool {
    let Verdict::Refused { server, file: _ } = &case.verdict else { return false };
    let (refused, said) = server.split_once(": ").unwrap();
    without_indices(refused) == field && said.contains(words)
}

/// `spec.sources[1].name` as `spec.sources[].name`.
fn without_indices(field: &str) -> String {
    field.chars().filter(|c| !c.is_ascii_digit()).collect()
}

fn collect(schema: &Value, field: &str, found: &mut Vec<Constraint>) {
    let mut add = |field: &str, words: String| {
        let field = if field.is_empty() { "<nil>" } else { field.trim_start_matches('.') };
        found.push(Constraint { field: field.to_owned(), words });
    };
    for (keyword, value) in schema.as_object().unwrap() {
        for (below, words) in words(keyword, value) {
            add(&format!("{field}{below}"), words);
        }
    }
    let dot = if field.is_empty() { "" } else { "." };
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        // The status is the operator's own.
        if !(field.is_empty() && name == "status") {
            collect(property, &format!("{field}{dot}{name}"), found);
        }
    }
    if schema["items"].is_object() {
        collect(&schema["items"], &format!("{field}[]"), found);
    }
    if schema["additionalProperties"].is_object() {
        collect(&schema["additionalProperties"], &format!("{field}.x"), found);
    }
}

/// What the API server says, and of which field below this one, when a keyword of the schema is broken.
fn words(keyword: &str, value: &Value) -> Vec<(String, String)> {
    let here = |words: String| vec![(String::new(), words)];
    match keyword {
        "minimum" => here(format!("should be greater than or equal to {}", shown(value))),
        "maximum" => here(format!("should be less than or equal to {}", shown(value))),
        "minLength" => here(format!("should be at least {value} chars long")),
        "maxLength" => here(format!("Too long: may not be more than {value} bytes")),
        "minItems" => here(format!("should have at least {value} items")),
        "maxItems" => here(format!("must have at most {value} items")),
        "maxProperties" => here(format!("must have at most {value} items")),
        "enum" => here("Unsupported value".to_owned()),
        "pattern" => here(format!("should match '{}'", value.as_str().unwrap())),
        "x-kubernetes-list-map-keys" => vec![("[]".to_owned(), "Duplicate value".to_owned())],
        "required" => value
            .as_array()
            .unwrap()
            .iter()
            .map(|name| (format!(".{}", name.as_str().unwrap()), "Required value".to_owned()))
            .collect(),
        "x-kubernetes-validations" => value.as_array().unwrap().iter().map(rule).collect(),
        _ => Vec::new(),
    }
}

fn rule(rule: &Value) -> (String, String) {
    let transition = rule["rule"].as_str().unwrap().contains("oldSelf");
    assert!(!transition, "the table knows no updates, which this rule is about: {rule}");
    let field = rule["fieldPath"].as_str().unwrap_or_default();
    (field.to_owned(), rule["message"].as_str().unwrap().to_owned())
}

/// A bound as the API server prints it: without the decimals that the type of the schema brings.
fn shown(bound: &Value) -> String {
    bound.as_f64().unwrap().to_string()
}
