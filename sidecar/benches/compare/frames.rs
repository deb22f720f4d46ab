//! Finds the frames of both transports at the front of what a subscriber has received. Sans-I/O, and
//! written without the sidecar's own encoders, so that it doesn't share their mistakes.

use anyhow::{Result, ensure};
use memchr::memmem;

use crate::{payload::Stamp, transport::Transport};

/// What a frame means to a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// The server's answer has come: events follow.
    Open,
    /// An event, and its cursor where the server gave it one.
    Event(Stamp, Option<&'a [u8]>),
    /// A ping, to be answered with the same payload.
    Ping(&'a [u8]),
    /// A heartbeat, a control.
    Other,
    /// The end of the stream.
    End,
}

/// The bit of a message's last frame.
const FINAL: u8 = 0x80;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// The first frame, and its size; `None` where more bytes are needed.
pub(crate) fn first(transport: Transport, bytes: &[u8]) -> Result<Option<(Message<'_>, usize)>> {
    match transport {
        Transport::Sse => Ok(first_sse(bytes)),
        Transport::WebSocket => first_websocket(bytes),
    }
}

/// The pong that answers a ping. Its mask is zero, which is a mask like any other.
pub(crate) fn pong(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | PONG, 0x80 | u8::try_from(payload.len()).unwrap_or(125)];
    frame.extend_from_slice(&[0; 4]);
    frame.extend(payload.iter().take(125));
    frame
}

/// A frame ends with an empty line. A comment has no data, and a control has a name of its own.
fn first_sse(bytes: &[u8]) -> Option<(Message<'_>, usize)> {
    let size = memmem::find(bytes, b"\n\n")? + 2;
    let (mut data, mut cursor) = (None, None);
    for line in bytes.get(..size)?.split(|&byte| byte == b'\n') {
        if line.starts_with(b"event:") {
            return Some((Message::Other, size));
        }
        data = data.or_else(|| line.strip_prefix(b"data: "));
        cursor = cursor.or_else(|| line.strip_prefix(b"id: "));
    }
    Some((event(data.and_then(Stamp::find), cursor), size))
}

fn first_websocket(bytes: &[u8]) -> Result<Option<(Message<'_>, usize)>> {
    let Some((opcode, payload, size)) = message(bytes)? else { return Ok(None) };
    let message = match opcode {
        TEXT => event(Stamp::find(payload), first_member(payload)),
        PING => Message::Ping(payload),
        CLOSE => Message::End,
        _ => Message::Other,
    };
    Ok(Some((message, size)))
}

fn event<'a>(stamp: Option<Stamp>, cursor: Option<&'a [u8]>) -> Message<'a> {
    stamp.map_or(Message::Other, |stamp| Message::Event(stamp, cursor))
}

/// The cursor, which stands first in a message that has one.
fn first_member(payload: &[u8]) -> Option<&[u8]> {
    payload.strip_prefix(b"{\"cursor\":\"")?.split(|&byte| byte == b'"').next()
}

/// The opcode of the first message, the payload of its first frame and its size. Pings within it are passed over:
/// a measure is over before one must be answered.
fn message(bytes: &[u8]) -> Result<Option<(u8, &[u8], usize)>> {
    let Some((first, payload, mut size)) = frame(bytes)? else { return Ok(None) };
    ensure!(first & 0x0f != CONTINUATION, "a WebSocket frame continues none");
    let mut last = first & FINAL != 0;
    while !last {
        let rest = bytes.get(size..).unwrap_or_default();
        let Some((flags, _, more)) = frame(rest)? else { return Ok(None) };
        let opcode = flags & 0x0f;
        ensure!(opcode != TEXT, "a WebSocket message begins within another");
        last = opcode == CONTINUATION && flags & FINAL != 0;
        size += more;
    }
    Ok(Some((first & 0x0f, payload, size)))
}

/// The first byte, the payload and the size of the first frame (RFC 6455, section 5.2).
fn frame(bytes: &[u8]) -> Result<Option<(u8, &[u8], usize)>> {
    let &[flags, length, ref rest @ ..] = bytes else { return Ok(None) };
    ensure!(flags & 0x70 == 0, "a WebSocket frame has reserved bits");
    ensure!(length & 0x80 == 0, "a server's WebSocket frame is masked");
    let wide = match length {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some((extended, rest)) = rest.split_at_checked(wide) else { return Ok(None) };
    let length = match wide {
        0 => u64::from(length),
        _ => extended.iter().fold(0, |length, &byte| length << 8 | u64::from(byte)),
    };
    let length = usize::try_from(length)?;
    Ok(rest.get(..length).map(|payload| (flags, payload, 2 + wide + length)))
}
