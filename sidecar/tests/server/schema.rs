//! Holds messages to the schema that the documentation has: of JSON Schema, what that one uses.

use std::sync::LazyLock;

use serde_json::{Value, json};

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../docs/schema/websocket.json")).unwrap()
});

/// Fails unless a message is as the definition of this name says.
pub(crate) fn hold(definition: &str, message: &Value) {
    let schema = &SCHEMA["$defs"][definition];
    assert!(schema.is_object(), "no definition {definition}");
    if let Err(why) = check(&SCHEMA, schema, message) {
        panic!("{message} is no {definition}: {why}");
    }
}

/// Fails unless the text of a server is as the subprotocol in the head of its answer says.
pub(crate) fn hold_to_subprotocol(head: &str, text: &str) {
    let named = head.lines().find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
    let definition = match named {
        None | Some("weir.json") => "json.server",
        Some("cloudevents.json") => "cloudevents.server",
        Some("weir.v1") => "v1.server",
        Some(other) => panic!("the subprotocol {other}"),
    };
    hold(definition, &serde_json::from_str(text).unwrap());
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
        "not" => match check(root, rule, value) {
            Ok(()) => Err(format!("it is {rule}")),
            Err(_) => Ok(()),
        },
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

#[test]
#[should_panic(expected = "is no cloudevents.server")]
fn what_the_server_says_is_told_from_an_event() {
    let gap = json!({"control": "gap", "to": "c-1"});
    let said = json!({"specversion": "1.0", "id": "gap/c-1", "source": "tag:weir.dev,2026:stream",
        "type": "dev.weir.gap", "weircursor": "c-1", "data": gap});
    hold("cloudevents.server", &said);
}
