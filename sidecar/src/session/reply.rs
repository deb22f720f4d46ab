//! What the server of `weir.v1` says, but for events.

use crate::{
    event::{push_member, push_number, push_string},
    frame::{GapReason, websocket::encode_text},
};

/// A message of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply<'a> {
    /// The first message: what the client may expect, and the bounds it must keep.
    Hello { heartbeat_ms: u64, max_message: usize, max_subscriptions: usize, max_window: u32 },
    /// A stream begins behind this cursor.
    Subscribed { id: &'a str, cursor: &'a str },
    /// A stream has ended as the client asked, behind this cursor.
    Unsubscribed { id: &'a str, cursor: &'a str },
    /// Events are missing from a stream, which goes on behind `to`.
    Gap { id: &'a str, from: Option<&'a str>, to: &'a str, missed: Option<u64>, reason: GapReason },
    /// A stream has come as far as this; what was before it the filter doesn't match.
    Position { id: &'a str, cursor: &'a str },
    /// A stream ends here; it goes on elsewhere, or here later.
    Draining { id: &'a str, cursor: &'a str, retry_ms: u64 },
    /// The log has the events.
    Published { id: &'a str, accepted: usize, duplicates: usize, cursor: &'a str },
    /// Something can't be done, or not go on.
    Failure(&'a Failure),
    /// The answer to a ping.
    Pong { id: Option<&'a str> },
    /// There was nothing to say for a while.
    Heartbeat,
}

/// What can't be done, or not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// What has failed: a kind of request, `subscription` where one that was there has ended, or
    /// `connection`.
    pub(super) of: &'static str,
    /// The name that the client gave it.
    pub(super) id: Option<String>,
    /// A word that a program can branch on.
    pub(super) code: &'static str,
    /// A sentence for a person.
    pub(super) message: String,
    /// How long to wait before another try; absent where it would not help.
    pub(super) retry_ms: Option<u64>,
    /// Where a subscription that has ended can be resumed.
    pub(super) cursor: Option<String>,
    /// Which event of a publish is to blame.
    pub(super) index: Option<usize>,
}

impl Failure {
    /// A failure that another try would meet again.
    pub(super) fn new(of: &'static str, id: &str, code: &'static str, message: &str) -> Self {
        let id = (!id.is_empty()).then(|| id.to_owned());
        let message = message.to_owned();
        Self { of, id, code, message, retry_ms: None, cursor: None, index: None }
    }

    /// Whether it answers a request, and ends nothing that was there.
    pub(super) fn is_of_a_request(&self) -> bool {
        !matches!(self.of, "subscription" | "connection")
    }

    /// The same, to be tried again in a while.
    pub(super) fn passing(self) -> Self {
        Self { retry_ms: Some(fastrand::u64(1_000..3_000)), ..self }
    }
}

impl Reply<'_> {
    /// The JSON object.
    pub(super) fn to_json(self) -> Vec<u8> {
        let mut out = b"{\"type\":".to_vec();
        push_string(&mut out, self.name());
        self.push_members(&mut out);
        out.push(b'}');
        out
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Subscribed { .. } => "subscribed",
            Self::Unsubscribed { .. } => "unsubscribed",
            Self::Gap { .. } => "gap",
            Self::Position { .. } => "position",
            Self::Draining { .. } => "draining",
            Self::Published { .. } => "published",
            Self::Failure(_) => "failure",
            Self::Pong { .. } => "pong",
            Self::Heartbeat => "heartbeat",
        }
    }

    fn push_members(self, out: &mut Vec<u8>) {
        match self {
            Self::Hello { heartbeat_ms, max_message, max_subscriptions, max_window } => {
                push_count(out, "heartbeat", Some(heartbeat_ms));
                push_count(out, "maxMessage", Some(max_message));
                push_count(out, "maxSubscriptions", Some(max_subscriptions));
                push_count(out, "maxWindow", Some(max_window));
            }
            Self::Subscribed { id, cursor }
            | Self::Unsubscribed { id, cursor }
            | Self::Position { id, cursor } => {
                push_member(out, "id", id);
                push_member(out, "cursor", cursor);
            }
            Self::Gap { id, from, to, missed, reason } => {
                push_member(out, "id", id);
                push_optional(out, "from", from);
                push_member(out, "to", to);
                push_count(out, "missed", missed);
                push_member(out, "reason", reason.name());
            }
            Self::Draining { id, cursor, retry_ms } => {
                push_member(out, "id", id);
                push_member(out, "cursor", cursor);
                push_count(out, "retry", Some(retry_ms));
            }
            Self::Published { id, accepted, duplicates, cursor } => {
                push_member(out, "id", id);
                push_count(out, "accepted", Some(accepted));
                push_count(out, "duplicates", Some(duplicates));
                push_member(out, "cursor", cursor);
            }
            Self::Failure(failure) => failure.push_members(out),
            Self::Pong { id } => push_optional(out, "id", id),
            Self::Heartbeat => {}
        }
    }
}

impl Failure {
    fn push_members(&self, out: &mut Vec<u8>) {
        let Self { of, id, code, message, retry_ms, cursor, index } = self;
        push_member(out, "of", of);
        push_optional(out, "id", id.as_deref());
        push_member(out, "code", code);
        push_member(out, "message", message);
        push_count(out, "retry", *retry_ms);
        push_optional(out, "cursor", cursor.as_deref());
        push_count(out, "index", *index);
    }
}

/// Appends what is said where the connection itself is not served now.
pub(crate) fn encode_farewell(code: &'static str, message: &str, retry_ms: u64, out: &mut Vec<u8>) {
    let retry_ms = Some(retry_ms);
    let failure = Failure { retry_ms, ..Failure::new("connection", "", code, message) };
    let json = Reply::Failure(&failure).to_json();
    encode_text(std::str::from_utf8(&json).unwrap_or_default(), out);
}

fn push_optional(out: &mut Vec<u8>, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        push_member(out, name, text);
    }
}

fn push_count(out: &mut Vec<u8>, name: &str, count: Option<impl std::fmt::Display>) {
    if let Some(count) = count {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        push_number(out, count);
    }
}
