//! An event as one JSON object with its cursor: a WebSocket message, and a line of a page that is read.

use crate::event::{Event, push_member, push_string};

/// Appends the object.
pub(super) fn push_event(cursor: &str, event: &Event, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"cursor\":");
    push_string(out, cursor);
    push_member(out, "id", &event.id);
    push_member(out, "type", &event.type_);
    push_member(out, "time", &event.time);
    event.push_payload(out);
    out.push(b'}');
}
