//! Encodes events and controls as the bytes that go onto the socket, for each wire format.
//!
//! No I/O and no state: a frame depends on its arguments alone, so that the hub encodes an event once
//! per format and shares the bytes. Laws:
//!
//! - An event is whole: a reader that has all of its bytes needs none of the next one's. A large one is several
//!   frames of a WebSocket, between which a control frame may stand.
//! - Over SSE every event moves the reader's last event id to its cursor, so that a reconnection resumes
//!   behind the last event that was dispatched.
//! - A cursor is visible ASCII; whoever makes cursors keeps to that.

mod asides;
mod control;
mod json;
#[cfg(test)]
pub(crate) mod naive;
mod sse;
pub mod websocket;

pub(crate) use asides::Asides;
pub use control::{Control, GapReason};
pub use sse::{sse_heartbeat, sse_open};

use crate::event::Event;
use websocket::Coding;

/// A wire format: what a subscriber asked for by its path and its query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// SSE; `data` is the payload, and no event is named, so that `onmessage` fires.
    SseData,
    /// SSE; `data` is the payload, and `event` the event's type.
    SseNamed,
    /// SSE; `data` is the whole CloudEvent.
    SseCloudEvents,
    /// WebSocket; each text message is one event with its cursor.
    WsJson(Coding),
    /// WebSocket; each text message is one CloudEvent, with its cursor as an extension attribute.
    WsCloudEvents(Coding),
    /// WebSocket; each event is an element of a list, around which a session puts a message.
    WsList,
}

impl Format {
    /// Every format, uncompressed, in the order of [`Format::index`].
    pub const ALL: [Self; 6] = [
        Self::SseData,
        Self::SseNamed,
        Self::SseCloudEvents,
        Self::WsJson(Coding::Plain),
        Self::WsCloudEvents(Coding::Plain),
        Self::WsList,
    ];

    /// The place in [`Format::ALL`], for tables with one entry per format, compressed or not.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::SseData => 0,
            Self::SseNamed => 1,
            Self::SseCloudEvents => 2,
            Self::WsJson(_) => 3,
            Self::WsCloudEvents(_) => 4,
            Self::WsList => 5,
        }
    }

    /// How the messages of a WebSocket are written.
    #[must_use]
    pub const fn coding(self) -> Coding {
        match self {
            Self::SseData | Self::SseNamed | Self::SseCloudEvents | Self::WsList => Coding::Plain,
            Self::WsJson(coding) | Self::WsCloudEvents(coding) => coding,
        }
    }

    /// The name for metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SseData => "sse_data",
            Self::SseNamed => "sse_named",
            Self::SseCloudEvents => "sse_cloudevents",
            Self::WsJson(_) => "ws_json",
            Self::WsCloudEvents(_) => "ws_cloudevents",
            Self::WsList => "ws_list",
        }
    }
}

/// Appends the whole of `event`, which is at `cursor`.
pub fn encode(format: Format, cursor: &str, event: &Event, out: &mut Vec<u8>) {
    match format {
        Format::SseData => sse::push_data(None, cursor, event, out),
        Format::SseNamed => sse::push_data(Some(&event.type_), cursor, event, out),
        Format::SseCloudEvents => sse::push_structured(cursor, event, out),
        Format::WsJson(coding) => websocket::push_event(coding, cursor, event, out),
        Format::WsCloudEvents(coding) => websocket::push_cloud_event(coding, cursor, event, out),
        Format::WsList => websocket::push_element(cursor, event, out),
    }
}

/// Appends the whole of `control`.
pub fn encode_control(format: Format, control: &Control<'_>, out: &mut Vec<u8>) {
    match format {
        Format::SseData | Format::SseNamed | Format::SseCloudEvents => {
            sse::push_control(control, out);
        }
        Format::WsJson(_) | Format::WsCloudEvents(_) | Format::WsList => {
            websocket::push_control(format, control, out);
        }
    }
}

/// Appends an event as a bare JSON object, as it comes over WebSocket.
pub(crate) fn push_json_event(cursor: &str, event: &Event, out: &mut Vec<u8>) {
    json::push_event(cursor, event, out);
}

/// Appends a control as a bare JSON object.
pub(crate) fn push_json_control(control: &Control<'_>, out: &mut Vec<u8>) {
    control.push_json(out);
}

#[cfg(test)]
mod tests;
