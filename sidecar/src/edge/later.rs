//! Asks subscribers who can't be served now to come back, in the way that each of them understands.
//!
//! Law: a condition that passes ends no client for good. A browser's `EventSource` gives up on any status
//! but 200, and a page can't read the status of a handshake that failed; so both are told in band. Whoever
//! reads a status gets 503.

use std::{fmt::Display, ops::Range};

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::{
    farewell::Farewell,
    problem::{problem, respond, set},
};
use crate::{
    count::{Transport, TurnedAway},
    frame::{
        self, Control, Format,
        websocket::{self, CloseCode, Subprotocol},
    },
    hub::Hub,
    session,
};

/// Why there is no stream, as what says so.
#[derive(Debug)]
pub(super) enum Refusal {
    /// An answer.
    Answer(Response<Vec<u8>>),
    /// What is said on a WebSocket, once it is accepted.
    Farewell(Farewell),
}

impl From<Response<Vec<u8>>> for Refusal {
    fn from(response: Response<Vec<u8>>) -> Self {
        Self::Answer(response)
    }
}

/// Why a subscriber is to come back.
#[derive(Debug)]
pub(super) struct Later {
    reason: TurnedAway,
    message: String,
}

impl Later {
    pub(super) fn new(reason: TurnedAway, message: &dyn Display) -> Self {
        Self { reason, message: message.to_string() }
    }

    /// After how many milliseconds to come back: spread, so that subscribers who are turned away together
    /// don't return together.
    fn retry(&self) -> u64 {
        fastrand::u64(spread(self.reason))
    }

    /// Tells a subscriber over SSE.
    pub(super) fn answer(self, hub: &Hub, headers: &HeaderMap) -> Refusal {
        self.note(hub, Transport::Sse);
        let in_band = || come_back(self.reason.name(), &self.message, self.retry());
        let answer = if asks_for_events(headers) { in_band() } else { self.by_status() };
        Refusal::Answer(answer)
    }

    pub(super) fn by_status(&self) -> Response<Vec<u8>> {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let mut response = problem(self.reason.name(), status, &self.message);
        let seconds = self.retry().div_ceil(1_000);
        set(&mut response, header::RETRY_AFTER, &seconds.to_string());
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// Tells a subscriber over a WebSocket, which it would be in this language.
    fn farewell(self, hub: &Hub, face: Subprotocol, format: Format, head: Response<()>) -> Refusal {
        self.note(hub, Transport::WebSocket);
        let mut frames = Vec::new();
        match face {
            Subprotocol::Json | Subprotocol::CloudEvents => {
                frame::encode_control(format, &self.control(), &mut frames);
            }
            Subprotocol::Multiplexed => {
                let (code, message) = (self.reason.name(), &self.message);
                session::encode_farewell(code, message, self.retry(), &mut frames);
            }
        }
        websocket::encode_close(close_code(self.reason), self.reason.name(), &mut frames);
        Refusal::Farewell(Farewell { head, frames })
    }

    fn control(&self) -> Control<'_> {
        let (code, message) = (self.reason.name(), self.message.as_str());
        Control::Failure { code, message, retry_ms: Some(self.retry()), cursor: None }
    }

    fn note(&self, hub: &Hub, transport: Transport) {
        let Self { reason, message } = self;
        hub.accounts().turned_away.count(transport, *reason);
        tracing::debug!(
            pipeline = hub.name(),
            reason = reason.name(),
            message,
            "asked a subscriber to come back"
        );
    }
}

/// A WebSocket that can be accepted, be it to serve it or to say why not.
#[derive(Debug)]
pub(super) struct Acceptable {
    /// The head of the response.
    pub(super) head: Response<()>,
    pub(super) face: Subprotocol,
    pub(super) format: Format,
}

impl Acceptable {
    /// Accepts it to say why there is no stream.
    pub(super) fn refuse(&self, hub: &Hub, later: Later) -> Refusal {
        later.farewell(hub, self.face, self.format, self.head.clone())
    }
}

fn spread(reason: TurnedAway) -> Range<u64> {
    match reason {
        TurnedAway::Draining
        | TurnedAway::TooManyConnections
        | TurnedAway::TooManyFilters
        | TurnedAway::LogUnavailable => 1_000..3_000,
        // Another try helps only once the client itself has done something.
        TurnedAway::TooManyFromAddress | TurnedAway::TooManyMessages => 5_000..15_000,
        // It takes a while until there is more.
        TurnedAway::MemoryPressure => 5_000..15_000,
    }
}

fn close_code(reason: TurnedAway) -> CloseCode {
    match reason {
        TurnedAway::Draining => CloseCode::ServiceRestart,
        TurnedAway::TooManyMessages => CloseCode::PolicyViolation,
        TurnedAway::TooManyConnections
        | TurnedAway::TooManyFromAddress
        | TurnedAway::MemoryPressure
        | TurnedAway::TooManyFilters
        | TurnedAway::LogUnavailable => CloseCode::TryAgainLater,
    }
}

/// Tells a subscriber over SSE, in band.
pub(super) fn come_back(code: &str, message: &str, retry_ms: u64) -> Response<Vec<u8>> {
    let control = Control::Failure { code, message, retry_ms: Some(retry_ms), cursor: None };
    let mut body = Vec::new();
    frame::encode_control(Format::SseData, &control, &mut body);
    let mut response = respond(StatusCode::OK, "text/event-stream; charset=utf-8", body);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether a client says that it understands Server-Sent Events, as every `EventSource` does, and as a
/// script that only fetches doesn't.
pub(super) fn asks_for_events(headers: &HeaderMap) -> bool {
    let sent = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let mut ranges = sent.flat_map(|accept| accept.split(','));
    ranges.any(|range| {
        let media_type = range.split(';').next().unwrap_or_default().trim();
        media_type.eq_ignore_ascii_case("text/event-stream")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_accepts_events_is_told_in_band() {
        let asks = |accept: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(header::ACCEPT, HeaderValue::from_str(value).unwrap());
            }
            asks_for_events(&headers)
        };
        assert!(asks(&["text/event-stream"]));
        assert!(asks(&["text/html, Text/Event-Stream;q=0.9"]));
        assert!(asks(&["text/html", "text/event-stream"]));
        assert!(!asks(&[]) && !asks(&["*/*"]) && !asks(&["text/event-streams", "text/*"]));
    }
}
