//! Writes JSON straight into a buffer: the payload is spliced in, never parsed and written again.

use std::io::Write;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Event, Extension, Payload};

/// The extension attribute that carries an event's cursor. An event that comes from another log may have one, which
/// means nothing here, and is left away.
pub(crate) const CURSOR_ATTRIBUTE: &str = "weircursor";

/// Appends a JSON string.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    // Writing a string into a vector can't fail: the vector grows, and a string has a JSON form.
    let _infallible = serde_json::to_writer(out, text);
}

/// Appends a number.
pub(crate) fn push_number(out: &mut Vec<u8>, number: impl std::fmt::Display) {
    let _infallible = write!(out, "{number}");
}

/// Appends `,"name":"text"`. The name is one of ours and needs no escape.
pub(crate) fn push_member(out: &mut Vec<u8>, name: &str, text: &str) {
    push_name(out, name);
    push_string(out, text);
}

/// Appends the base64 of `bytes`.
pub(crate) fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
}

fn push_name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Appends the event in the JSON format of CloudEvents 1.0, with a cursor where one is given.
pub(super) fn structured(event: &Event, cursor: Option<&str>, out: &mut Vec<u8>) {
    let Event {
        id,
        type_,
        source,
        subject,
        time,
        data_content_type,
        data_schema,
        extensions,
        data: _,
    } = event;
    out.extend_from_slice(b"{\"specversion\":\"1.0\"");
    for (name, text) in [("id", id), ("source", source), ("type", type_), ("time", time)] {
        push_member(out, name, text);
    }
    let optional =
        [("subject", subject), ("datacontenttype", data_content_type), ("dataschema", data_schema)];
    for (name, text) in optional {
        if let Some(text) = text {
            push_member(out, name, text);
        }
    }
    if let Some(cursor) = cursor {
        push_member(out, CURSOR_ATTRIBUTE, cursor);
    }
    // The intake takes none of this name; an older log may have one.
    let ours = |(name, _): &&(Box<str>, Extension)| &**name != CURSOR_ATTRIBUTE;
    for (name, value) in extensions.iter().filter(ours) {
        push_name(out, name);
        push_extension(out, value);
    }
    event.push_payload(out);
    out.push(b'}');
}

fn push_extension(out: &mut Vec<u8>, value: &Extension) {
    match value {
        Extension::Text(text) => push_string(out, text),
        Extension::Integer(number) => push_number(out, number),
        Extension::Boolean(truth) => push_number(out, truth),
    }
}

impl Event {
    /// Appends the payload as the member `data` or `data_base64`, with a comma before it.
    pub(crate) fn push_payload(&self, out: &mut Vec<u8>) {
        match self.payload() {
            Payload::Absent => {}
            Payload::Json(text) => {
                push_name(out, "data");
                out.extend_from_slice(text.as_bytes());
            }
            Payload::Text(text) => push_member(out, "data", text),
            Payload::Binary(bytes) => {
                push_name(out, "data_base64");
                out.push(b'"');
                push_base64(out, bytes);
                out.push(b'"');
            }
        }
    }
}
