//! The WebSocket decoder: however the bytes are cut, it reads the same messages, none of them larger than
//! it may be, and ends in the same way.

use weir_sidecar::frame::websocket::{Decoder, Message, ProtocolError};

const MAX_MESSAGE: usize = 4 * 1024;

pub(super) fn decode(input: &[u8]) {
    // The first byte says how the others are cut.
    let Some((&cut, bytes)) = input.split_first() else { return };
    for inflating in [false, true] {
        let (whole, why) = all(inflating, bytes, bytes.len().max(1));
        for message in &whole {
            let size = match message {
                Message::Text(text) => text.len(),
                Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
                Message::Close(_) => 0,
            };
            assert!(size <= MAX_MESSAGE, "a message of {size} bytes");
        }
        let cut_up = all(inflating, bytes, usize::from(cut).max(1));
        assert_eq!(cut_up, (whole, why), "cut by {cut}, inflating: {inflating}");
    }
}

fn all(inflating: bool, bytes: &[u8], step: usize) -> (Vec<Message>, Option<ProtocolError>) {
    let plain = Decoder::new(MAX_MESSAGE);
    let mut decoder = if inflating { plain.inflating() } else { plain };
    let mut messages = Vec::new();
    for mut part in bytes.chunks(step) {
        loop {
            match decoder.feed(&mut part) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, None)
}
