//! Controls: what the server says about the stream itself, in band and in order with the events.

use crate::event::{push_member, push_number, push_string};

/// Something the server says about the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control<'a> {
    /// Events are missing here: what follows comes after `to`, not after `from`.
    Gap {
        /// The cursor that the subscriber came with, as it stands; absent where it came with none.
        from: Option<&'a str>,
        /// The cursor behind which the stream goes on.
        to: &'a str,
        /// How many events are missing, where that is known.
        missed: Option<u64>,
        /// Why.
        reason: GapReason,
    },
    /// The stream has come as far as this without an event for the subscriber. Over SSE it is a frame
    /// that sets the last event id and dispatches nothing.
    Position {
        /// The cursor to resume from.
        cursor: &'a str,
    },
    /// This server is about to close the connection; the stream goes on elsewhere, or here later.
    Draining {
        /// The cursor to resume from.
        cursor: &'a str,
        /// How long to wait before reconnecting, in milliseconds.
        retry_ms: u64,
    },
    /// The stream can't go on; the connection is closed after this.
    ///
    /// It is called `failure` on the wire: `error` is the event that an `EventSource` fires itself when
    /// the connection breaks, so a control of that name would call `onerror` with something else.
    Failure {
        /// A word that a program can branch on, such as `slow_consumer`.
        code: &'a str,
        /// A sentence for a person.
        message: &'a str,
        /// How long to wait before reconnecting, in milliseconds; absent where it would not help.
        retry_ms: Option<u64>,
        /// The cursor to resume from, where one is known.
        cursor: Option<&'a str>,
    },
}

/// Why events are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The events behind the cursor have left the log.
    Evicted,
    /// The cursor belongs to another log, such as the one before a restart.
    UnknownLog,
    /// The cursor is none of ours.
    Malformed,
    /// The subscriber didn't keep up, and the pipeline skips what such a one is behind by.
    SlowConsumer,
}

impl GapReason {
    /// Every reason.
    pub const ALL: [Self; 4] =
        [Self::Evicted, Self::UnknownLog, Self::Malformed, Self::SlowConsumer];

    /// The word on the wire and in metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::UnknownLog => "unknown_log",
            Self::Malformed => "malformed",
            Self::SlowConsumer => "slow_consumer",
        }
    }
}

impl Control<'_> {
    /// The names of the controls that are events over SSE, which no event of a user may take there.
    pub(super) const NAMES: [&'static str; 3] = ["gap", "draining", "failure"];

    /// The word on the wire: the SSE event name, and the value of the member `control`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Gap { .. } => "gap",
            Self::Position { .. } => "position",
            Self::Draining { .. } => "draining",
            Self::Failure { .. } => "failure",
        }
    }

    /// The position to resume from, where one is known.
    #[must_use]
    pub const fn cursor(&self) -> Option<&str> {
        match self {
            Self::Gap { to, .. } => Some(to),
            Self::Position { cursor } | Self::Draining { cursor, .. } => Some(cursor),
            Self::Failure { cursor, .. } => *cursor,
        }
    }

    /// How long to wait before reconnecting, in milliseconds.
    #[must_use]
    pub const fn retry_ms(&self) -> Option<u64> {
        match self {
            Self::Gap { .. } | Self::Position { .. } => None,
            Self::Draining { retry_ms, .. } => Some(*retry_ms),
            Self::Failure { retry_ms, .. } => *retry_ms,
        }
    }

    /// Appends the JSON object, on one line.
    pub(super) fn push_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"control\":");
        push_string(out, self.name());
        match *self {
            Self::Gap { from, to, missed, reason } => {
                push_optional(out, "from", from);
                push_member(out, "to", to);
                push_count(out, "missed", missed);
                push_member(out, "reason", reason.name());
            }
            Self::Position { cursor } => push_member(out, "cursor", cursor),
            Self::Draining { cursor, retry_ms } => {
                push_member(out, "cursor", cursor);
                push_count(out, "retry", Some(retry_ms));
            }
            Self::Failure { code, message, retry_ms, cursor } => {
                push_member(out, "code", code);
                push_member(out, "message", message);
                push_optional(out, "cursor", cursor);
                push_count(out, "retry", retry_ms);
            }
        }
        out.push(b'}');
    }
}

fn push_optional(out: &mut Vec<u8>, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        push_member(out, name, text);
    }
}

fn push_count(out: &mut Vec<u8>, name: &str, count: Option<u64>) {
    if let Some(count) = count {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        push_number(out, count);
    }
}
