//! What filters say of events, and what they may cost.

use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::event::{Event, Extension};

fn event(data: &str) -> Event {
    Event {
        id: "7".into(),
        type_: "order.placed".into(),
        source: "/shop".into(),
        subject: Some("order/7".into()),
        time: "2026-01-02T03:04:05Z".into(),
        data_content_type: Some("application/json".into()),
        data_schema: None,
        extensions: vec![
            ("region".into(), Extension::Text("eu".into())),
            ("attempt".into(), Extension::Integer(3)),
        ],
        data: Bytes::from(data.to_owned()),
    }
}

fn outcome(source: &str, data: &str) -> Result<bool, Failure> {
    let claims = json!({"sub": "ada", "groups": ["ops"]});
    let event = event(data);
    compile(source).unwrap().evaluate(&Scope::new(&event, &claims)).outcome
}

#[test]
fn what_can_never_be_true_is_no_filter() {
    for source in ["1 + 1", "event.type", "'x'", "null", "[1]", "-event.data.n", "[1].map(x, x)"] {
        let refused = compile_filter(source).unwrap_err().to_string();
        assert!(refused.contains("neither true nor false"), "{source}: {refused}");
    }
    for source in ["true", "event.data", "event.data.flag", "event.urgent", "[1].exists(x, x == 1)"]
    {
        assert!(compile_filter(source).is_ok(), "{source}");
    }
    let deep = format!("{}true{}", "(".repeat(40), ")".repeat(40));
    let refused = compile(&deep).unwrap_err().to_string();
    assert!(refused.contains("nests deeper than 32 levels"), "{refused}");
}

#[test]
fn an_expression_is_true_of_an_event_or_not() {
    let data =
        r#"{"total":42.5,"count":2,"items":[{"sku":"a","n":1},{"sku":"b","n":3}],"note":null}"#;
    for (source, expected) in [
        ("true", true),
        ("event.type == 'order.placed'", true),
        ("event.type.startsWith('order.') && event.source != '/bar'", true),
        ("event.subject.endsWith('/7')", true),
        ("event.region == 'eu' && event['attempt'] > 2", true),
        ("has(event.region) && !has(event.dataschema)", true),
        ("event.data.total > 42", true),
        ("event.data.total > 42.5", false),
        ("event.data.count + 1 == 3", true),
        ("event.data.items.exists(i, i.sku == 'b' && i.n == 3)", true),
        ("event.data.items.all(i, i.n < 3)", false),
        ("event.data.items.exists_one(i, i.n == 1)", true),
        ("size(event.data.items.filter(i, i.n > 1)) == 1", true),
        ("event.data.items.map(i, i.sku) == ['a', 'b']", true),
        ("event.data.items.map(i, i.n > 1, i.sku) == ['b']", true),
        ("event.data.items.map(i, i.n > 9, i.missing) == []", true),
        ("[1, 2, 3].map(x, x > 1, x * 2).map(y, y < 5, [1].map(z, z == 1, y + z)) == [[5]]", true),
        ("'total' in event.data && !('missing' in event.data)", true),
        ("event.type in ['order.placed', 'order.paid']", true),
        ("event.type.matches('^order[.](placed|paid)$')", true),
        ("timestamp(event.time) < timestamp('2027-01-01T00:00:00Z')", true),
        ("has(event.data.total) ? event.data.total > 1.0 : false", true),
        ("event.data.note == null", true),
        ("'ops' in claims.groups", true),
        ("event.data.items[1].sku == 'b'", true),
        // What fails on one side is forgiven if the other decides.
        ("event.data.missing == 1 || true", true),
        ("event.data.missing == 1 && false", false),
        ("event.data.items.exists(i, i.missing == 1 || i.n == 3)", true),
    ] {
        assert_eq!(outcome(source, data), Ok(expected), "{source}");
    }
}

#[test]
fn a_loop_with_other_arguments_is_told_which_it_takes() {
    for (source, told) in [
        ("[1].map(x)", "list.map(x, x > 1, x * 2)"),
        ("[1].map(x, true, x, x)", "list.map(x, x > 1, x * 2)"),
        ("[1].filter(x, true, x)", "list.filter(x, x > 1)"),
        ("[1].exists(x)", "list.exists(x, x > 1)"),
        ("[1].map(x, 5, x) == []", "truth values"),
        ("[1].map(1, true, 1) == []", "the name of its variable"),
    ] {
        let refused = compile(source).unwrap_err().to_string();
        assert!(refused.contains(told), "{source}: {refused}");
    }
    // The condition that fails fails the event, as the value does.
    assert_eq!(outcome("[1].map(x, x.y == 1, x) == []", "1"), Err(Failure::Type));
}

#[test]
fn a_payload_that_an_older_log_took_and_nobody_can_read_is_not_said_to_be_missing() {
    for data in ["1e400", r#"{"total":"\ud800"}"#, &"[".repeat(1_000)] {
        for source in ["event.data.total == 1", "has(event.data)"] {
            assert_eq!(outcome(source, data), Err(Failure::Value), "{source}");
        }
    }
}

#[test]
fn what_cannot_be_evaluated_says_why() {
    for (source, failure) in [
        ("event.data.missing == 1", Failure::Missing),
        ("event.nothing == 'x'", Failure::Missing),
        ("event.data.total.x == 1", Failure::Type),
        ("event.data.total < 'x'", Failure::Type),
        ("event.type", Failure::Type),
        ("event.data.total / 0 == 1", Failure::Value),
        ("int(event.type) == 1", Failure::Value),
    ] {
        assert_eq!(outcome(source, r#"{"total":1}"#), Err(failure), "{source}");
    }
}

#[test]
fn what_is_no_filter_is_refused_where_it_is_wrong() {
    let refused = |source: &str| compile(source).unwrap_err();
    for (source, says) in [
        (
            "event.type ==",
            "at line 1, column 14 (event.type ==^): it ends too soon: something must follow",
        ),
        ("", "at line 1, column 1 (^): it ends too soon: something must follow"),
        (
            "event.type = 'x'",
            "at line 1, column 12 (event.type ^= 'x'): `=` compares nothing: write ==",
        ),
        ("true and true", "at line 1, column 6 (true ^and true): `and` can't stand here: write &&"),
        ("size('a' > 1", "at line 1, column 13 (size('a' > 1^): `)` is missing here"),
        ("true\n&& é", "at line 2, column 4 (&& ^é): `é` has no meaning outside of a text"),
        (
            "'é' == 'x",
            "at line 1, column 8 ('é' == ^'x): this text has no end: close it as it was opened",
        ),
        ("event.data.n > ]", "at line 1, column 16 (event.data.n > ^]): `]` can't stand here"),
    ] {
        let found = refused(source);
        assert!(matches!(found, Refused::Syntax { .. }), "{found:?}");
        assert_eq!(found.to_string(), says);
    }
    for (source, shown, says) in [
        ("true && evnt.type == 'x'", "true && ^evnt", "there is no evnt"),
        ("event == 1", "(^event", "name a field"),
        ("true || event.type.frob()", "event.type.frob^()", "there is no frob"),
        ("event.type.matches('(')", "^'('", "pattern"),
        ("event.type.matches('a{9999}{9999}')", "^'a{9999}", "pattern"),
        ("event.type.matches(event.id)", "event^.id", "written out"),
        ("{'a': 1} == 1", "^{'a'", "maps"),
        ("b'abc' == 1", "^b'abc'", "bytes"),
        ("[1].all(a, [1].all(b, [1].all(c, true)))", "all(^c, true)", "loops nest"),
        ("has(event)", "has(^event)", "has() takes a field"),
        ("size(1, 2) == 1", "size^(1, 2)", "arguments"),
        ("'é' == '' || event.id == 5", "event.id ^== 5", "compared with a number"),
    ] {
        let found = refused(source);
        assert!(matches!(found, Refused::Meaning { .. }), "{found:?}");
        let text = found.to_string();
        assert!(text.contains(shown) && text.contains(says), "{source}: {text}");
    }
}

#[test]
fn spaces_and_parentheses_make_no_difference() {
    let meaning = |source: &str| compile(source).unwrap().meaning().to_owned();
    assert_eq!(meaning("event.id=='1'&&true"), meaning(" ( event.id  ==  \"1\" ) && (true)\n"));
    assert_ne!(meaning("event.id == '1'"), meaning("event.id == '1 '"));
}

#[test]
fn hostile_expressions_are_refused_soon_and_harm_nobody() {
    let repeated = |text: &str| text.repeat(MAX_SOURCE / text.len());
    for source in [
        repeated("("),
        repeated("!"),
        repeated("-"),
        repeated("["),
        repeated("a."),
        repeated("1+"),
        repeated("1?1:"),
        repeated("true&&"),
        repeated("f("),
        repeated("{1:"),
        repeated("\""),
        repeated("\u{feff}"),
        repeated("?"),
        repeated("event.data"),
        format!("{}1{}", "(".repeat(1_000), ")".repeat(1_000)),
        format!("event{}", ".a".repeat(1_000)),
        format!("1{}", "+1".repeat(1_000)),
        format!("true{}", "&&true".repeat(300)),
        format!("[{}1]", "1,".repeat(1_000)),
        "a".repeat(MAX_SOURCE + 1),
    ] {
        let started = Instant::now();
        let refused = compile(&source).unwrap_err();
        let text = refused.to_string();
        assert!(!text.is_empty() && text.len() < 512, "{text}");
        // Against a parser that backtracks without end, not against a slow machine.
        assert!(started.elapsed() < Duration::from_secs(20), "{source}");
    }
}

#[test]
fn an_evaluation_is_cut_short_when_it_costs_too_much() {
    let numbers: Vec<_> = (0..20_000).collect();
    let data = json!({"l": numbers, "s": "x".repeat(100_000)}).to_string();
    for source in [
        "event.data.l.all(x, event.data.l.all(y, x + y >= 0))",
        "event.data.l.all(x, x in event.data.l)",
        "event.data.l.map(x, event.data.l + event.data.l) == []",
        "[1,2,3,4,5,6,7,8,9].all(x, [1,2,3,4,5,6,7,8,9].all(y, event.data.l == event.data.l))",
        "event.data.s.matches('(a|x)+y')",
    ] {
        assert_eq!(outcome(source, &data), Err(Failure::Cost), "{source}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(source in "[a-z0-9 .()\\[\\]{}'\"!&|?:<>=+*/%,-]{0,60}") {
        if let Ok(expression) = compile(&source) {
            let event = event(r#"{"a":[1,2]}"#);
            let claims = Claims::Null;
            let _ = expression.evaluate(&Scope::new(&event, &claims));
        }
    }
}
