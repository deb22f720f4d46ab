//! Compressed messages (RFC 7692): however the bytes are cut and fragmented, the same comes out of them,
//! no more than may, and what is compressed here is what comes back.

use flate2::{Decompress, FlushDecompress, Status};
use weir_sidecar::frame::websocket::{
    Coding, Data, Decoder, Message, ProtocolError, Window, encode_data,
};

use super::frames;

const MAX_MESSAGE: usize = 256 * 1024;

/// What may come out of anything, and how many times its size may come out beyond that.
const FREE: usize = 64 * 1024;
const MOST_RATIO: usize = 256;

const BINARY: u8 = 0x82;
const COMPRESSED: u8 = 0x40;
const FINAL: u8 = 0x80;

pub(super) fn inflate(input: &[u8]) {
    // The first bytes say how the others are fragmented and cut.
    let [fragment, cut, payload @ ..] = input else { return };
    let whole = read(&message(payload, payload.len().max(1)), usize::MAX);
    let fragmented = message(payload, usize::from(*fragment).max(1));
    assert_eq!(read(&fragmented, usize::from(*cut).max(1)), whole, "cut by {cut}");
    if let Ok(Some(message)) = &whole {
        assert!(message.len() <= MAX_MESSAGE, "{} bytes", message.len());
        let most = payload.len().saturating_mul(MOST_RATIO).max(FREE);
        assert!(message.len() <= most, "{} bytes of {}", message.len(), payload.len());
        assert_eq!(*message, naively(payload), "what comes out is something else");
    }
    comes_back(payload);
}

/// The message, a fragment each so many bytes.
fn message(payload: &[u8], step: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let count = payload.len().div_ceil(step).max(1);
    for index in 0..count {
        let start = index * step;
        let part = &payload[start..(start + step).min(payload.len())];
        let first = if index == 0 { BINARY & !FINAL | COMPRESSED } else { 0 };
        let last = if index + 1 == count { FINAL } else { 0 };
        frames::push(first | last, part, &mut out);
    }
    out
}

fn read(frames: &[u8], step: usize) -> Result<Option<Vec<u8>>, ProtocolError> {
    let mut decoder = Decoder::new(MAX_MESSAGE).inflating();
    for mut part in frames.chunks(step) {
        match decoder.feed(&mut part)? {
            None => {}
            Some(Message::Binary(bytes)) => {
                assert!(part.is_empty(), "a message ended before its last frame");
                return Ok(Some(bytes));
            }
            Some(other) => panic!("no message of bytes: {other:?}"),
        }
    }
    Ok(None)
}

/// All that comes out, at once.
fn naively(payload: &[u8]) -> Vec<u8> {
    let input = [payload, &[0, 0, 0xff, 0xff]].concat();
    let (mut inflate, mut out) = (Decompress::new(false), Vec::with_capacity(2 * MAX_MESSAGE));
    let mut at = 0;
    while at < input.len() {
        let before = inflate.total_in();
        let status = inflate.decompress_vec(&input[at..], &mut out, FlushDecompress::None);
        let status = status.expect("it was inflated before");
        at += (inflate.total_in() - before) as usize;
        match status {
            // Another stream may follow (section 7.2.3.4).
            Status::StreamEnd => inflate.reset(false),
            Status::BufError if inflate.total_in() == before => break,
            Status::Ok | Status::BufError => {}
        }
    }
    out
}

/// What is compressed is taken by the one who decompresses.
fn comes_back(payload: &[u8]) {
    for window in [Window::Full, Window::Small] {
        let mut frame = Vec::new();
        encode_data(Data::Binary(payload), Coding::Deflate { window, min_size: 0 }, &mut frame);
        // A server's frame is not masked; a client's is.
        let (header, length) = match frame[1] {
            126 => (4, usize::from(u16::from_be_bytes([frame[2], frame[3]]))),
            length => (2, usize::from(length)),
        };
        assert_eq!(frame.len(), header + length, "one frame below 64 KiB");
        let mut masked = Vec::new();
        frames::push(frame[0], &frame[header..], &mut masked);
        assert_eq!(read(&masked, usize::MAX), Ok(Some(payload.to_vec())), "{window:?}");
    }
}
