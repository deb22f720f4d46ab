//! Server-Sent Events, as the HTML standard has them in its section 9.2.

use super::Control;
use crate::event::{Event, Payload, push_base64, push_number};

/// The events that an `EventSource` fires itself, and the name of events without one.
const RESERVED: [&str; 3] = ["open", "error", "message"];

/// Appends what opens a stream: the time after which a reader reconnects, in milliseconds, and the
/// position at which it starts.
///
/// The frame has an id and no data: it dispatches nothing and yet sets the last event id (HTML
/// standard, 9.2.6, dispatch step 1). So a reader that is cut off before its first event resumes here.
pub fn sse_open(cursor: &str, retry_ms: u64, out: &mut Vec<u8>) {
    push_retry(retry_ms, out);
    push_id(cursor, out);
    out.push(b'\n');
}

/// A comment, which keeps proxies from closing an idle connection and dispatches nothing.
#[must_use]
pub const fn sse_heartbeat() -> &'static [u8] {
    b":\n\n"
}

/// Appends an event whose data is the payload; bytes that are no text come as base64, and a field says so, which
/// an `EventSource` ignores.
pub(super) fn push_data(name: Option<&str>, cursor: &str, event: &Event, out: &mut Vec<u8>) {
    push_id(cursor, out);
    if let Some(name) = name.filter(|name| is_free(name)) {
        push_field(b"event: ", name.as_bytes(), out);
    }
    match event.payload() {
        Payload::Absent => push_lines(b"", out),
        Payload::Json(text) | Payload::Text(text) => push_lines(text.as_bytes(), out),
        Payload::Binary(bytes) => {
            out.extend_from_slice(b"encoding: base64\ndata: ");
            push_base64(out, bytes);
            out.push(b'\n');
        }
    }
    out.push(b'\n');
}

/// Appends an event whose data is the whole CloudEvent.
pub(super) fn push_structured(cursor: &str, event: &Event, out: &mut Vec<u8>) {
    let mut json = Vec::with_capacity(event.size() + 128);
    event.to_json(&mut json);
    push_id(cursor, out);
    push_lines(&json, out);
    out.push(b'\n');
}

/// Appends a control: a named event, with the position to resume from and the time to reconnect.
pub(super) fn push_control(control: &Control<'_>, out: &mut Vec<u8>) {
    if let Some(retry_ms) = control.retry_ms() {
        push_retry(retry_ms, out);
    }
    if let Some(cursor) = control.cursor() {
        push_id(cursor, out);
    }
    if matches!(control, Control::Position { .. }) {
        // An id without data dispatches nothing, and yet sets the last event id.
        out.push(b'\n');
        return;
    }
    push_field(b"event: ", control.name().as_bytes(), out);
    out.extend_from_slice(b"data: ");
    control.push_json(out);
    out.extend_from_slice(b"\n\n");
}

/// Whether an event of this type may be named so. A name that a control has, or that the `EventSource`
/// fires itself, would be taken for what it isn't; such an event arrives as `message`.
fn is_free(name: &str) -> bool {
    !name.is_empty()
        && !name.bytes().any(is_line_end)
        && !RESERVED.contains(&name)
        && !Control::NAMES.contains(&name)
}

fn push_id(cursor: &str, out: &mut Vec<u8>) {
    push_field(b"id: ", cursor.as_bytes(), out);
}

fn push_retry(retry_ms: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"retry: ");
    push_number(out, retry_ms);
    out.push(b'\n');
}

fn push_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Appends one `data` line per line of `data`, which a reader joins with LF again. At least one: an
/// event without a data line would not be dispatched.
fn push_lines(data: &[u8], out: &mut Vec<u8>) {
    let mut rest = data;
    while let Some((line, end)) = memchr::memchr2(b'\r', b'\n', rest).map(|at| rest.split_at(at)) {
        push_field(b"data: ", line, out);
        rest = after_line_end(end);
    }
    push_field(b"data: ", rest, out);
}

/// What follows the CRLF, LF or CR with which `end` begins.
fn after_line_end(end: &[u8]) -> &[u8] {
    match end {
        [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => rest,
        [] => end,
    }
}

const fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}
