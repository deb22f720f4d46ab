//! The body of a publish: it is refused with a problem document, or each of its events can be read by a filter, and
//! written in every format so that it is one frame, which no payload and no attribute breaks out of.

use std::time::SystemTime;

use weir_sidecar::{
    event::{Event, Payload},
    frame::{Format, encode},
    intake::{Context, decode as decode_body},
};

use super::message::parse;

const MAX_EVENT: usize = 16 * 1024;
const MAX_BATCH: usize = 64;

pub(super) fn decode(input: &[u8]) {
    let (_, headers, body) = parse(input);
    let context = Context {
        source: "/orders/app",
        now: SystemTime::UNIX_EPOCH,
        max_event_bytes: MAX_EVENT,
        max_batch: MAX_BATCH,
    };
    match decode_body(&headers, body, &context) {
        Ok(decoded) => {
            assert!(decoded.events.len() <= MAX_BATCH, "{} events", decoded.events.len());
            decoded.events.iter().for_each(|posted| check(&posted.event));
        }
        Err(rejection) => {
            assert!(rejection.status().is_client_error(), "{}", rejection.status());
            let problem = rejection.problem();
            serde_json::from_slice::<serde_json::Value>(&problem).expect("the problem is JSON");
        }
    }
}

fn check(event: &Event) {
    assert!(!event.id.is_empty() && !event.source.is_empty() && !event.type_.is_empty());
    assert!(event.data.len() <= MAX_EVENT, "a payload of {} bytes", event.data.len());
    if let Payload::Json(text) = event.payload() {
        serde_json::from_str::<serde_json::Value>(text).expect("a filter can read it");
    }
    for format in Format::ALL {
        let mut frame = Vec::new();
        encode(format, "c-1", event, &mut frame);
        match format {
            Format::SseData | Format::SseNamed | Format::SseCloudEvents => check_sse(&frame),
            Format::WsJson(_) | Format::WsCloudEvents(_) => check_json(&frame),
            Format::WsList => check_element(&frame),
        }
    }
}

/// One event, whose only empty line is its last; every line is a field that we write.
fn check_sse(frame: &[u8]) {
    let text = String::from_utf8_lossy(frame);
    assert!(!text.contains('\r'), "a carriage return ends a line, too: {text:?}");
    let body = text.strip_suffix("\n\n").expect("an event ends with an empty line");
    for line in body.split('\n') {
        let known = ["id: ", "event: ", "data: "].iter().any(|field| line.starts_with(field));
        // Those by which it is said how the data is written come from no input.
        let ours = line == "data:" || line == "encoding: base64";
        assert!(known || ours, "{line:?} in {text:?}");
    }
    assert_eq!(body.matches("id: c-1").count().min(1), 1, "{text:?}");
}

/// A JSON object, and a comma behind it.
fn check_element(frame: &[u8]) {
    let object = frame.strip_suffix(b",").expect("a comma ends an element");
    serde_json::from_slice::<serde_json::Value>(object).expect("an element is JSON");
}

/// One final text frame whose payload is a JSON object.
fn check_json(frame: &[u8]) {
    let payload = match frame {
        [0x81, 126, _, _, payload @ ..] => payload,
        [0x81, 127, _, _, _, _, _, _, _, _, payload @ ..] => payload,
        [0x81, _, payload @ ..] => payload,
        _ => panic!("no text frame: {frame:?}"),
    };
    serde_json::from_slice::<serde_json::Value>(payload).expect("a message is JSON");
    assert!(payload.starts_with(b"{") && payload.ends_with(b"}"), "{payload:?}");
}
