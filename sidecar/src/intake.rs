//! The intake: from the bytes that an application posts to events, all of them or none.
//!
//! No I/O. Laws: a request with one bad event is refused whole, so that nothing is half-applied; no
//! input panics or overflows the stack; a payload keeps its bytes, but for the white space around a
//! JSON text, and where it says that it is JSON, every reader can read it, a filter among them; the events of
//! a request share one buffer that holds their payloads and nothing else, so that what the log counts is what
//! the memory holds.

mod answer;
mod body;
mod bound;
mod draft;
mod fresh;
mod headers;
mod mode;
mod pack;
mod rejection;
mod structured;

use std::time::SystemTime;

use http::HeaderMap;

pub use answer::Answer;
pub use bound::Bound;
pub use rejection::{Part, Problem, Reason, Rejection};

use crate::event::Event;
use draft::Draft;
use mode::Mode;

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

/// The most events in one request: a batch is appended in one piece, and this many keep the others
/// waiting for some milliseconds only.
pub const MAX_BATCH: usize = 10_000;

/// The CloudEvents type of events that name none.
pub const DEFAULT_TYPE: &str = "dev.weir.event";

/// What a request holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The events, in order. There is at least one, except in an empty CloudEvents batch.
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

/// Decodes the body of a publish by its `content-type` and the `ce-` headers.
///
/// # Errors
///
/// Says what is wrong with which event, and what to do about it.
pub fn decode(
    headers: &HeaderMap,
    body: &[u8],
    context: &Context<'_>,
) -> Result<Decoded, Rejection> {
    let mut drafts = match Mode::of(headers)? {
        Mode::Structured => vec![structured::one(body)?],
        Mode::Batch => structured::batch(body, context)?,
        Mode::Binary { content_type } => vec![body::binary(headers, content_type, body)?],
        Mode::Json { content_type } => vec![body::json(headers, content_type, body)?],
        Mode::Lines => body::lines(headers, body, context.max_batch)?,
        Mode::Opaque { content_type } => vec![body::opaque(headers, content_type, body)?],
        Mode::Undeclared => vec![body::undeclared(headers, body)?],
    };
    headers::carry_trace(headers, &mut drafts);
    check_sizes(&drafts, context.max_event_bytes)?;
    Ok(Decoded { events: pack::pack(drafts, context) })
}

fn check_sizes(drafts: &[Draft<'_>], limit: usize) -> Result<(), Rejection> {
    let too_large = drafts.iter().enumerate().find(|(_, draft)| draft.data.len() > limit);
    match too_large {
        None => Ok(()),
        Some((index, draft)) => {
            let index = (drafts.len() > 1).then_some(index);
            Err(Rejection { index, reason: Reason::TooLarge { size: draft.data.len(), limit } })
        }
    }
}

#[cfg(test)]
mod tests;
