//! Decides what a subscriber's bytes mean: a WebSocket has frames, an SSE request has been read.
//! Sans-I/O.

use crate::frame::websocket::{self, Coding, Dialogue};

/// What a connection's peer may send.
#[derive(Debug)]
pub(super) enum Reader {
    /// Nothing more: an SSE response has no counterpart. What comes is counted and thrown away.
    Sse {
        /// Bytes thrown away.
        surplus: usize,
    },
    /// WebSocket frames.
    WebSocket(Box<Dialogue>),
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

    pub(super) fn web_socket(coding: Coding) -> Self {
        Self::WebSocket(Box::new(Dialogue::new(MAX_MESSAGE, coding)))
    }

    /// Takes what the peer sent.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Heard {
        match self {
            Self::Sse { surplus } => {
                *surplus += bytes.len();
                if *surplus > MOST_SURPLUS { Heard::End } else { Heard::Reply(Vec::new()) }
            }
            Self::WebSocket(dialogue) => hear_frames(dialogue, bytes),
        }
    }
}

fn hear_frames(dialogue: &mut Dialogue, mut bytes: &[u8]) -> Heard {
    let mut reply = Vec::new();
    loop {
        match dialogue.hear(&mut bytes, &mut reply) {
            websocket::Heard::Nothing => return Heard::Reply(reply),
            // A client has nothing to say here; some send a word as a heartbeat.
            websocket::Heard::Text(_) | websocket::Heard::Binary(_) => {}
            websocket::Heard::Farewell => return Heard::Farewell(reply),
        }
    }
}
