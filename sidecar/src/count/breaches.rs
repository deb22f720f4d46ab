//! How clients of WebSockets broke the protocol: counted by the code with which they were closed.

use super::Counter;
use crate::frame::websocket::CloseCode;

/// How often each code was met.
#[derive(Debug, Default)]
pub struct Breaches([Counter; CODES.len()]);

/// The codes that say what a client did wrong.
const CODES: [CloseCode; 4] = [
    CloseCode::ProtocolError,
    CloseCode::UnsupportedData,
    CloseCode::InvalidPayload,
    CloseCode::TooBig,
];

impl Breaches {
    /// Counts one; a code that says nothing of the kind is not counted.
    pub fn count(&self, code: CloseCode) {
        let counter = CODES.iter().position(|known| *known == code);
        if let Some(counter) = counter.and_then(|place| self.0.get(place)) {
            counter.add(1);
        }
    }

    /// How many there were, by code.
    pub fn all(&self) -> impl Iterator<Item = (u16, u64)> {
        CODES.into_iter().map(CloseCode::code).zip(self.0.iter().map(Counter::get))
    }
}
