//! Decides what a subscriber's bytes mean: a WebSocket has frames, an SSE request has been read.
//! Sans-I/O.

use std::time::Duration;

use crate::frame::websocket::{self, Allowance, CloseCode, Coding, Dialogue, ProtocolError};

/// What a connection's peer may send.
#[derive(Debug)]
pub(super) enum Reader {
    /// Nothing more: an SSE response has no counterpart. What comes is counted and thrown away.
    Sse {
        /// Bytes thrown away.
        surplus: usize,
    },
    /// WebSocket frames.
    WebSocket(Box<Client>),
}

/// Whoever is at the other end of a WebSocket.
#[derive(Debug)]
pub(super) struct Client {
    dialogue: Dialogue,
    allowance: Allowance,
}

/// How much a client may send, and when it sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How many frames a second.
    pub(super) rate: u32,
    /// The time, since whatever beginning.
    pub(super) now: Duration,
}

/// The answer to what a peer sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The connection goes on; the bytes, if any, are to be written.
    Reply(Vec<u8>),
    /// The bytes are to be written, and then the connection ends.
    Farewell(Vec<u8>),
    /// The same, because the client sends more than it may.
    Excess(Vec<u8>),
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

    pub(super) fn web_socket(coding: Coding, pace: Pace) -> Self {
        let dialogue = Dialogue::new(MAX_MESSAGE, coding);
        let allowance = Allowance::new(pace.rate, pace.now);
        Self::WebSocket(Box::new(Client { dialogue, allowance }))
    }

    /// How the peer broke its protocol.
    pub(super) fn breach(&self) -> Option<ProtocolError> {
        match self {
            Self::Sse { surplus: _ } => None,
            Self::WebSocket(client) => client.dialogue.breach(),
        }
    }

    /// Takes what the peer sent.
    pub(super) fn hear(&mut self, bytes: &[u8], pace: Pace) -> Heard {
        match self {
            Self::Sse { surplus } => {
                *surplus += bytes.len();
                if *surplus > MOST_SURPLUS { Heard::End } else { Heard::Reply(Vec::new()) }
            }
            Self::WebSocket(client) => client.hear(bytes, pace),
        }
    }
}

impl Client {
    fn hear(&mut self, bytes: &[u8], Pace { rate, now }: Pace) -> Heard {
        let heard = hear_frames(&mut self.dialogue, bytes);
        if self.allowance.spend(self.dialogue.take_frames(), rate, now) {
            return heard;
        }
        match heard {
            Heard::Reply(mut farewell) => {
                let reason = format!("too_many_messages: {rate} frames a second are allowed");
                websocket::encode_close(CloseCode::PolicyViolation, &reason, &mut farewell);
                Heard::Excess(farewell)
            }
            over @ (Heard::Farewell(_) | Heard::Excess(_) | Heard::End) => over,
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
