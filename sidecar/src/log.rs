//! The log: what a pipeline has accepted and still holds, in order.
//!
//! # Laws
//!
//! - Offsets start at 1 and grow by 1: two neighbours in the log are neighbours in the stream.
//! - An accepted event is readable until retention evicts it, and eviction goes from the oldest on.
//! - An event whose producer gave it an id is a duplicate while the log holds one of the same source
//!   and id: it is answered with the offset of the first, and takes none of its own.

mod cursor;
mod memory;

use std::{sync::Arc, time::Instant};

pub use cursor::{Cursor, CursorError, LogId};
pub use memory::{MemoryLog, Retention};

use crate::intake::Posted;

/// The position of an event in its log. The first event has offset 1; 0 is the position before it.
pub type Offset = u64;

/// An event as the log holds it.
#[derive(Debug)]
pub struct Entry {
    /// The position in the log.
    pub offset: Offset,
    /// When the event was accepted: where its latency starts.
    pub accepted_at: Instant,
    /// The size of all events up to and including this one, so that a distance in bytes is one
    /// subtraction.
    pub end_bytes: u64,
    /// The event, and whether its id is remembered.
    pub posted: Posted,
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// How many events were new.
    pub accepted: usize,
    /// How many the log held already.
    pub duplicates: usize,
    /// The offset of the last event of the batch, be it new or the duplicate of an older one.
    pub last: Offset,
}

/// The answer to a read.
#[derive(Debug)]
pub enum Read {
    /// Neighbouring entries from the offset that was asked for; empty where that is the head.
    Entries(Vec<Arc<Entry>>),
    /// The offset is no longer held. Reading goes on at `first`.
    Evicted {
        /// The oldest offset that is held, or the head where nothing is.
        first: Offset,
    },
}

#[cfg(test)]
pub(crate) mod tests {
    //! What the tests of the log, the hub and the engine share.

    use bytes::Bytes;

    use crate::{event::Event, intake::Posted};

    /// An event with an id that its producer gave.
    pub(crate) fn posted(id: &str, data: &'static [u8]) -> Posted {
        let event = Event {
            id: id.into(),
            type_: "order.placed".into(),
            source: "/shop".into(),
            subject: None,
            time: "2026-01-01T00:00:00Z".into(),
            data_content_type: Some("application/json".into()),
            data_schema: None,
            extensions: Vec::new(),
            data: Bytes::from_static(data),
        };
        Posted { event, idempotent: true }
    }
}
