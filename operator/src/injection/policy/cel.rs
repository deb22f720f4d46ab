//! Writes values as CEL.

use serde_json::Value;

/// A value as a literal. The API server wants all values of a map, and all items of a list, to be of one type;
/// so each is said to be of any.
pub(super) fn literal(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(any).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| format!("{}: {}", text(key), any(value));
            let fields: Vec<String> = fields.iter().map(field).collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

fn any(value: &Value) -> String {
    format!("dyn({})", literal(value))
}

/// A text as a literal: CEL knows the escapes of JSON.
pub(super) fn text(text: &str) -> String {
    Value::from(text).to_string()
}

/// An operation of a JSON Patch; `path` and `value` are expressions.
pub(super) fn add(path: &str, value: &str) -> String {
    format!(r#"JSONPatch{{op: "add", path: {path}, value: {value}}}"#)
}

/// These operations where a condition holds, else none.
pub(super) fn when(condition: &str, operations: &[String]) -> String {
    format!("({condition} ? [{}] : [])", operations.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_of_many_types_is_a_literal_of_any() {
        let value = json!({ "a": [1, true], "b": "say \"x\"\n" });
        let expected = r#"{"a": dyn([dyn(1), dyn(true)]), "b": dyn("say \"x\"\n")}"#;
        assert_eq!(literal(&value), expected);
    }
}
