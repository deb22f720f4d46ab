//! WebSocket (RFC 6455) without a socket: the handshake, the frames a server sends, and the decoder of
//! those a client sends.

mod close;
mod decoder;
mod handshake;
mod header;
mod mask;

pub use close::CloseCode;
pub use decoder::{Decoder, Message, ProtocolError};
pub use handshake::{HandshakeError, accept_key, handshake, tunnel_handshake};

use super::{Control, json};
use crate::event::{Event, push_member};

/// A final frame of one whole text message.
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// The most payload of a control frame (RFC 6455, section 5.5).
const MAX_CONTROL: usize = 125;

/// Appends a text message.
pub fn encode_text(payload: &str, out: &mut Vec<u8>) {
    push_header(TEXT, payload.len(), out);
    out.extend_from_slice(payload.as_bytes());
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
pub fn encode_open(cursor: &str, out: &mut Vec<u8>) {
    push_framed(out, |out| {
        out.extend_from_slice(b"{\"control\":\"open\"");
        push_member(out, "cursor", cursor);
        out.push(b'}');
    });
}

/// Appends an event as one text message.
pub(super) fn push_event(cursor: &str, event: &Event, out: &mut Vec<u8>) {
    push_framed(out, |out| json::push_event(cursor, event, out));
}

/// Appends a control as one text message.
pub(super) fn push_control(control: &Control<'_>, out: &mut Vec<u8>) {
    push_framed(out, |out| control.push_json(out));
}

/// Appends what `write` appends, with the header of a text message before it. The header's size depends
/// on the length, so it goes in last.
fn push_framed(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    let mut header = Vec::with_capacity(10);
    push_header(TEXT, out.len() - start, &mut header);
    out.splice(start..start, header);
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
