//! Frames, byte for byte.

use super::*;

const GAP: Control<'static> = Control::Gap {
    from: Some("old\n\"x\""),
    to: "c-9",
    missed: Some(3),
    reason: GapReason::Evicted,
};
const DRAINING: Control<'static> = Control::Draining { cursor: "c-9", retry_ms: 1500 };
const FAILURE: Control<'static> = Control::Failure {
    code: "slow_consumer",
    message: "too slow",
    retry_ms: Some(10),
    cursor: Some("c-9"),
};

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn an_event_over_sse_has_its_cursor_and_its_payload() {
    for (data, expected) in [
        ("{\"a\":1}", "id: c-1\ndata: {\"a\":1}\n\n"),
        ("{\n \"a\":1\r\n}", "id: c-1\ndata: {\ndata:  \"a\":1\ndata: }\n\n"),
        ("", "id: c-1\ndata: \n\n"),
    ] {
        assert_eq!(text(encoded(Format::SseData, &event(None, data))), expected);
    }
    for (data, expected) in [
        ("a\rb\n\rc\n", "id: c-1\ndata: a\ndata: b\ndata: \ndata: c\ndata: \n\n"),
        ("\r\n\n", "id: c-1\ndata: \ndata: \ndata: \n\n"),
        (" x", "id: c-1\ndata:  x\n\n"),
    ] {
        assert_eq!(text(encoded(Format::SseData, &event(Some("text/plain"), data))), expected);
    }
}

#[test]
fn bytes_come_as_base64_over_sse() {
    let png = event(Some("image/png"), &b"\x00\xff\n"[..]);
    assert_eq!(text(encoded(Format::SseData, &png)), "id: c-1\nencoding: base64\ndata: AP8K\n\n");
}

#[test]
fn a_named_event_has_its_type() {
    let frame = encoded(Format::SseNamed, &event(None, "1"));
    assert_eq!(text(frame), "id: c-1\nevent: order.placed\ndata: 1\n\n");
}

#[test]
fn an_event_can_not_take_the_name_of_what_it_is_not() {
    for type_ in ["gap", "draining", "failure", "open", "error", "message", "", "a\nid: b", "a\rb"]
    {
        let mut event = event(None, "1");
        event.type_ = type_.into();
        let frame = encoded(Format::SseNamed, &event);
        assert_eq!(text(frame), "id: c-1\ndata: 1\n\n", "{type_:?}");
    }
}

#[test]
fn a_whole_cloudevent_is_the_data_of_one_event() {
    let frame = encoded(Format::SseCloudEvents, &event(None, "[1,\n2]"));
    assert_eq!(
        text(frame),
        "id: c-1\ndata: {\"specversion\":\"1.0\",\"id\":\"7\",\"source\":\"/shop\",\
         \"type\":\"order.placed\",\"time\":\"2026-01-02T03:04:05Z\",\"data\":[1,\ndata: 2]}\n\n"
    );
}

#[test]
fn an_event_over_websocket_is_one_text_message() {
    let frame = encoded(Format::WsJson(Coding::Plain), &event(None, "{}"));
    let payload = r#"{"cursor":"c-1","id":"7","type":"order.placed","time":"2026-01-02T03:04:05Z","data":{}}"#;
    assert_eq!(frame[..2], [0x81, u8::try_from(payload.len()).unwrap()]);
    assert_eq!(text(frame[2..].to_vec()), payload);

    let payload = |content_type, data| {
        let frame = encoded(Format::WsJson(Coding::Plain), &event(content_type, data));
        text(frame[2..].to_vec()).split_once("05Z\"").unwrap().1.to_owned()
    };
    assert_eq!(payload(Some("text/plain"), "a\"b"), r#","data":"a\"b"}"#);
    assert_eq!(payload(Some("image/png"), "ab"), r#","data_base64":"YWI="}"#);
    assert_eq!(payload(None, ""), "}");
}

#[test]
fn controls_over_sse_are_named_and_say_where_and_when_to_resume() {
    for format in [Format::SseData, Format::SseNamed, Format::SseCloudEvents] {
        assert_eq!(
            text(controlled(format, &GAP)),
            "id: c-9\nevent: gap\ndata: {\"control\":\"gap\",\"from\":\"old\\n\\\"x\\\"\",\
             \"to\":\"c-9\",\"missed\":3,\"reason\":\"evicted\"}\n\n"
        );
        assert_eq!(
            text(controlled(format, &DRAINING)),
            "retry: 1500\nid: c-9\nevent: draining\ndata: {\"control\":\"draining\",\
             \"cursor\":\"c-9\",\"retry\":1500}\n\n"
        );
        assert_eq!(
            text(controlled(format, &FAILURE)),
            "retry: 10\nid: c-9\nevent: failure\ndata: {\"control\":\"failure\",\
             \"code\":\"slow_consumer\",\"message\":\"too slow\",\"cursor\":\"c-9\",\"retry\":10}\n\n"
        );
    }
}

#[test]
fn a_position_over_sse_sets_the_id_and_dispatches_nothing() {
    let position = Control::Position { cursor: "c-9" };
    assert_eq!(text(controlled(Format::SseNamed, &position)), "id: c-9\n\n");
    let frame = controlled(Format::WsJson(Coding::Plain), &position);
    assert_eq!(text(frame[2..].to_vec()), r#"{"control":"position","cursor":"c-9"}"#);
}

#[test]
fn what_a_control_does_not_know_is_left_out() {
    let gap = Control::Gap { from: None, to: "c", missed: None, reason: GapReason::UnknownLog };
    let failure = Control::Failure { code: "x", message: "y", retry_ms: None, cursor: None };
    assert_eq!(
        text(controlled(Format::SseData, &gap)),
        "id: c\nevent: gap\ndata: {\"control\":\"gap\",\"to\":\"c\",\"reason\":\"unknown_log\"}\n\n"
    );
    assert_eq!(
        text(controlled(Format::SseData, &failure)),
        "event: failure\ndata: {\"control\":\"failure\",\"code\":\"x\",\"message\":\"y\"}\n\n"
    );
}

#[test]
fn controls_over_websocket_are_text_messages() {
    let frame = controlled(Format::WsJson(Coding::Plain), &DRAINING);
    assert_eq!(text(frame[2..].to_vec()), r#"{"control":"draining","cursor":"c-9","retry":1500}"#);
    assert_eq!(frame[..2], [0x81, u8::try_from(frame.len() - 2).unwrap()]);
}

#[test]
fn every_format_and_every_reason_has_its_own_name_and_place() {
    for (index, format) in Format::ALL.into_iter().enumerate() {
        assert_eq!(format.index(), index);
    }
    let mut names: Vec<_> = Format::ALL.map(Format::name).to_vec();
    names.extend(GapReason::ALL.map(GapReason::name));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Format::ALL.len() + GapReason::ALL.len());
    for control in [GAP, DRAINING, FAILURE] {
        assert!(Control::NAMES.contains(&control.name()));
    }
}
