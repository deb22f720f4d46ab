//! Requests that are refused, with what their author reads.

use serde_json::Value;

use super::*;

/// The status, the category, the place and the sentence of a refusal.
fn refused(result: Result<Vec<Posted>, Rejection>) -> (u16, &'static str, Option<u64>, String) {
    let rejection = result.unwrap_err();
    let problem: Value = serde_json::from_slice(&rejection.problem()).unwrap();
    let category = rejection.category();
    assert_eq!(problem["type"], format!("tag:weir.dev,2026:problem/{category}"));
    assert_eq!(problem["status"], rejection.status().as_u16());
    assert!(!problem["title"].as_str().unwrap().is_empty());
    let detail = problem["detail"].as_str().unwrap().to_owned();
    (rejection.status().as_u16(), category, problem["index"].as_u64(), detail)
}

fn assert_refused(
    result: Result<Vec<Posted>, Rejection>,
    expected: (u16, &str, Option<u64>),
    words: &[&str],
) {
    let (status, category, index, detail) = refused(result);
    assert_eq!((status, category, index), expected, "{detail}");
    for word in words {
        assert!(detail.contains(word), "{word:?} is missing from {detail:?}");
    }
}

#[test]
fn an_empty_body_is_refused_in_every_form() {
    for content_type in [
        "application/json",
        "application/x-ndjson",
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
    ] {
        for body in ["", " \r\n\t"] {
            let result = post_as(content_type, body);
            assert_refused(result, (400, "empty_body", None), &["post a JSON value"]);
        }
    }
    assert_refused(post_as("text/plain", ""), (400, "empty_body", None), &[]);
    assert_refused(post(&[], ""), (400, "empty_body", None), &[]);
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    for (body, words) in [
        (&b"{\"a\":\n nope}"[..], "at line 2, column 3"),
        (b"{} {}", "trailing characters"),
        (b"{\"a\":1", "EOF"),
        (b"\"\xff\"", "unicode"),
        (b"\"a\x00b\"", "control character"),
        (b"[01]", "number"),
        (b"NaN", "expected value"),
    ] {
        let result = post_as("application/json", body);
        assert_refused(result, (400, "invalid_json", None), &[words]);
    }
}

#[test]
fn json_that_not_every_reader_can_read_is_refused_with_the_bound() {
    let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for (payload, words) in [
        (deep(101), "nests deeper than 100 levels"),
        (deep(50_000), "nests deeper than 100 levels"),
        ("1e400".to_owned(), "beyond 1.8e308"),
        (r#""\ud800""#.to_owned(), "half a character"),
    ] {
        let refused = (422, "unreadable_json", None);
        assert_refused(post_as("application/json", &payload), refused, &["the body", words]);
        assert_refused(post_as("application/vnd.x+json", &payload), refused, &[words]);
        assert_refused(post(&[], &payload), refused, &[words]);
        let binary =
            [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];
        let binary = [&binary[..], &[("content-type", "application/json")]].concat();
        assert_refused(post(&binary, &payload), refused, &[words]);
        let event =
            |data| format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t",{data}}}"#);
        let structured = event(format!(r#""data":{payload}"#));
        let result = post_as("application/cloudevents+json", &structured);
        assert_refused(result, refused, &["data can't be taken, at line 1", words]);
        let good = event(r#""data":1"#.to_owned());
        let result =
            post_as("application/cloudevents-batch+json", format!("[{good},{structured}]"));
        assert_refused(result, (422, "unreadable_json", Some(1)), &[words]);
        let result = post_as("application/x-ndjson", format!("1\n{payload}\n"));
        assert_refused(result, (422, "unreadable_json", Some(1)), &["at line 2", words]);
    }
    let result = post_as("application/json", deep(1_000_000));
    assert_refused(result, (422, "unreadable_json", None), &["nests deeper than 100 levels"]);
    let base64 =
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"MWU0MDA="}"#;
    let result = post_as("application/cloudevents+json", base64);
    assert_refused(result, (422, "unreadable_json", None), &["what data_base64 stands for"]);
}

#[test]
fn a_bad_line_is_named_by_its_line_and_its_event() {
    let result = post_as("application/x-ndjson", "1\n\n2\n{oops\n");
    assert_refused(result, (400, "invalid_json", Some(2)), &["at line 4, column 2"]);
}

#[test]
fn a_content_type_that_is_not_taken_is_refused_with_those_that_are() {
    for content_type in [
        "application/x-www-form-urlencoded",
        "image/png",
        "application/cloudevents+avro",
        "nonsense",
        "",
    ] {
        let result = post_as(content_type, "{}");
        let words = [content_type, "set application/json", "ce- headers"];
        assert_refused(result, (415, "unsupported_media_type", None), &words);
    }
    let result = post(&[], "hello");
    assert_refused(result, (415, "unsupported_media_type", None), &["set content-type"]);
    for kind in
        ["application/json", "text/plain", "application/x-ndjson", "text/csv; header=present"]
    {
        let result = post_as(&format!("{kind}; Charset=\"utf-16\""), "{}");
        let words = ["utf-16", "in UTF-8", "application/octet-stream"];
        assert_refused(result, (415, "unsupported_media_type", None), &words);
    }
    let binary = [("ce-specversion", "1.0"), ("content-type", "application/xml; charset=latin1")];
    let result = post(&binary, "<a/>");
    assert_refused(result, (415, "unsupported_media_type", None), &["latin1"]);
    let result = post(&[("content-encoding", "gzip"), ("content-type", "application/json")], "{}");
    assert_refused(result, (415, "unsupported_media_type", None), &["gzip", "uncompressed"]);
}

#[test]
fn what_is_too_large_is_refused_with_the_limit() {
    let long = format!("\"{}\"", "x".repeat(CONTEXT.max_event_bytes));
    let result = post_as("application/json", &long);
    assert_refused(
        result,
        (413, "event_too_large", None),
        &["66 bytes", "takes 64", "maxEventBytes"],
    );
    let result = post_as("application/x-ndjson", format!("1\n{long}\n"));
    assert_refused(result, (413, "event_too_large", Some(1)), &[]);
    let result = post_as("application/x-ndjson", "1\n2\n3\n4\n");
    assert_refused(result, (413, "batch_too_large", None), &["more than 3", "split"]);
    let result = post_as("application/cloudevents-batch+json", "[{},{},{},{}]");
    assert_refused(result, (413, "batch_too_large", None), &[]);
}

#[test]
fn what_makes_much_of_little_is_refused() {
    // A member has six bytes here, and forty in memory.
    let members = (0..1_000_000).map(|_| r#""a":1,"#).collect::<String>();
    let event = format!(r#"{{{members}"id":"1"}}"#);
    let result = post_as("application/cloudevents+json", event);
    assert_refused(result, (422, "invalid_event", None), &["a is one extension too many"]);
    // An element has two, and sixteen.
    let batch = format!("[{}1]", "1,".repeat(1_000_000));
    let result = post_as("application/cloudevents-batch+json", &batch);
    assert_refused(result, (413, "batch_too_large", None), &["more than 3"]);
    let result = post_as("application/cloudevents-batch+json", batch.replace("1]", "]"));
    assert_refused(result, (400, "invalid_json", None), &[]);
    let result = post_as("application/cloudevents-batch+json", format!("{batch}1"));
    assert_refused(result, (400, "invalid_json", None), &[]);
    let one = format!(r#"[{{"data":"{}"}}]"#, "x".repeat(200_000));
    let result = post_as("application/cloudevents-batch+json", one);
    assert_refused(result, (413, "event_too_large", Some(0)), &["maxEventBytes"]);
}

#[test]
fn what_stands_in_headers_is_not_given_to_lines_without_end() {
    let long = "x".repeat(2_000);
    let context = Context { max_batch: 10_000, ..CONTEXT };
    let pairs = [("content-type", "application/x-ndjson"), ("ce-subject", &long)];
    let post = |lines: usize| decode(&headers(&pairs), "1\n".repeat(lines).as_bytes(), &context);
    assert_eq!(post(2_000).unwrap().events.len(), 2_000);
    let refused = post(3_000).unwrap_err();
    assert_eq!((refused.category(), refused.index), ("batch_too_large", None));
    assert!(refused.to_string().contains("ce- headers"), "{refused}");
    // Without them all lines have a place.
    let plain = headers(&pairs[..1]);
    assert!(decode(&plain, "1\n".repeat(10_000).as_bytes(), &context).is_ok());
}

#[test]
fn a_header_that_says_one_thing_is_given_once() {
    for (name, other) in [("content-type", "text/plain"), ("idempotency-key", "b")] {
        let mut twice = headers(&[("content-type", "application/json"), ("idempotency-key", "a")]);
        twice.append(name, other.parse().unwrap());
        let result = decode(&twice, b"1", &CONTEXT).map(|decoded| decoded.events);
        assert_refused(result, (400, "invalid_header", None), &[name, "given twice"]);
    }
}

#[test]
fn one_id_can_not_stand_for_many_lines() {
    let pairs = [("content-type", "application/x-ndjson"), ("ce-id", "1")];
    let words = ["ce-id", "idempotency-key"];
    assert_refused(post(&pairs, "1\n2"), (400, "invalid_header", None), &words);
}

#[test]
fn a_structured_event_that_breaks_a_rule_is_refused_with_the_attribute() {
    const REST: &str = r#""source":"/s","type":"t""#;
    for (body, words) in [
        ("7".into(), "must be a JSON object"),
        ("[]".into(), "must be a JSON object"),
        (format!(r#"{{"id":"1",{REST}}}"#), "specversion is missing"),
        (format!(r#"{{"specversion":"0.3","id":"1",{REST}}}"#), "specversion must be 1.0"),
        (format!(r#"{{"specversion":"1.0",{REST}}}"#), "id is missing"),
        (format!(r#"{{"specversion":"1.0","id":null,{REST}}}"#), "id is missing"),
        (format!(r#"{{"specversion":"1.0","id":"",{REST}}}"#), "id must not be empty"),
        (format!(r#"{{"specversion":"1.0","id":7,{REST}}}"#), "id must be a string"),
        (format!(r#"{{"specversion":"1.0","id":"a\nb",{REST}}}"#), "id must not hold control"),
        (format!(r#"{{"specversion":"1.0","id":"1","id":"2",{REST}}}"#), "id is given twice"),
        (format!(r#"{{"specversion":"1.0","id":"1",{REST},"x":1,"x":1}}"#), "x is given twice"),
        (
            format!(r#"{{"specversion":"1.0","id":"1",{REST},"data":1,"data":1}}"#),
            "data is given twice",
        ),
        (
            format!(r#"{{"specversion":"1.0","id":"1",{REST},"traceParent":"x"}}"#),
            "traceParent can't name",
        ),
        (
            format!(r#"{{"specversion":"1.0","id":"1",{REST},"x":1.5}}"#),
            "x must be a string, a boolean",
        ),
        (
            format!(r#"{{"specversion":"1.0","id":"1",{REST},"x":{{}}}}"#),
            "x must be a string, a boolean",
        ),
        (format!(r#"{{"specversion":"1.0","id":"1",{REST},"x":"\ud800"}}"#), "x must be a string"),
        (
            format!(r#"{{"specversion":"1.0","id":"1",{REST},"time":"noon"}}"#),
            "time must be a timestamp",
        ),
        (
            format!(r#"{{"specversion":"1.0","id":"1",{REST},"datacontenttype":"json"}}"#),
            "datacontenttype must be a media type",
        ),
        (
            format!(r#"{{"specversion":"1.0","id":"1",{REST},"data":1,"data_base64":"MQ=="}}"#),
            "data and data_base64 must not both",
        ),
        (
            format!(r#"{{"specversion":"1.0","id":"1",{REST},"data_base64":"?"}}"#),
            "data_base64 must be a string in base64",
        ),
        (
            format!(
                r#"{{"specversion":"1.0","id":"1",{REST},"datacontenttype":"text/plain","data":1}}"#
            ),
            "data must be a string",
        ),
    ] {
        let result = post_as("application/cloudevents+json", body);
        assert_refused(result, (422, "invalid_event", None), &[words]);
    }
}

#[test]
fn json_in_base64_must_be_json() {
    let body = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"e30p"}"#;
    let result = post_as("application/cloudevents+json", body);
    assert_refused(result, (400, "invalid_json", None), &[]);
}

#[test]
fn attributes_are_bounded_in_length_and_number() {
    let event = |rest: String| {
        let body = format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{rest}}}"#);
        post_as("application/cloudevents+json", body)
    };
    let extensions = |count| (0..count).map(|n| format!(",\"x{n}\":1")).collect::<String>();
    assert!(event(extensions(32)).is_ok());
    let result = event(extensions(33));
    assert_refused(result, (422, "invalid_event", None), &["x32 is one extension too many"]);
    assert!(event(format!(",\"subject\":\"{}\"", "s".repeat(2048))).is_ok());
    let result = event(format!(",\"subject\":\"{}\"", "s".repeat(2049)));
    assert_refused(result, (422, "invalid_event", None), &["subject is too long: at most 2048"]);
}

#[test]
fn one_bad_event_refuses_the_whole_batch_and_is_named() {
    let good = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;
    let result = post_as("application/cloudevents-batch+json", format!("[{good},{{}}]"));
    assert_refused(result, (422, "invalid_event", Some(1)), &["specversion is missing"]);
    let result = post_as("application/cloudevents-batch+json", good);
    assert_refused(result, (422, "invalid_event", None), &["must be a JSON array"]);
    let result = post_as("application/cloudevents-batch+json", "[1");
    assert_refused(result, (400, "invalid_json", None), &[]);
}

#[test]
fn a_binary_event_needs_what_every_cloudevent_has() {
    let pairs = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
    ];
    assert!(post(&pairs, "{}").is_ok());
    for missing in 2..pairs.len() {
        let kept: Vec<_> = pairs.into_iter().filter(|pair| *pair != pairs[missing]).collect();
        let name = pairs[missing].0.trim_start_matches("ce-");
        let words = format!("{name} is missing");
        assert_refused(post(&kept, "{}"), (422, "invalid_event", None), &[&words]);
    }
    assert_refused(post(&pairs, "{"), (400, "invalid_json", None), &[]);
    assert_refused(post(&pairs[1..], "{"), (415, "unsupported_media_type", None), &[]);
    let twice = [&pairs[..], &[("ce-id", "2")]].concat();
    assert_refused(post(&twice, "{}"), (422, "invalid_event", None), &["id is given twice"]);
}
