//! WebSocket (RFC 6455) without a socket: the handshake, the frames a server sends, and the decoder of
//! those a client sends.

mod allowance;
mod close;
mod decoder;
mod deflate;
mod dialogue;
mod handshake;
mod header;
mod mask;
mod subprotocol;

pub use allowance::Allowance;
pub use close::CloseCode;
pub use decoder::{Decoder, Message, ProtocolError};
pub use deflate::{Agreement, Coding, Offer, OfferError, Window, push_stored};
pub use dialogue::{Dialogue, Heard};
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

/// Appends a message.
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
    push_header(opcode, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Appends the header of a text message whose payload, of so many bytes, follows.
pub fn encode_text_header(length: usize, out: &mut Vec<u8>) {
    push_header(TEXT, length, out);
}

/// The same where the payload is compressed.
pub fn encode_compressed_header(length: usize, out: &mut Vec<u8>) {
    push_header(TEXT | COMPRESSED, length, out);
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

/// Appends what `write` appends, with the header of a text message before it. The header's size depends
/// on the length, so it goes in last.
fn push_framed(coding: Coding, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    let mut header = Vec::with_capacity(10);
    match coding.compress(out.get(start..).unwrap_or_default()) {
        Some(compressed) => {
            push_header(TEXT | COMPRESSED, compressed.len(), &mut header);
            out.truncate(start);
            out.extend_from_slice(&header);
            out.extend_from_slice(&compressed);
        }
        None => {
            push_header(TEXT, out.len() - start, &mut header);
            out.splice(start..start, header);
        }
    }
}

fn push_short(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    let payload = payload.get(..MAX_CONTROL).unwrap_or(payload);
    push_header(opcode, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Appends the header of an unmasked frame, with the shortest form of its length (section 5.2).
fn push_header(opcode: u8, length: usize, out: &mut Vec<u8>) {
    out.push(opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..=125), _) => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
