//! Holds a manifest against its schema, and says everything that doesn't fit, where serde would stop at
//! the first: unknown and missing fields, wrong types, words that are none of the choices.

use std::str::FromStr;

use schemars::{JsonSchema, schema_for};
use serde_json::{Map, Value};
use weir_crds::scalar::{Duration, Percent, Quantity, ScalarError, TimeWindow};

use super::{places::join, schema::Node};

/// Something that doesn't fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misfit {
    /// The path of what is at fault, by which its place is found.
    pub(super) path: String,
    /// The path of the field that the message is about.
    pub(super) field: String,
    pub(super) message: String,
    /// Whether the field is one that only a newer program may know.
    pub(super) unknown: bool,
}

/// All that doesn't fit in `value`, which stands at `path`.
pub(super) fn misfits(schema: Node<'_>, path: &str, value: &Value) -> Vec<Misfit> {
    let mut found = Vec::new();
    check(schema, path, value, &mut found);
    found
}

fn check(schema: Node<'_>, path: &str, value: &Value, found: &mut Vec<Misfit>) {
    match (schema.type_(), value) {
        (None, _) | (Some("boolean"), Value::Bool(_)) => {}
        (Some("integer"), Value::Number(number)) if number.is_i64() => {}
        (Some("string"), Value::String(text)) => check_text(schema, path, text, found),
        (Some("object"), Value::Object(fields)) => check_fields(schema, path, fields, found),
        (Some("array"), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                if let Some(schema) = schema.items() {
                    check(schema, &format!("{path}[{index}]"), item, found);
                }
            }
        }
        (Some(expected), value) => {
            let message =
                without_unit(schema, value).unwrap_or_else(|| wrong_type(expected, value));
            found.push(at(path, message));
        }
    }
}

fn check_fields(
    schema: Node<'_>,
    path: &str,
    fields: &Map<String, Value>,
    found: &mut Vec<Misfit>,
) {
    for (name, value) in fields {
        match schema.field(name) {
            Some(field) if value.is_null() && field.type_().is_some() => {
                let required = schema.required().any(|required| required == name);
                found.push(at(&join(path, name), empty(field, required).to_owned()));
            }
            Some(schema) => check(schema, &join(path, name), value, found),
            None if schema.is_closed() => {
                let message = format!("unknown field `{name}`{}", hint(name, schema.fields()));
                let (path, field) = (join(path, name), path.to_owned());
                found.push(Misfit { path, field, message, unknown: true });
            }
            None => {}
        }
    }
    for name in schema.required().filter(|&name| !fields.contains_key(name)) {
        found.push(at(path, format!("missing field `{name}`")));
    }
}

/// What is said of a field that has a name and no value.
fn empty(field: Node<'_>, required: bool) -> &'static str {
    let has_defaults = field.type_() == Some("object") && field.required().next().is_none();
    match (required, has_defaults) {
        (true, _) => "is empty: give it a value",
        (false, true) => "is empty: write {} for its defaults, or remove it",
        (false, false) => "is empty: give it a value, or remove it",
    }
}

fn check_text(schema: Node<'_>, path: &str, text: &str, found: &mut Vec<Misfit>) {
    if schema.choices().next().is_some() && !schema.choices().any(|choice| choice == text) {
        let known = schema.choices().collect::<Vec<_>>().join(", ");
        found.push(at(path, format!("`{text}` must be one of {known}")));
    }
    let scalar = schema.pattern().and_then(|pattern| check_scalar(pattern, text));
    if let Some(error) = scalar {
        found.push(at(path, error.to_string()));
    }
}

/// Checks a text by the scalar that has this pattern, whose message says more than the pattern would.
fn check_scalar(pattern: &str, text: &str) -> Option<ScalarError> {
    fn of<S: JsonSchema + FromStr<Err = ScalarError>>(
        pattern: &str,
        text: &str,
    ) -> Option<ScalarError> {
        let own = schema_for!(S);
        let is_own = own.get("pattern").and_then(Value::as_str) == Some(pattern);
        is_own.then(|| text.parse::<S>().err()).flatten()
    }
    of::<Duration>(pattern, text)
        .or_else(|| of::<TimeWindow>(pattern, text))
        .or_else(|| of::<Percent>(pattern, text))
        .or_else(|| of::<Quantity>(pattern, text))
}

fn at(path: &str, message: String) -> Misfit {
    Misfit { path: path.to_owned(), field: path.to_owned(), message, unknown: false }
}

/// What is said of a bare number where a time is wanted: quotes would not mend it.
fn without_unit(schema: Node<'_>, value: &Value) -> Option<String> {
    let (what, usual, name, others) = match schema.pattern()? {
        Duration::PATTERN => ("a duration", "s", "seconds", ["ms", "m", "h"]),
        TimeWindow::PATTERN => ("a time window", "d", "days", ["m", "h", "w"]),
        _ => return None,
    };
    let (number, error) =
        (value.as_number()?, check_scalar(schema.pattern()?, &value.to_string())?);
    // With a unit, what has a fraction or a sign would be none, either.
    Some(match number.as_u64() {
        Some(number) => {
            let [a, b, c] = others.map(|unit| format!("{number}{unit}"));
            format!(
                "must be {what} with its unit, not the number {number}: write {number}{usual} for {name}, or \
                 {a}, {b} or {c}"
            )
        }
        None => error.to_string(),
    })
}

fn wrong_type(expected: &str, value: &Value) -> String {
    let found = match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(truth) => format!("the truth value {truth}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {:?}", text.chars().take(64).collect::<String>()),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    };
    match (expected, value) {
        ("string", Value::Number(_) | Value::Bool(_)) => {
            format!("must be a text, not {found}: write \"{value}\", in quotes")
        }
        ("string", _) => format!("must be a text, not {found}"),
        ("integer", _) => format!("must be a whole number, not {found}"),
        ("boolean", _) => format!("must be true or false, not {found}"),
        ("array", _) => format!("must be a list, not {found}"),
        (_, _) => format!("must be a map, not {found}"),
    }
}

/// What may have been meant by `name`: the nearest of the known names, or else all of them.
pub(super) fn hint<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.collect();
    let lower = name.to_lowercase();
    let distance = |other: &str| strsim::damerau_levenshtein(&lower, &other.to_lowercase());
    // One slip for every three letters; a shorter word may have one.
    let near = known.iter().map(|other| (distance(other), *other)).min();
    match near {
        Some((slips, near)) if slips <= (name.len() / 3).max(1) => {
            format!("; did you mean `{near}`?")
        }
        Some(_) => format!("; known are {}", known.join(", ")),
        None => "; there are no fields here".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_or_else_all_of_them() {
        let known = || ["heartbeat", "cors", "per"].into_iter();
        for (name, expected) in [
            ("hartbeat", "; did you mean `heartbeat`?"),
            ("HeartBeat", "; did you mean `heartbeat`?"),
            ("cosr", "; did you mean `cors`?"),
            ("pre", "; did you mean `per`?"),
            ("timeout", "; known are heartbeat, cors, per"),
        ] {
            assert_eq!(hint(name, known()), expected);
        }
        assert_eq!(hint("x", std::iter::empty()), "; there are no fields here");
    }
}
