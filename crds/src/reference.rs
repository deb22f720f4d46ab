//! Makes the reference of a kind out of its definition: every field with its type and unit, default and limits, and
//! every rule, in the words that a user reads when it is broken.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
    ValidationRule,
};
use serde_json::Value;

/// What a text is, by how the sentence of its form begins; the sentence itself gives examples.
const SCALARS: [(&str, &str); 5] = [
    ("must be a duration", "duration"),
    ("must be a time window", "time window"),
    ("must be a number of bytes", "bytes"),
    ("must be a number of cores", "cores"),
    ("must be a percentage", "percentage"),
];

const INTRODUCTION: &str = "\
Made from the types in crds/src by `cargo xtask crds`; not to be edited.

A *duration* is a number with its unit, `ms`, `s`, `m` or `h`, or up to three such: `250ms`, `15s`, `1h30m`.
*Bytes* are a text, a number alone or with `Ki`, `Mi` or `Gi`: `\"4096\"`, `64Ki`, `1Gi`. *Cores* are a text, too:
`500m`, `\"0.5\"` or `\"2\"`. A *percentage* is a text such as `\"99.5\"`. What would be a number in YAML stands in quotes.
A *time window* is one number with `m`, `h`, `d` or `w`: `30m`, `28d`.
A field without a default may be left out where it isn't required; the text says what holds then.
";

/// The reference of a definition's newest version, as a page of Markdown.
#[must_use]
pub fn reference(definition: &CustomResourceDefinition) -> String {
    let mut page = format!("# {}\n\n{INTRODUCTION}", definition.spec.names.kind);
    let version = definition.spec.versions.last();
    let schema = version.and_then(|version| version.schema.as_ref());
    let root = schema.and_then(|schema| schema.open_api_v3_schema.as_ref());
    for (name, schema) in root.into_iter().flat_map(properties) {
        object(&mut page, name, schema);
    }
    page
}

/// Appends the section of an object, and those of the objects in it.
fn object(page: &mut String, path: &str, schema: &JSONSchemaProps) {
    let description = schema.description.as_deref().unwrap_or_default();
    // Writing into a text can't fail.
    let _ = write!(page, "\n## {path}\n\n{description}\n");
    if properties(schema).next().is_some() {
        page.push_str("\n| field | type | default | limits | what |\n|---|---|---|---|---|\n");
    }
    for (name, field) in properties(schema) {
        let required = schema.required.iter().flatten().any(|required| required == name);
        row(page, path, name, field, required);
    }
    let rules = schema.x_kubernetes_validations.iter().flatten().filter_map(sentence);
    for (index, rule) in rules.enumerate() {
        page.push_str(if index == 0 { "\n- " } else { "- " });
        page.push_str(&rule);
        page.push('\n');
    }
    for (name, field) in properties(schema) {
        if let Some((suffix, inner)) = inner(field) {
            object(page, &format!("{path}.{name}{suffix}"), inner);
        }
    }
}

fn row(page: &mut String, path: &str, name: &str, field: &JSONSchemaProps, required: bool) {
    let kind = match inner(field) {
        Some((suffix, _)) => {
            let target = format!("{path}.{name}{suffix}");
            format!("[{}](#{})", kind(field), anchor(&target))
        }
        None => kind(field),
    };
    let default = match &field.default {
        _ if required => "required".to_owned(),
        None => String::new(),
        Some(JSON(Value::String(text))) => format!("`{text}`"),
        Some(JSON(value)) => format!("`{value}`"),
    };
    let what = field.description.as_deref().unwrap_or_default();
    let cells = [kind, default, limits(field), what.to_owned()].map(|cell| cell_text(&cell));
    let _ = writeln!(page, "| `{name}` | {} |", cells.join(" | "));
}

fn properties(
    schema: &JSONSchemaProps,
) -> impl Iterator<Item = (&String, &JSONSchemaProps)> + Clone {
    schema.properties.iter().flatten()
}

/// The object with fields that a field is, or that stands in it, and how the path goes on to it.
fn inner(field: &JSONSchemaProps) -> Option<(&'static str, &JSONSchemaProps)> {
    let (suffix, schema) = match (&field.items, &field.additional_properties) {
        (Some(JSONSchemaPropsOrArray::Schema(items)), _) => ("[]", &**items),
        (_, Some(JSONSchemaPropsOrBool::Schema(values))) => (".*", &**values),
        (_, _) => ("", field),
    };
    let has_section = properties(schema).next().is_some() || is_empty_object(schema);
    has_section.then_some((suffix, schema))
}

/// Whether it has a meaning by being there.
fn is_empty_object(schema: &JSONSchemaProps) -> bool {
    schema.type_.as_deref() == Some("object") && schema.additional_properties.is_none()
}

fn kind(field: &JSONSchemaProps) -> String {
    let of = |schema: &JSONSchemaProps| kind(schema);
    match (&field.items, &field.additional_properties) {
        (Some(JSONSchemaPropsOrArray::Schema(items)), _) => format!("list of {}", of(items)),
        (_, Some(JSONSchemaPropsOrBool::Schema(values))) => format!("map of {}", of(values)),
        (_, _) => {
            let named = forms(field).find_map(|(_, name)| name);
            let type_ = field.type_.as_deref().unwrap_or("any");
            named.unwrap_or(if type_ == "string" { "text" } else { type_ }).to_owned()
        }
    }
}

/// The sentences of a field's own rules, each with the kind of text that it is the form of.
fn forms(field: &JSONSchemaProps) -> impl Iterator<Item = (&str, Option<&'static str>)> {
    let rules = field.x_kubernetes_validations.iter().flatten();
    rules.filter_map(|rule| rule.message.as_deref()).map(|message| {
        let known = SCALARS.iter().find(|(beginning, _)| message.starts_with(beginning));
        (message, known.map(|(_, name)| *name))
    })
}

/// What a value must keep to. What is said of an object stands in its section.
fn limits(field: &JSONSchemaProps) -> String {
    let mut said = Vec::new();
    let choices = field.enum_.iter().flatten().filter_map(|JSON(choice)| choice.as_str());
    let choices: Vec<_> = choices.map(|choice| format!("`{choice}`")).collect();
    if !choices.is_empty() {
        said.push(choices.join(", "));
    }
    said.extend(range(field.minimum, field.maximum, ""));
    let scalar = forms(field).any(|(_, name)| name.is_some());
    if field.type_.as_deref() == Some("string") && !scalar {
        said.extend(counted(field.min_length, field.max_length, " characters"));
    }
    said.extend(counted(field.min_items, field.max_items, " items"));
    said.extend(counted(field.min_properties, field.max_properties, " entries"));
    if inner(field).is_none_or(|(suffix, _)| !suffix.is_empty()) {
        let own = forms(field).filter(|(_, name)| name.is_none());
        said.extend(own.map(|(message, _)| message.to_owned()));
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &field.items
        && inner(field).is_none()
    {
        said.extend(Some(limits(items)).filter(|limits| !limits.is_empty()));
    }
    said.join("; ")
}

#[expect(clippy::cast_precision_loss, reason = "these are small")]
fn counted(least: Option<i64>, most: Option<i64>, of: &str) -> Option<String> {
    range(least.map(|least| least as f64), most.map(|most| most as f64), of)
}

fn range(least: Option<f64>, most: Option<f64>, of: &str) -> Option<String> {
    match (least, most) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}{of}")),
        (Some(least), None) => Some(format!("at least {least}{of}")),
        (None, Some(most)) => Some(format!("at most {most}{of}")),
        (None, None) => None,
    }
}

/// A rule as a sentence, with the field that it is about.
fn sentence(rule: &ValidationRule) -> Option<String> {
    let message = rule.message.as_deref()?;
    match rule.field_path.as_deref().map(|path| path.trim_start_matches('.')) {
        Some(field) => Some(format!("`{field}`: {message}")),
        None => Some(message.to_owned()),
    }
}

/// The link to a heading, as Git forges make it.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    heading.chars().filter(kept).map(|c| c.to_ascii_lowercase()).collect()
}

fn cell_text(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions;

    fn pages() -> Vec<String> {
        definitions().iter().map(|(_, definition)| reference(definition)).collect()
    }

    #[test]
    fn every_field_has_a_row_and_every_link_a_section() {
        fn fields(schema: &JSONSchemaProps, path: &str, found: &mut Vec<(String, String)>) {
            for (name, field) in properties(schema) {
                found.push((path.to_owned(), name.clone()));
                if let Some((suffix, inner)) = inner(field) {
                    fields(inner, &format!("{path}.{name}{suffix}"), found);
                }
            }
        }
        for ((_, definition), page) in definitions().iter().zip(pages()) {
            let version = definition.spec.versions.last().unwrap();
            let root = version.schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
            let mut found = Vec::new();
            fields(&root.properties.as_ref().unwrap()["spec"], "spec", &mut found);
            assert!(found.len() > 10);
            for (path, name) in found {
                let section = page.split(&format!("\n## {path}\n")).nth(1).unwrap_or_default();
                let section = section.split("\n## ").next().unwrap();
                assert!(section.contains(&format!("\n| `{name}` |")), "{path}.{name}");
            }
            let headings: Vec<_> =
                page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
            for link in page.split("](#").skip(1) {
                let target = link.split(')').next().unwrap();
                assert!(headings.iter().any(|heading| anchor(heading) == target), "{target}");
            }
        }
    }

    #[test]
    fn a_row_says_type_default_and_limits() {
        let [pipeline, slo] = &pages()[..] else { panic!() };
        for row in [
            "| `heartbeat` | duration | `15s` | must be from 1s to 5m |",
            "| `maxConnections` | integer | `10000` | 1 to 1000000 |",
            "| `maxEventBytes` | bytes | `1Mi` |",
            "| `slowConsumer` | text | `Disconnect` | `Disconnect`, `Conflate`, `DropOldest`, `Block` |",
            "| `sources` | [list of object](#specsources) | required | 1 to 16 items",
            "| `sse` | [object](#specendpointssse) |",
        ] {
            assert!(pipeline.contains(row), "{row}");
        }
        assert!(pipeline.contains("\n- set exactly one of sidecar and gateway\n"), "{pipeline}");
        assert!(pipeline.contains("\n- `conflateKey`: has a meaning only where"), "{pipeline}");
        assert!(slo.contains("| `target` | percentage |"), "{slo}");
    }
}
