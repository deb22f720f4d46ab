//! How clients of WebSockets broke the protocol, and with which code they were closed.

use super::Counter;
use crate::frame::websocket::{CloseCode, ProtocolError};

/// How often each was met.
#[derive(Debug, Default)]
pub struct Breaches([Counter; KNOWN.len()]);

/// Text was wanted, and bytes came.
const BINARY: &str = "binary";

/// What a client can do wrong.
const KNOWN: [(CloseCode, &str); 15] = [
    (CloseCode::ProtocolError, "unmasked"),
    (CloseCode::ProtocolError, "reserved_bits"),
    (CloseCode::ProtocolError, "opcode"),
    (CloseCode::ProtocolError, "length"),
    (CloseCode::ProtocolError, "long_control"),
    (CloseCode::ProtocolError, "fragmented_control"),
    (CloseCode::ProtocolError, "lone_continuation"),
    (CloseCode::ProtocolError, "interrupted"),
    (CloseCode::ProtocolError, "close_payload"),
    (CloseCode::ProtocolError, "close_code"),
    (CloseCode::UnsupportedData, BINARY),
    (CloseCode::InvalidPayload, "utf8"),
    (CloseCode::InvalidPayload, "deflate"),
    (CloseCode::TooBig, "too_big"),
    (CloseCode::TooBig, "bomb"),
];

const fn word(error: ProtocolError) -> &'static str {
    match error {
        ProtocolError::Unmasked => "unmasked",
        ProtocolError::ReservedBits => "reserved_bits",
        ProtocolError::Opcode(_) => "opcode",
        ProtocolError::Length => "length",
        ProtocolError::LongControl => "long_control",
        ProtocolError::FragmentedControl => "fragmented_control",
        ProtocolError::LoneContinuation => "lone_continuation",
        ProtocolError::Interrupted => "interrupted",
        ProtocolError::ClosePayload => "close_payload",
        ProtocolError::CloseCode(_) => "close_code",
        ProtocolError::Utf8 => "utf8",
        ProtocolError::Deflate => "deflate",
        ProtocolError::TooBig(_) => "too_big",
        ProtocolError::Bomb(_) => "bomb",
    }
}

impl Breaches {
    /// Counts a breach.
    pub fn count(&self, error: ProtocolError) {
        self.count_word(word(error));
    }

    /// Counts a message of bytes where there are texts only.
    pub fn count_binary(&self) {
        self.count_word(BINARY);
    }

    fn count_word(&self, word: &str) {
        let place = KNOWN.iter().position(|(_, known)| *known == word);
        if let Some(counter) = place.and_then(|place| self.0.get(place)) {
            counter.add(1);
        }
    }

    /// How many there were, by code and reason.
    pub fn all(&self) -> impl Iterator<Item = (u16, &'static str, u64)> {
        let counts = KNOWN.into_iter().zip(self.0.iter().map(Counter::get));
        counts.map(|((code, word), count)| (code.code(), word, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_breach_is_counted_once_under_the_code_of_its_close() {
        for error in [
            ProtocolError::Unmasked,
            ProtocolError::ReservedBits,
            ProtocolError::Opcode(3),
            ProtocolError::Length,
            ProtocolError::LongControl,
            ProtocolError::FragmentedControl,
            ProtocolError::LoneContinuation,
            ProtocolError::Interrupted,
            ProtocolError::ClosePayload,
            ProtocolError::CloseCode(1),
            ProtocolError::Utf8,
            ProtocolError::Deflate,
            ProtocolError::TooBig(1),
            ProtocolError::Bomb(1),
        ] {
            let breaches = Breaches::default();
            breaches.count(error);
            let counted: Vec<_> = breaches.all().filter(|(_, _, count)| *count > 0).collect();
            assert_eq!(counted, [(error.close_code().code(), word(error), 1)]);
        }
    }
}
