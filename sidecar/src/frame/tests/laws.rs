//! What a reader gets back from any frame.

use proptest::prelude::*;

use super::{
    event_source::{Dispatched, EventSource},
    *,
};

/// Texts with line ends of every kind, colons, spaces and what else could confuse a line parser.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(&["\r", "\n", "\r\n", ":", " ", "data: x", "id: y", "\u{feff}"][..])
            .prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// The text with its line ends as a reader of the stream sees them.
fn with_line_feeds(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

fn read_one(stream: &[u8]) -> Dispatched {
    let mut source = EventSource::read(stream);
    assert_eq!(source.dispatched.len(), 1, "{:?}", String::from_utf8_lossy(stream));
    source.dispatched.remove(0)
}

proptest! {
    #[test]
    fn a_reader_gets_the_payload_back_with_its_lines_joined_by_line_feeds(text in text()) {
        let event = event(Some("text/plain"), text.clone());
        for format in [Format::SseData, Format::SseNamed] {
            let read = read_one(&encoded(format, &event));
            prop_assert_eq!(&read.data, &with_line_feeds(&text));
            prop_assert_eq!(&read.last_event_id, "c-1");
        }
    }

    #[test]
    fn a_reader_gets_the_type_as_the_name_or_no_name(type_ in text()) {
        let mut event = event(None, "1");
        event.type_ = type_.clone().into();
        let read = read_one(&encoded(Format::SseNamed, &event));
        prop_assert!(read.name == type_ || read.name == "message", "{:?}", read.name);
        prop_assert_eq!(read_one(&encoded(Format::SseData, &event)).name, "message");
    }

    #[test]
    fn a_reader_gets_the_whole_cloudevent_back(text in text()) {
        let event = event(Some("text/plain"), text.clone());
        let read = read_one(&encoded(Format::SseCloudEvents, &event));
        let json: serde_json::Value = serde_json::from_str(&read.data).unwrap();
        prop_assert_eq!(json["data"].as_str(), Some(&*text));
    }

    #[test]
    fn frames_stand_alone_in_any_sequence(texts in prop::collection::vec(text(), 1..6)) {
        let mut stream = Vec::new();
        sse_open("start", 3000, &mut stream);
        for (index, text) in texts.iter().enumerate() {
            stream.extend_from_slice(sse_heartbeat());
            let event = event(Some("text/plain"), text.clone());
            encode(Format::SseData, &format!("c-{index}"), &event, &mut stream);
        }
        let source = EventSource::read(&stream);
        prop_assert_eq!(source.retry, Some(3000));
        let got: Vec<_> = source.dispatched.iter().map(|event| event.data.clone()).collect();
        let want: Vec<_> = texts.iter().map(|text| with_line_feeds(text)).collect();
        prop_assert_eq!(got, want);
        prop_assert_eq!(source.last_event_id, format!("c-{}", texts.len() - 1));
    }

    #[test]
    fn a_control_is_read_back_whatever_a_client_sent_as_its_cursor(from in text()) {
        let control = Control::Gap {
            from: Some(&from), to: "c-9", missed: None, reason: GapReason::Malformed,
        };
        let read = read_one(&controlled(Format::SseData, &control));
        let json: serde_json::Value = serde_json::from_str(&read.data).unwrap();
        prop_assert_eq!(json["from"].as_str(), Some(&*from));
        prop_assert_eq!((&*read.name, &*read.last_event_id), ("gap", "c-9"));
    }
}

#[test]
fn a_reader_that_saw_no_event_resumes_where_the_stream_began() {
    let mut stream = Vec::new();
    sse_open("start", 2500, &mut stream);
    stream.extend_from_slice(sse_heartbeat());
    let source = EventSource::read(&stream);
    assert_eq!((&*source.last_event_id, source.retry), ("start", Some(2500)));
    assert!(source.dispatched.is_empty());
}

#[test]
fn a_draining_control_moves_both_the_position_and_the_time_to_reconnect() {
    let control = Control::Draining { cursor: "c-9", retry_ms: 1500 };
    let source = EventSource::read(&controlled(Format::SseNamed, &control));
    assert_eq!((&*source.last_event_id, source.retry), ("c-9", Some(1500)));
    assert_eq!(source.dispatched[0].name, "draining");
}
