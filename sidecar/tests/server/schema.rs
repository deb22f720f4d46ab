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
        let nested = check_nested(root, keyword, rule, value);
        let fits = nested.unwrap_or_else(|| Ok(is_fitting(schema, keyword, rule, value)))?;
        if !fits {
            return Err(format!("{keyword} {rule}"));
        }
    }
    Ok(())
}

/// The keywords that lead to other schemas; nothing for any other.
fn check_nested(
    root: &Value,
    keyword: &str,
    rule: &Value,
    value: &Value,
) -> Option<Result<bool, String>> {
    let checked = match keyword {
        "$ref" => {
            let path = rule.as_str().unwrap().strip_prefix('#').unwrap();
            check(root, root.pointer(path).expect(path), value)
        }
        "oneOf" => {
            let tried: Vec<_> =
                rule.as_array().unwrap().iter().map(|one| check(root, one, value)).collect();
            match tried.iter().filter(|tried| tried.is_ok()).count() {
                1 => Ok(()),
                fitting => Err(format!("{fitting} of {} fit: {tried:?}", tried.len())),
            }
        }
        "items" => {
            let mut items = value.as_array().into_iter().flatten();
            items.try_for_each(|item| check(root, rule, item))
        }
        "properties" => rule.as_object().unwrap().iter().try_for_each(|(name, rule)| {
            value.get(name).map_or(Ok(()), |member| check(root, rule, member))
        }),
        _ => return None,
    };
    Some(checked.map(|()| true))
}

fn is_fitting(schema: &Value, keyword: &str, rule: &Value, value: &Value) -> bool {
    let text =
        |fits: &dyn Fn(u64) -> bool| value.as_str().is_some_and(|text| fits(text.len() as u64));
    match keyword {
        "description" => true,
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
        "minLength" => text(&|length| length >= rule.as_u64().unwrap()),
        "maxLength" => text(&|length| length <= rule.as_u64().unwrap()),
        "minItems" => {
            value.as_array().is_some_and(|list| list.len() as u64 >= rule.as_u64().unwrap())
        }
        "required" => {
            rule.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some())
        }
        "additionalProperties" => {
            let known = schema["properties"].as_object().unwrap();
            let mut members = value.as_object().into_iter().flatten();
            rule == &Value::Bool(true) || members.all(|(name, _)| known.contains_key(name))
        }
        other => panic!("the keyword {other} is not checked here"),
    }
}

#[test]
#[should_panic(expected = "is no v1.pong")]
fn a_message_with_a_member_too_many_is_noticed() {
    hold("v1.pong", &serde_json::json!({"type": "pong", "more": 1}));
}
