//! The intake: from the bytes that an application posts to events, all of them or none.
//!
//! No I/O. Laws: a request with one bad event is refused whole, so that nothing is half-applied; no
//! input panics or overflows the stack; events keep nothing of the request alive but their payloads.

mod rejection;

use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderMap;

pub use rejection::{Problem, Reason, Rejection};

use crate::event::Event;

/// What the decoder must know beside the request.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The CloudEvents source of events that name none.
    pub source: &'a str,
    /// The time of events that give none.
    pub now: SystemTime,
    /// The most bytes of one event's payload.
    pub max_event_bytes: usize,
    /// The most events in one request.
    pub max_batch: usize,
}

/// The most events in one request, unless the caller has reason for another bound: a batch is appended
/// in one piece, and this many keep the others waiting for some milliseconds only.
pub const MAX_BATCH: usize = 10_000;

/// What a request holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The events, in order; at least one.
    pub events: Vec<Posted>,
}

/// One event of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// The event.
    pub event: Event,
    /// Whether the producer gave the id, so that a second event with the same source and id is a
    /// repetition of this one. A generated id never comes again, and needs not be remembered.
    pub idempotent: bool,
}

/// Decodes the body of a publish.
///
/// # Errors
///
/// Says what is wrong with which event, and what to do about it.
pub fn decode(
    headers: &HeaderMap,
    body: Bytes,
    context: &Context<'_>,
) -> Result<Decoded, Rejection> {
    let _pending = (headers, context);
    Err(Rejection { index: None, reason: Reason::Empty })
}

/// The body of the answer to a publish that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<'a> {
    /// How many events the log has taken.
    pub accepted: usize,
    /// How many it had already.
    pub duplicates: usize,
    /// The cursor of the last of them.
    pub cursor: &'a str,
}
