//! Golden texts of the structured form.

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;

fn event(content_type: Option<&str>, data: &'static [u8]) -> Event {
    Event {
        id: "7".into(),
        type_: "order.placed".into(),
        source: "/shop".into(),
        subject: None,
        time: "2026-01-02T03:04:05Z".into(),
        data_content_type: content_type.map(Into::into),
        data_schema: None,
        extensions: Vec::new(),
        data: Bytes::from_static(data),
    }
}

fn structured(event: &Event) -> String {
    let mut out = Vec::new();
    event.to_json(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_json_payload_is_spliced_in_as_it_was_posted() {
    let text = structured(&event(None, br#"{"b": 1.0, "a":"\u00e9"}"#));
    assert_eq!(
        text,
        r#"{"specversion":"1.0","id":"7","source":"/shop","type":"order.placed","time":"2026-01-02T03:04:05Z","data":{"b": 1.0, "a":"\u00e9"}}"#
    );
}

#[test]
fn every_attribute_is_written_in_its_type() {
    let mut event = event(Some("application/vnd.shop+json; charset=utf-8"), b"1");
    event.subject = Some("say \"hi\"".into());
    event.data_schema = Some("https://example.com/schema".into());
    event.extensions = vec![
        ("zebra".into(), Extension::Text("z\n".into())),
        ("count".into(), Extension::Integer(-3)),
        ("urgent".into(), Extension::Boolean(true)),
    ];
    let text = structured(&event);
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap(),
        json!({
            "specversion": "1.0", "id": "7", "source": "/shop", "type": "order.placed",
            "time": "2026-01-02T03:04:05Z", "subject": "say \"hi\"",
            "datacontenttype": "application/vnd.shop+json; charset=utf-8",
            "dataschema": "https://example.com/schema",
            "zebra": "z\n", "count": -3, "urgent": true, "data": 1
        })
    );
    assert!(text.find("zebra").unwrap() < text.find("count").unwrap(), "{text}");
}

#[test]
fn the_media_type_decides_the_form_of_the_payload() {
    for (content_type, data, expected) in [
        (Some("text/plain"), &b"say \"hi\"\n"[..], r#","data":"say \"hi\"\n"}"#),
        (Some("application/soap+xml"), b"<a/>", r#","data":"<a/>"}"#),
        (Some("text/plain"), b"\xff\xfe", r#","data_base64":"//4="}"#),
        (Some("application/octet-stream"), b"plain", r#","data_base64":"cGxhaW4="}"#),
        (Some("text/plain"), b"", r#","data":""}"#),
        (Some("TEXT/JSON"), b"[]", r#","data":[]}"#),
        (None, b"", r#""time":"2026-01-02T03:04:05Z"}"#),
    ] {
        let text = structured(&event(content_type, data));
        assert!(text.ends_with(expected), "{content_type:?}: {text}");
    }
}

#[test]
fn the_size_counts_every_text_and_the_payload() {
    let mut event = event(Some("text/plain"), b"12345");
    let plain = "7order.placed/shop2026-01-02T03:04:05Ztext/plain12345".len();
    assert_eq!(event.size(), plain);
    event.subject = Some("ab".into());
    event.extensions =
        vec![("n".into(), Extension::Integer(1)), ("t".into(), Extension::Text("xy".into()))];
    assert_eq!(event.size(), plain + 2 + 5 + 3);
}

#[test]
fn what_an_event_takes_is_more_than_all_that_it_says() {
    let plain = event(None, b"1");
    let mut laden = plain.clone();
    laden.subject = Some("s".repeat(2_000).into());
    laden.extensions = (0..32)
        .map(|number| (format!("x{number}").into(), Extension::Text("v".repeat(2_000).into())))
        .collect();
    assert!(plain.footprint() >= size_of::<Event>() + plain.size());
    assert!(laden.footprint() >= plain.footprint() + 33 * 2_000);
}
