//! Why a request about a durable stream is refused, in words for its author.

use std::sync::Arc;

use http::StatusCode;

use super::offset::Offset;
use crate::{
    count::Counter,
    event::{Flaw, JsonLimit, Unreadable},
};

/// Why a request is refused. Nothing of it was applied. The message names what is wrong and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// There is none.
    #[error("there is no stream at this path: create it with PUT")]
    NotFound,
    /// It was deleted, and forks still read from it.
    #[error("this stream was deleted; its path is free again when its last fork is gone")]
    Gone,
    /// The same, for whoever would create it anew.
    #[error("the stream at this path was deleted, and forks still read from it: use another path")]
    Kept,
    /// The offset is of a stream that was here before.
    #[error("this offset is of an earlier stream at this path, which is gone: read from offset=-1")]
    EarlierStream,
    /// The path can't name a stream.
    #[error(
        "a stream's path must have 1 to 512 bytes of UTF-8 without control characters, and no empty, . or .. segment"
    )]
    Path,
    /// A header can't be understood.
    #[error("the header {name} {rule}")]
    Header {
        /// The header.
        name: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// A parameter of the query can't be understood.
    #[error("the parameter {name} {rule}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// There is a stream at this path, and it is another one.
    #[error("there is another stream at this path: {differs} differs")]
    Exists {
        /// What differs.
        differs: &'static str,
    },
    /// The stream to fork is deleted.
    #[error("the stream to fork was deleted")]
    SourceGone,
    /// The stream to fork is not there.
    #[error("there is no stream to fork at {0}")]
    NoSource(Box<str>),
    /// The media type is not the stream's.
    #[error("the stream holds {0}: send that content-type")]
    ContentType(Box<str>),
    /// No more is taken.
    #[error("the stream is closed")]
    Closed {
        /// Its end.
        end: Offset,
    },
    /// An append that comes late.
    #[error("stream-seq must be greater than that of the last append, {last}")]
    Seq {
        /// The last one.
        last: Box<str>,
    },
    /// A producer that was replaced.
    #[error("a newer producer with this id has epoch {current}: this one is to stop")]
    StaleEpoch {
        /// The newest epoch.
        current: u64,
    },
    /// An append before this one is missing.
    #[error("producer-seq must be {expected} now, not {received}: send what is missing first")]
    SequenceGap {
        /// What is due.
        expected: u64,
        /// What came.
        received: u64,
    },
    /// A new epoch that doesn't begin at its beginning.
    #[error("a new producer-epoch begins with producer-seq 0")]
    EpochStart,
    /// There is nothing in it.
    #[error("the body is empty: send what to append, or stream-closed: true to close the stream")]
    Empty,
    /// It claims to be JSON and isn't.
    #[error("the body is not JSON: {0}")]
    Json(String),
    /// The JSON is more than every reader reads.
    #[error("the body can't be taken, at line {line}, column {column}: {limit}")]
    JsonLimit {
        /// Which limit it passes.
        limit: JsonLimit,
        /// The line, from 1.
        line: usize,
        /// The column in the line, from 1.
        column: usize,
    },
    /// Too many messages at once.
    #[error("an append may have at most {limit} messages: send fewer at once")]
    TooManyMessages {
        /// The most.
        limit: usize,
    },
    /// The stream can't hold more.
    #[error(
        "a stream may hold {limit} bytes: begin another, or raise endpoints.durableStreams.maxStreamBytes"
    )]
    StreamFull {
        /// The most.
        limit: u64,
    },
    /// All streams together can't hold more.
    #[error(
        "the streams may hold {limit} bytes in all: delete some, or raise endpoints.durableStreams.maxBytes"
    )]
    Full {
        /// The most.
        limit: u64,
    },
    /// There can't be more streams.
    #[error(
        "there may be {limit} streams: delete some, or raise endpoints.durableStreams.maxStreams"
    )]
    TooMany {
        /// The most.
        limit: usize,
    },
    /// It could not be made to last.
    #[error("the change could not be stored: {0}")]
    Storage(String),
    /// There is no room for it on the disk.
    #[error("the change could not be stored: {0}")]
    DiskFull(String),
    /// What is kept of the streams is not read yet.
    #[error("the streams are not open yet: {0}")]
    NotOpen(Arc<str>),
}

/// The reasons by which refusals are counted, each beside its status.
const REASONS: [(StatusCode, &str); 9] = [
    (StatusCode::BAD_REQUEST, "bad_request"),
    (StatusCode::FORBIDDEN, "stale_producer"),
    (StatusCode::NOT_FOUND, "not_found"),
    (StatusCode::REQUEST_TIMEOUT, "timeout"),
    (StatusCode::CONFLICT, "conflict"),
    (StatusCode::GONE, "gone"),
    (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
    (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    (StatusCode::INSUFFICIENT_STORAGE, "full"),
];

/// How many requests were refused, by reason; the last is any other.
#[derive(Debug, Default)]
pub struct Refused([Counter; REASONS.len() + 1]);

impl Refused {
    /// Counts a request that is answered with this status.
    pub(crate) fn count(&self, status: StatusCode) {
        let known = REASONS.iter().position(|(known, _)| *known == status);
        if let Some(counter) = self.0.get(known.unwrap_or(REASONS.len())) {
            counter.add(1);
        }
    }

    /// Every reason, with its count.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = REASONS.iter().map(|(_, name)| *name).chain(["other"]);
        names.zip(self.0.iter().map(Counter::get))
    }
}

impl From<Unreadable> for Refusal {
    fn from(unreadable: Unreadable) -> Self {
        let Unreadable { flaw, line, column } = unreadable;
        match flaw {
            Flaw::Grammar(said) => Self::Json(format!("{said} at line {line} column {column}")),
            Flaw::Limit(limit) => Self::JsonLimit { limit, line, column },
        }
    }
}

impl Refusal {
    pub(crate) const fn header(name: &'static str, rule: &'static str) -> Self {
        Self::Header { name, rule }
    }

    pub(crate) const fn parameter(name: &'static str, rule: &'static str) -> Self {
        Self::Parameter { name, rule }
    }

    /// The status, and a word of a small set for programs and metrics.
    pub(crate) const fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::NoSource(_) => (StatusCode::NOT_FOUND, "no_source"),
            Self::Gone => (StatusCode::GONE, "gone"),
            Self::EarlierStream => (StatusCode::GONE, "earlier_stream"),
            Self::Path => (StatusCode::BAD_REQUEST, "path"),
            Self::Header { .. } => (StatusCode::BAD_REQUEST, "header"),
            Self::Parameter { .. } => (StatusCode::BAD_REQUEST, "query"),
            Self::EpochStart => (StatusCode::BAD_REQUEST, "epoch_start"),
            Self::Empty => (StatusCode::BAD_REQUEST, "empty"),
            Self::Json(_) => (StatusCode::BAD_REQUEST, "json"),
            Self::JsonLimit { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "unreadable_json"),
            Self::Exists { .. } => (StatusCode::CONFLICT, "exists"),
            Self::Kept => (StatusCode::CONFLICT, "kept"),
            Self::SourceGone => (StatusCode::CONFLICT, "source_gone"),
            Self::ContentType(_) => (StatusCode::CONFLICT, "content_type"),
            Self::Closed { .. } => (StatusCode::CONFLICT, "closed"),
            Self::Seq { .. } => (StatusCode::CONFLICT, "seq"),
            Self::SequenceGap { .. } => (StatusCode::CONFLICT, "sequence_gap"),
            Self::StaleEpoch { .. } => (StatusCode::FORBIDDEN, "stale_epoch"),
            Self::TooManyMessages { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_many_messages"),
            Self::StreamFull { .. } => (StatusCode::INSUFFICIENT_STORAGE, "stream_full"),
            Self::Full { .. } => (StatusCode::INSUFFICIENT_STORAGE, "full"),
            Self::TooMany { .. } => (StatusCode::INSUFFICIENT_STORAGE, "too_many_streams"),
            Self::Storage(_) => (StatusCode::SERVICE_UNAVAILABLE, "storage"),
            Self::DiskFull(_) => (StatusCode::INSUFFICIENT_STORAGE, "disk_full"),
            Self::NotOpen(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_open"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_their_status() {
        let refused = Refused::default();
        let statuses = [Refusal::Path, Refusal::Empty, Refusal::Kept, Refusal::Full { limit: 1 }];
        statuses.iter().for_each(|refusal| refused.count(refusal.status().0));
        refused.count(StatusCode::IM_A_TEAPOT);
        let counted: Vec<_> = refused.all().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("bad_request", 2), ("conflict", 1), ("full", 1), ("other", 1)]);
    }
}
