//! Asks subscribers who can't be served now to come back, in the way that each of them understands.
//!
//! Law: a condition that passes ends no client for good. A browser's `EventSource` gives up on any status
//! but 200, and a page can't read the status of a handshake that failed; so both are told in band, but for a WebSocket to
//! a pipeline that nobody knows, which no client takes for the end. Whoever reads a status gets 503.

use std::fmt::Display;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::{
    accepted::Accepted,
    farewell::Farewell,
    problem::{respond, unavailable},
    subscribe::LAST_EVENT_ID,
};
use crate::{
    count::{Transport, TurnedAway, retry_soon_ms},
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

    /// Tells a subscriber over SSE.
    pub(super) fn answer(self, hub: &Hub, headers: &HeaderMap) -> Refusal {
        let retry_ms = self.note(hub, Transport::Sse);
        Refusal::Answer(answer(headers, self.reason.name(), &self.message, retry_ms))
    }

    pub(super) fn by_status(&self) -> Response<Vec<u8>> {
        by_status(self.reason.name(), &self.message, self.reason.retry_ms())
    }

    /// Counts it, and says after how many milliseconds it is to come back.
    fn note(&self, hub: &Hub, transport: Transport) -> u64 {
        let Self { reason, message } = self;
        let retry_ms = hub.accounts().turned_away.send_back(transport, *reason);
        tracing::debug!(
            pipeline = hub.name(),
            reason = reason.name(),
            message,
            "asked a subscriber to come back"
        );
        retry_ms
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
        let retry_ms = later.note(hub, Transport::WebSocket);
        let Later { reason, message } = later;
        self.farewell(reason.name(), &message, retry_ms, close_code(reason))
    }

    /// Accepts it to say this, in its language, before it is closed.
    pub(super) fn farewell(
        &self,
        code: &'static str,
        message: &str,
        retry_ms: u64,
        close: CloseCode,
    ) -> Refusal {
        let Self { head, face, format } = self;
        let mut frames = Vec::new();
        match face {
            Subprotocol::Json | Subprotocol::CloudEvents => {
                let control =
                    Control::Failure { code, message, retry_ms: Some(retry_ms), cursor: None };
                frame::encode_control(*format, &control, &mut frames);
            }
            Subprotocol::Multiplexed => {
                session::encode_farewell(code, message, retry_ms, &mut frames);
            }
        }
        websocket::encode_close_hint(close, retry_ms, None, &mut frames);
        Refusal::Farewell(Farewell { head: head.clone(), frames })
    }
}

fn close_code(reason: TurnedAway) -> CloseCode {
    match reason {
        TurnedAway::Draining => CloseCode::ServiceRestart,
        TurnedAway::TooManyMessages | TurnedAway::FilterTooCostly | TurnedAway::SlowMessage => {
            CloseCode::PolicyViolation
        }
        TurnedAway::TooManyConnections
        | TurnedAway::TooManyFromAddress
        | TurnedAway::MemoryPressure
        | TurnedAway::TooManyFilters
        | TurnedAway::TooManyFiltersOfClient
        | TurnedAway::LogUnavailable
        | TurnedAway::Busy => CloseCode::TryAgainLater,
    }
}

/// Tells whoever reads a status.
fn by_status(code: &'static str, message: &str, retry_ms: u64) -> Response<Vec<u8>> {
    unavailable(code, message, retry_ms)
}

/// Tells a client of a pipeline, a subscriber with these headers or another, that it is not served, but may be in a
/// configuration that was refused.
pub(super) fn unserved(name: &str, headers: Option<&HeaderMap>) -> Response<Vec<u8>> {
    let code = "configuration_refused";
    let message = format!(
        "there is no pipeline {name} here yet: a configuration that may hold it was refused, and the log of \
         this sidecar says why"
    );
    match headers {
        Some(headers) => answer(headers, code, &message, retry_soon_ms()),
        None => by_status(code, &message, retry_soon_ms()),
    }
}

/// Tells a subscriber over SSE as it understands it.
pub(super) fn answer(
    headers: &HeaderMap,
    code: &'static str,
    message: &str,
    retry_ms: u64,
) -> Response<Vec<u8>> {
    if asks_for_events(headers) {
        come_back(headers, code, message, retry_ms)
    } else {
        by_status(code, message, retry_ms)
    }
}

/// Tells it in band, with the position that it came with: an event without one would take that from it, because a
/// new connection begins with an empty "last event ID buffer" (HTML Standard, 9.2.6, "Interpreting an event stream").
pub(super) fn come_back(
    headers: &HeaderMap,
    code: &'static str,
    message: &str,
    retry_ms: u64,
) -> Response<Vec<u8>> {
    let cursor = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok());
    let cursor = cursor.filter(|text| !text.is_empty());
    let control = Control::Failure { code, message, retry_ms: Some(retry_ms), cursor };
    let mut body = Vec::new();
    frame::encode_control(Format::SseData, &control, &mut body);
    let mut response = respond(StatusCode::OK, "text/event-stream; charset=utf-8", body);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether a client says that it understands Server-Sent Events, as every `EventSource` does, and as a
/// script that only fetches doesn't.
pub(super) fn asks_for_events(headers: &HeaderMap) -> bool {
    Accepted::by(headers).named.iter().any(|range| range == "text/event-stream")
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
        assert!(!asks(&["text/event-stream;q=0, */*"]) && !asks(&["text/event-stream; Q=0.0"]));
        assert!(!asks(&[]) && !asks(&["*/*"]) && !asks(&["text/event-streams", "text/*"]));
    }
}
