//! What a session keeps for its client: a part of the memory that all sessions share, and not for long.
//!
//! # Laws
//!
//! - What is kept of the request that opened it, what a client has begun to say, what it has said and that waits or
//!   is carried out, and what it doesn't read of the answers, is counted, but for a few KiB.
//! - A message that has begun is whole in a minute. The time in which nothing is read, because something that was
//!   asked for before is carried out, is not the client's.
//! - Whoever there is no memory for, or who doesn't end, is told so, with its cursors, and closed.

use std::time::{Duration, Instant};

use super::{Conversation as _, Session};
use crate::{
    count::{EndReason, Transport, TurnedAway},
    frame::websocket::CloseCode,
    memory::{COPIES, Part},
};

/// What each session may keep besides: short requests and their answers.
const FREE: usize = 4 * 1024;

/// How long a message may take, once it has begun: as a body over HTTP.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a session keeps.
#[derive(Debug)]
pub(super) struct Burden {
    part: Part,
    /// The bytes that the request takes that is carried out.
    carried: usize,
    /// Since when a message is not whole.
    begun: Option<Instant>,
}

impl Burden {
    pub(super) const fn new(part: Part) -> Self {
        Self { part, carried: 0, begun: None }
    }

    /// Takes note that a request of so many bytes is carried out: itself, and what is made of it.
    pub(super) const fn carry(&mut self, bytes: usize) {
        self.carried = bytes.saturating_mul(COPIES);
    }

    /// Takes note that a message was whole.
    pub(super) const fn end_message(&mut self) {
        self.begun = None;
    }
}

impl Session {
    /// Counts what is kept. Where there is no memory for it, the client is sent away.
    pub(super) fn weigh(&mut self) {
        let carried = if self.job.is_some() { self.burden.carried } else { 0 };
        let read = self.dialogue.held() + self.unheard.capacity() + self.waiting.bytes();
        let asked = self.access.visitor.bytes();
        let kept = asked + read + carried + self.outbox.waiting();
        let counted = if kept > FREE { kept } else { 0 };
        if !self.burden.part.fit(counted) && !self.leaving {
            let message = "as many bytes of messages are on their way as there may be";
            self.ends_for(EndReason::Busy);
            self.turn_out(TurnedAway::Busy, message, CloseCode::TryAgainLater);
        }
    }

    /// Takes note of the time at which a message has begun; `false` where that is too long ago.
    pub(super) fn keep_time(&mut self, now: Instant) -> bool {
        let is_waited_for = self.job.is_some();
        let begun = self.burden.begun.take_if(|_| !is_waited_for).unwrap_or(now);
        self.burden.begun = self.dialogue.is_within_message().then_some(begun);
        now.saturating_duration_since(begun) < PATIENCE
    }

    /// Sends a client away whose message doesn't end.
    pub(super) fn end_overdue(&mut self) {
        let message = "a message must be whole within a minute: send smaller ones";
        self.ends_for(EndReason::SlowMessage);
        self.turn_out(TurnedAway::SlowMessage, message, CloseCode::PolicyViolation);
    }

    /// Ends all subscriptions with a failure, and closes; nothing of what the client has said is kept.
    fn turn_out(&mut self, reason: TurnedAway, message: &str, code: CloseCode) {
        self.hub.accounts().turned_away.count(Transport::WebSocket, reason);
        let retry_ms = reason.retry_ms();
        self.fail_all(reason.name(), message, retry_ms);
        if code.is_retryable() {
            self.send_away(code, retry_ms);
        } else {
            self.close(code, message);
        }
    }

    /// Keeps nothing any more of what the client has said.
    pub(super) fn unburden(&mut self) {
        self.waiting.clear();
        self.job = None;
        self.dialogue.ignore_messages();
        self.weigh();
    }
}
