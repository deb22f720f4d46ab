//! Frames as they stand on the wire, and what a reader makes of them.

mod event_source;
mod golden;
mod laws;

use bytes::Bytes;

use super::{websocket::Coding, *};

fn event(content_type: Option<&str>, data: impl Into<Bytes>) -> Event {
    Event {
        id: "7".into(),
        type_: "order.placed".into(),
        source: "/shop".into(),
        subject: None,
        time: "2026-01-02T03:04:05Z".into(),
        data_content_type: content_type.map(Into::into),
        data_schema: None,
        extensions: Vec::new(),
        data: data.into(),
    }
}

fn encoded(format: Format, event: &Event) -> Vec<u8> {
    let mut out = Vec::new();
    encode(format, "c-1", event, &mut out);
    out
}

fn controlled(format: Format, control: &Control<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_control(format, control, &mut out);
    out
}
