//! Holds messages to the schema that the documentation has: of JSON Schema, what that one uses.

use serde_json::Value;

const SCHEMA: &str = include_str!("../../../docs/schema/websocket.json");

/// Fails unless a message is as the definition of this name says.
pub(crate) fn hold(definition: &str, message: &Value) {
    let root: Value = serde_json::from_str(SCHEMA).unwrap();
    let schema = &root["$defs"][definition];
    assert!(schema.is_object(), "no definition {definition}");
    if let Err(why) = check(&root, schema, message) {
        panic!("{message} is no {definition}: {why}");
    }
}

fn check(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let fits = match keyword.as_str() {
            "description" => true,
            "$ref" => {
                let path = rule.as_str().unwrap().strip_prefix('#').unwrap();
                return check(root, root.pointer(path).expect(path), value);
            }
            "oneOf" => {
                let tried: Vec<_> =
                    rule.as_array().unwrap().iter().map(|one| check(root, one, value)).collect();
                let fitting = tried.iter().filter(|tried| tried.is_ok()).count();
                if fitting != 1 {
                    return Err(format!("{fitting} of {} fit: {tried:?}", tried.len()));
                }
                true
            }
            "type" => match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_i64() || value.is_u64(),
                other => panic!("the type {other}"),
            },
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_i64() >= rule.as_i64(),
            "maximum" => value.as_i64() <= rule.as_i64(),
            "minLength" => {
                value.as_str().is_some_and(|text| text.len() as u64 >= rule.as_u64().unwrap())
            }
            "maxLength" => {
                value.as_str().is_some_and(|text| text.len() as u64 <= rule.as_u64().unwrap())
            }
            "minItems" => {
                value.as_array().is_some_and(|list| list.len() as u64 >= rule.as_u64().unwrap())
            }
            "items" => {
                value
                    .as_array()
                    .into_iter()
                    .flatten()
                    .try_for_each(|item| check(root, rule, item))?;
                true
            }
            "required" => rule
                .as_array()
                .unwrap()
                .iter()
                .all(|name| value.get(name.as_str().unwrap()).is_some()),
            "properties" => {
                for (name, rule) in rule.as_object().unwrap() {
                    value.get(name).map_or(Ok(()), |member| check(root, rule, member))?;
                }
                true
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object().unwrap();
                rule == &Value::Bool(true)
                    || value
                        .as_object()
                        .into_iter()
                        .flatten()
                        .all(|(name, _)| known.contains_key(name))
            }
            other => panic!("the keyword {other} is not checked here"),
        };
        if !fits {
            return Err(format!("{keyword} {rule}"));
        }
    }
    Ok(())
}

#[test]
#[should_panic(expected = "is no v1.pong")]
fn a_message_with_a_member_too_many_is_noticed() {
    hold("v1.pong", &serde_json::json!({"type": "pong", "more": 1}));
}
