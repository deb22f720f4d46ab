//! Requests that are taken.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::event::Extension;

const JSON: (&str, &str) = ("content-type", "application/json");

fn data(events: &[Posted]) -> Vec<&str> {
    events.iter().map(|posted| std::str::from_utf8(&posted.event.data).unwrap()).collect()
}

fn ids(events: &[Posted]) -> Vec<&str> {
    events.iter().map(|posted| &*posted.event.id).collect()
}

#[test]
fn plain_json_becomes_an_event_with_the_attributes_that_it_lacks() {
    let context = Context { now: UNIX_EPOCH + Duration::from_millis(1_767_323_045_670), ..CONTEXT };
    let body = b" {\"b\": 1.0,\n \"a\": 2}\n";
    let events = decode(&headers(&[JSON]), body, &context).unwrap().events;
    let [Posted { event, idempotent: false }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(&*event.data, b"{\"b\": 1.0,\n \"a\": 2}");
    assert_eq!(
        (&*event.type_, &*event.source, &*event.time, &event.data_content_type),
        ("dev.weir.event", "/orders/app", "2026-01-02T03:04:05.670Z", &None)
    );
    let again = post(&[JSON], "1").unwrap();
    assert_ne!(event.id, again[0].event.id, "a generated id never comes again");
}

#[test]
fn an_id_in_a_header_makes_a_plain_event_idempotent() {
    for (name, value) in
        [("idempotency-key", "k 7"), ("idempotency-key", "\"k 7\""), ("ce-id", "k%207")]
    {
        let events = post(&[JSON, (name, value)], "{}").unwrap();
        assert!(events[0].idempotent, "{name}");
        assert_eq!(&*events[0].event.id, "k 7");
    }
}

#[test]
fn headers_may_give_a_plain_event_any_attribute() {
    let pairs = [
        JSON,
        ("ce-type", "order.placed"),
        ("ce-source", "/shop"),
        ("ce-subject", "7"),
        ("ce-time", "2020-01-01T00:00:00Z"),
        ("ce-traceparent", "00-1-2-00"),
    ];
    let events = post(&pairs, "{}").unwrap();
    let event = &events[0].event;
    assert_eq!(
        (&*event.type_, &*event.source, event.subject.as_deref(), &*event.time),
        ("order.placed", "/shop", Some("7"), "2020-01-01T00:00:00Z")
    );
    assert_eq!(event.extensions, [("traceparent".into(), Extension::Text("00-1-2-00".into()))]);
}

#[test]
fn the_content_type_of_other_json_is_kept() {
    let events = post_as("application/vnd.shop+json", "{}").unwrap();
    assert_eq!(events[0].event.data_content_type.as_deref(), Some("application/vnd.shop+json"));
    let events = post_as("application/JSON; charset=\"UTF-8\"", "{}").unwrap();
    assert_eq!(events[0].event.data_content_type, None);
}

#[test]
fn a_body_without_content_type_is_taken_if_it_is_json() {
    assert_eq!(data(&post(&[], "[1, 2]").unwrap()), ["[1, 2]"]);
}

#[test]
fn each_line_of_ndjson_is_one_event_and_blank_lines_are_none() {
    let events = post_as("application/x-ndjson", "{\"a\":1}\r\n\n  \n [2]\n3").unwrap();
    assert_eq!(data(&events), ["{\"a\":1}", "[2]", "3"]);
    assert!(events.iter().all(|posted| !posted.idempotent));
}

#[test]
fn an_idempotency_key_is_numbered_by_event_of_ndjson() {
    let pairs = [
        ("content-type", "application/x-ndjson"),
        ("idempotency-key", "k"),
        ("ce-type", "order.placed"),
    ];
    let events = post(&pairs, "1\n\n2\n").unwrap();
    assert_eq!(ids(&events), ["k/0", "k/1"]);
    assert!(
        events.iter().all(|posted| posted.idempotent && &*posted.event.type_ == "order.placed")
    );
}

#[test]
fn a_structured_event_keeps_every_attribute_and_its_payload_byte_for_byte() {
    let body = r#"{
        "specversion": "1.0", "id": "\u0041", "source": "/shop", "type": "t",
        "data": {"x" : 1e2, "y":"\u00e9"}, "subject": null,
        "time": "2020-01-01T00:00:00Z", "dataschema": "https://e.com/s",
        "datacontenttype": "application/json",
        "text": "x", "number": -5, "truth": false, "nothing": null
    }"#;
    let events = post_as("application/cloudevents+json; charset=utf-8", body).unwrap();
    let Posted { event, idempotent } = &events[0];
    assert!(idempotent);
    assert_eq!(&*event.data, br#"{"x" : 1e2, "y":"\u00e9"}"#);
    let mut json = Vec::new();
    event.to_json(&mut json);
    assert_eq!(
        serde_json::from_slice::<Value>(&json).unwrap(),
        json!({
            "specversion": "1.0", "id": "A", "source": "/shop", "type": "t",
            "data": {"x": 100.0, "y": "é"},
            "time": "2020-01-01T00:00:00Z", "dataschema": "https://e.com/s",
            "datacontenttype": "application/json", "text": "x", "number": -5, "truth": false
        })
    );
}

#[test]
fn the_payload_of_a_structured_event_is_read_by_its_type() {
    let event = |rest: &str| {
        let body = format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{rest}}}"#);
        post_as("application/cloudevents+json", body).unwrap().remove(0).event.data
    };
    for (rest, expected) in [
        (r"", &b""[..]),
        (r#","data":null"#, b"null"),
        (r#","data":"text""#, b"\"text\""),
        (r#","datacontenttype":"text/plain","data":"a\nb""#, b"a\nb"),
        (r#","datacontenttype":"text/plain","data":"ab""#, b"ab"),
        (r#","datacontenttype":"image/png","data_base64":"AP8=""#, b"\x00\xff"),
        (r#","datacontenttype":"image/png","data_base64":null,"data":"x""#, b"x"),
        (r#","data_base64":"IHsgfSA=""#, b"{ }"),
    ] {
        assert_eq!(&*event(rest), expected, "{rest}");
    }
}

#[test]
fn a_batch_is_taken_in_its_order_and_may_be_empty() {
    let event =
        |id| format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t","data":{id}}}"#);
    let body = format!("[{},\n{}]", event(1), event(2));
    let events = post_as("application/cloudevents-batch+json", body).unwrap();
    assert_eq!((ids(&events), data(&events)), (vec!["1", "2"], vec!["1", "2"]));
    assert_eq!(post_as("application/cloudevents-batch+json", " [] "), Ok(Vec::new()));
}

#[test]
fn a_binary_event_has_its_attributes_in_headers_and_a_body_of_any_type() {
    let pairs = |content_type| {
        [
            ("ce-specversion", "1.0"),
            ("ce-id", "%E2%82%AC"),
            ("ce-source", "/s"),
            ("ce-type", "t"),
            ("ce-comexample", "1"),
            ("ce-datacontenttype", "is/ignored"),
            ("content-type", content_type),
        ]
    };
    let events = post(&pairs("application/avro"), b"\x00\xff\r\n").unwrap();
    let Posted { event, idempotent } = &events[0];
    assert!(idempotent);
    assert_eq!((&*event.id, &*event.data), ("€", &b"\x00\xff\r\n"[..]));
    assert_eq!(event.data_content_type.as_deref(), Some("application/avro"));
    assert_eq!(event.extensions, [("comexample".into(), Extension::Text("1".into()))]);

    let events = post(&pairs("application/x-ndjson"), "1\n2\n").unwrap();
    assert_eq!(data(&events), ["1\n2\n"], "the whole body is one payload");
    let events = post(&pairs("application/json"), "").unwrap();
    assert_eq!(events[0].event.payload(), crate::event::Payload::Absent);
    let events = post(&pairs("application/json")[..6], "{}").unwrap();
    assert_eq!(events[0].event.data_content_type, None);
}

#[test]
fn text_and_bytes_are_taken_as_they_are() {
    for content_type in ["text/plain; charset=utf-8", "application/octet-stream"] {
        let events = post_as(content_type, b" \xff\n").unwrap();
        assert_eq!(&*events[0].event.data, b" \xff\n");
        assert_eq!(events[0].event.data_content_type.as_deref(), Some(content_type));
    }
}

#[test]
fn the_payloads_of_a_request_share_one_buffer_and_keep_nothing_else_alive() {
    let events = post_as("application/x-ndjson", format!("{}11\n22\n", " ".repeat(4096))).unwrap();
    let [first, second] = [&events[0].event.data, &events[1].event.data];
    assert_eq!(first.as_ptr().wrapping_add(first.len()), second.as_ptr());
}

#[test]
fn a_payload_of_exactly_the_largest_size_is_taken() {
    let body = format!("\"{}\"", "x".repeat(CONTEXT.max_event_bytes - 2));
    assert_eq!(post(&[JSON], body).unwrap()[0].event.data.len(), CONTEXT.max_event_bytes);
}

#[test]
fn json_is_taken_up_to_the_depth_that_every_reader_reads() {
    let body = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let context = Context { max_event_bytes: usize::MAX, ..CONTEXT };
    let json = decode(&headers(&[JSON]), body.as_bytes(), &context).unwrap();
    assert_eq!(json.events[0].event.data, body);
    // What is around it doesn't count.
    let event =
        format!(r#"[{{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{body}}}]"#);
    let batch = headers(&[("content-type", "application/cloudevents-batch+json")]);
    let batch = decode(&batch, event.as_bytes(), &context).unwrap();
    assert_eq!(batch.events[0].event.data, body);
}

#[test]
fn what_is_no_json_is_passed_on_as_it_is() {
    let odd = r#"{"n":1e400,"s":"\ud800"}"#;
    let events = post_as("text/plain", odd).unwrap();
    assert_eq!(data(&events), [odd]);
}

#[test]
fn where_an_event_stood_in_another_log_is_left_away() {
    let body =
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","weircursor":"abc-7","x":1}"#;
    let events = post_as("application/cloudevents+json", body).unwrap();
    assert_eq!(events[0].event.extensions, [("x".into(), Extension::Integer(1))]);
    let events = post(&[JSON, ("ce-weircursor", "abc-7")], "{}").unwrap();
    assert_eq!(events[0].event.extensions, []);
}

#[test]
fn the_answer_counts_and_ends_with_the_cursor() {
    let answer = Answer { accepted: 2, duplicates: 1, cursor: "a-\"7" };
    assert_eq!(
        String::from_utf8(answer.to_json()).unwrap(),
        r#"{"accepted":2,"duplicates":1,"cursor":"a-\"7"}"#
    );
}
