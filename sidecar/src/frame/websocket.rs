//! WebSocket (RFC 6455) without a socket: the handshake, the frames a server sends, and the decoder of
//! those a client sends.

mod allowance;
mod close;
mod decoder;
mod deflate;
mod dialogue;
mod fragments;
mod handshake;
mod header;
mod mask;
mod subprotocol;

pub use allowance::Allowance;
pub use close::CloseCode;
pub use decoder::{Decoder, Message, ProtocolError};
pub use deflate::{Agreement, Coding, Offer, OfferError, Window, push_stored};
pub use dialogue::{Dialogue, Heard};
pub use fragments::{Fragments, frame_end};
use fragments::{Header, MOST};
pub use handshake::{Handshake, HandshakeError, accept_key, handshake, tunnel_handshake};
pub use subprotocol::{Offered, Subprotocol, offered};

use super::{Control, Format, json};
use crate::event::{CURSOR_ATTRIBUTE, Event, push_member, push_number};

/// A final frame of one whole text message.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

/// The bit that marks a compressed message.
const COMPRESSED: u8 = 0x40;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// The CloudEvents source of what the server itself says.
const STATEMENT_SOURCE: &str = "tag:weir.dev,2026:stream";

/// The most payload of a control frame (RFC 6455, section 5.5).
const MAX_CONTROL: usize = 125;

/// The payload of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data<'a> {
    /// A text.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

/// Appends a text message.
pub fn encode_text(payload: &str, out: &mut Vec<u8>) {
    encode_data(Data::Text(payload), Coding::Plain, out);
}

/// Appends a message, in as many frames as it takes.
pub fn encode_data(data: Data<'_>, coding: Coding, out: &mut Vec<u8>) {
    let (opcode, payload) = match data {
        Data::Text(text) => (TEXT, text.as_bytes()),
        Data::Binary(bytes) => (BINARY, bytes),
    };
    let compressed = coding.compress(payload);
    let (opcode, payload) = match &compressed {
        Some(compressed) => (opcode | COMPRESSED, &compressed[..]),
        None => (opcode, payload),
    };
    push_message(opcode, payload, out);
}

impl Fragments {
    /// A text message whose payload has so many bytes, compressed or not.
    #[must_use]
    pub fn of_text(length: usize, compressed: bool) -> Self {
        Self::new(if compressed { TEXT | COMPRESSED } else { TEXT }, length)
    }
}

/// Appends an event as an element of a list, with a comma behind it.
pub(super) fn push_element(cursor: &str, event: &Event, out: &mut Vec<u8>) {
    json::push_event(cursor, event, out);
    out.push(b',');
}

/// Appends a ping. Of the payload, the first 125 bytes are sent.
pub fn encode_ping(payload: &[u8], out: &mut Vec<u8>) {
    push_short(PING, payload, out);
}

/// Appends a pong, which must carry the payload of the ping that it answers. Of the payload, the first
/// 125 bytes are sent; a ping can't have more.
pub fn encode_pong(payload: &[u8], out: &mut Vec<u8>) {
    push_short(PONG, payload, out);
}

/// Appends a close. Of the reason, as many whole characters are sent as 123 bytes hold.
pub fn encode_close(code: CloseCode, reason: &str, out: &mut Vec<u8>) {
    let mut payload = Vec::with_capacity(MAX_CONTROL);
    payload.extend_from_slice(&code.code().to_be_bytes());
    let end = reason.floor_char_boundary(MAX_CONTROL - payload.len());
    payload.extend_from_slice(reason.get(..end).unwrap_or_default().as_bytes());
    push_short(CLOSE, &payload, out);
}

/// Appends a close whose reason is for programs: in how many milliseconds to come back, and from where.
pub fn encode_close_hint(code: CloseCode, retry_ms: u64, cursor: Option<&str>, out: &mut Vec<u8>) {
    let mut reason = b"{\"retry\":".to_vec();
    push_number(&mut reason, retry_ms);
    if let Some(cursor) = cursor {
        push_member(&mut reason, "cursor", cursor);
    }
    reason.push(b'}');
    encode_close(code, std::str::from_utf8(&reason).unwrap_or_default(), out);
}

/// Appends the close that answers a client's: it repeats the code (RFC 6455, section 5.5.1).
pub fn encode_close_reply(code: Option<u16>, out: &mut Vec<u8>) {
    match code {
        Some(code) => push_short(CLOSE, &code.to_be_bytes(), out),
        None => push_short(CLOSE, &[], out),
    }
}

/// Appends the message that opens a stream: the position at which it starts. It does for WebSocket what
/// [`sse_open`](super::sse_open) does for SSE: a subscriber that is cut off before its first event
/// resumes here, where it would else miss events and not know it.
pub fn encode_open(format: Format, cursor: &str, out: &mut Vec<u8>) {
    push_statement(format, "open", Some(cursor), out, |out| {
        out.extend_from_slice(b"{\"control\":\"open\"");
        push_member(out, "cursor", cursor);
        out.push(b'}');
    });
}

/// Appends an event as one text message.
pub(super) fn push_event(coding: Coding, cursor: &str, event: &Event, out: &mut Vec<u8>) {
    push_framed(coding, out, |out| json::push_event(cursor, event, out));
}

/// Appends an event as one text message that is a CloudEvent.
pub(super) fn push_cloud_event(coding: Coding, cursor: &str, event: &Event, out: &mut Vec<u8>) {
    push_framed(coding, out, |out| event.to_json_at(cursor, out));
}

/// Appends a control as one text message.
pub(super) fn push_control(format: Format, control: &Control<'_>, out: &mut Vec<u8>) {
    push_statement(format, control.name(), control.cursor(), out, |out| control.push_json(out));
}

/// Appends what the server says about the stream, in the language of the format: the JSON object that
/// `write` appends, or a CloudEvent with that as its data. Its id is made of what it says, so that a
/// statement that is repeated is the same event.
fn push_statement(
    format: Format,
    name: &str,
    cursor: Option<&str>,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>),
) {
    push_framed(Coding::Plain, out, |out| match format {
        Format::WsCloudEvents(_) => {
            out.extend_from_slice(b"{\"specversion\":\"1.0\"");
            push_member(out, "id", &format!("{name}/{}", cursor.unwrap_or_default()));
            push_member(out, "source", STATEMENT_SOURCE);
            push_member(out, "type", &format!("dev.weir.{name}"));
            if let Some(cursor) = cursor {
                push_member(out, CURSOR_ATTRIBUTE, cursor);
            }
            out.extend_from_slice(b",\"data\":");
            write(out);
            out.push(b'}');
        }
        Format::WsJson(_)
        | Format::WsList
        | Format::SseData
        | Format::SseNamed
        | Format::SseCloudEvents => {
            write(out);
        }
    });
}

/// Appends what `write` appends as a text message. The header's size depends on the length, so it goes in last.
fn push_framed(coding: Coding, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    let length = out.len() - start;
    if let Some(compressed) = coding.compress(out.get(start..).unwrap_or_default()) {
        out.truncate(start);
        push_message(TEXT | COMPRESSED, &compressed, out);
    } else if length <= MOST {
        out.splice(start..start, Header::new(TEXT, length).bytes().iter().copied());
    } else {
        let payload = out.split_off(start);
        push_message(TEXT, &payload, out);
    }
}

/// Appends a message, in as many frames as it takes; `first` is the first byte of one that is a single frame.
fn push_message(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    let mut fragments = Fragments::new(first, payload.len());
    while !fragments.is_over() {
        let (header, range) = fragments.left();
        out.extend_from_slice(header);
        out.extend_from_slice(payload.get(range).unwrap_or_default());
        fragments.advance(usize::MAX);
    }
}

fn push_short(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    let payload = payload.get(..MAX_CONTROL).unwrap_or(payload);
    out.extend_from_slice(Header::new(opcode, payload.len()).bytes());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests;
