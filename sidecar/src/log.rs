//! The log: what a pipeline has accepted and still holds, in order.
//!
//! One trait, [`Log`], and one conformance suite that every implementation passes. Whatever the
//! storage, its newest events stand in memory in a [`Tail`], from which live subscribers are served; a
//! log is read only by those who are behind it.
//!
//! # Laws
//!
//! - Offsets start at 1 and grow by 1: two neighbours in the log are neighbours in the stream.
//! - An accepted event is readable until retention evicts it, and eviction goes from the oldest on.
//! - An event whose producer gave it an id is a duplicate while the log holds one of the same source
//!   and id: it is answered with the offset of the first, and takes none of its own.
//! - An append is answered after the log has the events as safely as it promises, and no subscriber
//!   sees an event before that.
//! - The time of acceptance never steps back from one event to the next.

#[cfg(any(feature = "nats", feature = "redis"))]
mod codec;
#[cfg(test)]
pub(crate) mod conformance;
mod cursor;
mod disk;
pub mod encoding;
#[cfg(any(feature = "nats", feature = "redis"))]
mod health;
mod identities;
mod memory;
#[cfg(feature = "nats")]
mod nats;
#[cfg(any(feature = "nats", feature = "redis"))]
mod password;
#[cfg(feature = "redis")]
mod redis;
mod ring;
mod tail;

use std::{fmt, pin::Pin, sync::Arc, time::Duration, time::Instant};

pub use cursor::{Cursor, CursorError, LogId};
pub(crate) use disk::{Book, Doubt, Found, Shelf};
pub use disk::{DataDir, DiskLog, OpenError, Options as DiskOptions, Report, Room};
#[cfg(any(feature = "nats", feature = "redis"))]
pub use health::{Backoff, Health};
pub use memory::MemoryLog;
#[cfg(feature = "nats")]
pub use nats::{NatsConfig, NatsLog};
#[cfg(any(feature = "nats", feature = "redis"))]
pub use password::Password;
#[cfg(feature = "redis")]
pub use redis::{RedisConfig, RedisLog};
pub use ring::Ring;
pub use tail::{Tail, instant_of};

use crate::{event::Event, intake::Posted};

/// The position of an event in its log. The first event has offset 1; 0 is the position before it.
pub type Offset = u64;

/// A moment of the wall clock, in microseconds since 1970.
pub type Micros = u64;

/// An answer that is still to come.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a pipeline has accepted and still holds. See the laws of [the module](self).
///
/// An implementation puts every event into its [`Tail`] as soon as it is safe: its own appends, and
/// where the log is shared, those of the other replicas.
pub trait Log: fmt::Debug + Send + Sync {
    /// The incarnation, which every cursor names.
    fn id(&self) -> LogId;

    /// The offset of the oldest event held, or the tail's head where none is. As far as is known
    /// without asking anybody.
    fn first(&self) -> Offset;

    /// How much is held. As far as is known without asking anybody.
    fn held(&self) -> Held;

    /// Appends events in order. Answers when they are as safe as the log promises, and in the tail of
    /// this replica or on their way to it.
    fn append(&self, events: Vec<Posted>) -> Pending<'_, Result<Appended, LogError>>;

    /// Reads entries from `from` on, at least one where there is one, and no more than fit into
    /// `max_bytes`.
    fn read(&self, from: Offset, max_bytes: u64) -> Pending<'_, Result<Read, LogError>>;

    /// The offset of the first event accepted at or after a moment; the head where there is none.
    fn offset_at(&self, time: Micros) -> Pending<'_, Result<Offset, LogError>>;

    /// The offset that the next event will have. Where the log is shared, that may be ahead of the
    /// tail.
    fn head(&self) -> Pending<'_, Result<Offset, LogError>>;

    /// Changes the bounds; events that no longer fit leave soon.
    fn set_retention(&self, retention: Retention);

    /// Evicts what is past a bound, from the tail, too. Called every second; what takes longer is done
    /// behind it.
    fn expire(&self);

    /// Ends: what was accepted is safe when this has answered, and nothing is appended any more.
    fn close(&self) -> Pending<'_, ()>;
}

/// An event as the log holds it.
#[derive(Debug)]
pub struct Entry {
    /// The position in the log.
    pub offset: Offset,
    /// When the event was accepted: where its latency starts.
    pub accepted_at: Instant,
    /// The same by the wall clock, by which the log is searched and retained.
    pub time: Micros,
    /// The event, and whether its id is remembered.
    pub posted: Posted,
}

impl Entry {
    /// The size by which retention and lag are counted.
    #[must_use]
    pub fn size(&self) -> u64 {
        size_of_event(&self.posted.event)
    }
}

/// How much a log holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Events.
    pub events: u64,
    /// Their size in bytes.
    pub bytes: u64,
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

/// When an event leaves the log: as soon as the first of the bounds is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The oldest age.
    pub max_age: Duration,
    /// The most events.
    pub max_events: usize,
    /// The most bytes of events.
    pub max_bytes: u64,
}

impl Retention {
    /// Whether the oldest of `events` events of `bytes` bytes in all has to leave, given its age. The
    /// newest event always stays for its readers, however large it is.
    #[must_use]
    pub fn is_passed(&self, events: usize, bytes: u64, age: Duration) -> bool {
        let Self { max_age, max_events, max_bytes } = *self;
        age > max_age || (events > 1 && (events > max_events || bytes > max_bytes))
    }
}

/// Why a log can't do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// It isn't there, or not yet: another try may succeed.
    #[error("the log can't be reached: {0}")]
    Unavailable(String),
    /// It is not open yet, so nothing was asked of it.
    #[error("the log can't be reached: {0}")]
    NotOpen(String),
    /// There is no room for more.
    #[error("the log is full: {0}")]
    Full(String),
    /// A subscriber is too far behind, and the pipeline lets publishers wait for it.
    #[error("the pipeline waits for a subscriber: {0}")]
    SlowConsumer(String),
    /// What it holds can't be read.
    #[error("the log is damaged: {0}")]
    Damaged(String),
}

impl LogError {
    /// Whether an append that failed so has certainly left nothing in the log.
    #[must_use]
    pub const fn is_certain(&self) -> bool {
        match self {
            Self::NotOpen(_) | Self::Full(_) | Self::SlowConsumer(_) => true,
            Self::Unavailable(_) | Self::Damaged(_) => false,
        }
    }

    /// What is wrong with the log, as a hub keeps it: it says itself that it can't be reached.
    #[cfg(any(feature = "nats", feature = "redis"))]
    #[must_use]
    pub fn fault(&self) -> String {
        match self {
            Self::Unavailable(why) | Self::NotOpen(why) => why.clone(),
            Self::Full(_) | Self::SlowConsumer(_) | Self::Damaged(_) => self.to_string(),
        }
    }

    /// The value of metric labels and of a problem's category.
    #[must_use]
    pub const fn category(&self) -> &'static str {
        match self {
            Self::Unavailable(_) | Self::NotOpen(_) => "log_unavailable",
            Self::Full(_) => "log_full",
            Self::SlowConsumer(_) => "slow_consumer",
            Self::Damaged(_) => "log_damaged",
        }
    }
}

/// What an event costs beside its payload and attributes: its place in the ring, the remembered id, and
/// what the allocator rounds up.
const OVERHEAD: u64 = 256;

/// The size by which retention and lag are counted.
pub(crate) fn size_of_event(event: &Event) -> u64 {
    event.size() as u64 + OVERHEAD
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
