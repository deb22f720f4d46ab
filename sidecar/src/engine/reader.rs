//! Decides what a subscriber's bytes mean: a WebSocket has frames, an SSE request has been read.
//! Sans-I/O.

use crate::frame::websocket::{self, Decoder, Message};

/// What a connection's peer may send.
#[derive(Debug)]
pub(super) enum Reader {
    /// Nothing more: an SSE response has no counterpart. What comes is counted and thrown away.
    Sse {
        /// Bytes thrown away.
        surplus: usize,
    },
    /// WebSocket frames.
    WebSocket(Box<Decoder>),
}

/// The answer to what a peer sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The connection goes on; the bytes, if any, are to be written.
    Reply(Vec<u8>),
    /// The bytes are to be written, and then the connection ends.
    Farewell(Vec<u8>),
    /// The connection ends now.
    End,
}

/// A client that pipelines requests behind a stream gets no answer; one that goes on sending is cut
/// off. A request's head is less than this.
const MOST_SURPLUS: usize = 64 * 1024;

/// The largest message that is read from a subscriber, who without a subprotocol has nothing to say.
const MAX_MESSAGE: usize = 4 * 1024;

impl Reader {
    pub(super) const fn sse() -> Self {
        Self::Sse { surplus: 0 }
    }

    pub(super) fn web_socket() -> Self {
        Self::WebSocket(Box::new(Decoder::new(MAX_MESSAGE)))
    }

    /// Takes what the peer sent.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Heard {
        match self {
            Self::Sse { surplus } => {
                *surplus += bytes.len();
                if *surplus > MOST_SURPLUS { Heard::End } else { Heard::Reply(Vec::new()) }
            }
            Self::WebSocket(decoder) => hear_frames(decoder, bytes),
        }
    }
}

fn hear_frames(decoder: &mut Decoder, mut bytes: &[u8]) -> Heard {
    let mut reply = Vec::new();
    loop {
        match decoder.feed(&mut bytes) {
            Ok(None) => return Heard::Reply(reply),
            // Without a subprotocol a client has nothing to say; some send a word as a heartbeat.
            Ok(Some(Message::Text(_) | Message::Binary(_) | Message::Pong(_))) => {}
            Ok(Some(Message::Ping(payload))) => {
                // One answer to the latest ping answers those before it (RFC 6455, section 5.5.3).
                reply.clear();
                websocket::encode_pong(&payload, &mut reply);
            }
            Ok(Some(Message::Close(code))) => {
                websocket::encode_close_reply(code, &mut reply);
                return Heard::Farewell(reply);
            }
            Err(error) => {
                websocket::encode_close(error.close_code(), &error.to_string(), &mut reply);
                return Heard::Farewell(reply);
            }
        }
    }
}
