//! How a connection is ended from this side: with the cursor from which its subscriber goes on, and a hint when.
//!
//! Law: what is said last is about what the connection ends for, also where it has to be said sooner than was meant.

use super::{Connection, Now, Phase};
use crate::{
    count::{EndReason, Transport, TurnedAway},
    engine::{outlet::Break, wire::Wire},
    frame::{self, Control, websocket, websocket::CloseCode},
    hub::TOO_COSTLY,
};

/// What is said last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Farewell {
    code: CloseCode,
    /// The word and the sentence of a failure; none where the subscriber just goes on elsewhere.
    failure: Option<(&'static str, &'static str)>,
    retry_ms: u64,
}

impl Farewell {
    /// What is said to one that ends for this.
    pub(super) fn of(reason: EndReason) -> Self {
        let soon = fastrand::u64(100..2_000);
        let (code, failure, retry_ms) = match reason {
            EndReason::TokenExpired => {
                let message =
                    "the token has expired: come back with a new one, and with the cursor";
                (CloseCode::PolicyViolation, Some(("token_expired", message)), soon)
            }
            EndReason::FilterTooCostly => {
                let reason = TurnedAway::FilterTooCostly;
                let failure = Some((reason.name(), TOO_COSTLY));
                (CloseCode::PolicyViolation, failure, reason.retry_ms())
            }
            EndReason::SlowConsumer => {
                let message = "you are too far behind: come back with this cursor, and read faster";
                (CloseCode::TryAgainLater, Some(("slow_consumer", message)), soon)
            }
            EndReason::Drain
            | EndReason::Age
            | EndReason::Share
            | EndReason::Changed
            | EndReason::Client
            | EndReason::Broken
            | EndReason::Unanswered
            | EndReason::Stalled
            | EndReason::Breach
            | EndReason::TooManyMessages
            | EndReason::Busy
            | EndReason::SlowMessage => (CloseCode::ServiceRestart, None, soon),
        };
        Self { code, failure, retry_ms }
    }

    fn control<'a>(&self, cursor: &'a str) -> Control<'a> {
        let &Self { code: _, failure, retry_ms } = self;
        match failure {
            None => Control::Draining { cursor, retry_ms },
            Some((code, message)) => {
                let (retry_ms, cursor) = (Some(retry_ms), Some(cursor));
                Control::Failure { code, message, retry_ms, cursor }
            }
        }
    }
}

impl<W: Wire> Connection<W> {
    /// Sends the subscriber away, with its cursor and a hint when to come back.
    pub(in crate::engine) fn send_away(&mut self, now: Now<'_>, reason: EndReason) {
        if self.phase != Phase::Streaming {
            return;
        }
        let farewell = Farewell::of(reason);
        // Who leaves at a moment of its own is spread already, and needn't be away for long.
        let paced = self.leaves_at.is_some_and(|(at, _)| now.tick >= at);
        let retry_ms = if paced { fastrand::u64(100..1_000) } else { farewell.retry_ms };
        self.part(now, reason, Farewell { retry_ms, ..farewell });
    }

    /// Sends the subscriber away now: the process ends. One that is sent away already, and has not been told yet, is
    /// told for what it is.
    pub(in crate::engine) fn send_away_now(&mut self, now: Now<'_>) {
        self.send_away(now, EndReason::Drain);
        if self.first_break().is_some() {
            let reason = self.ends_for.unwrap_or(EndReason::Drain);
            self.say_farewell_soon(now, Farewell::of(reason));
        }
    }

    /// Ends a stream whose token has expired. With a new one, it goes on behind the cursor.
    pub(super) fn expire(&mut self, now: Now<'_>) {
        now.hub.accounts().expired.add(1);
        let reason = EndReason::TokenExpired;
        self.part(now, reason, Farewell::of(reason));
    }

    /// Ends a stream whose filter costs more than it may.
    pub(super) fn end_costly(&mut self, now: Now<'_>) {
        let turned_away = &now.hub.accounts().turned_away;
        turned_away.count(self.seat.transport(), TurnedAway::FilterTooCostly);
        let reason = EndReason::FilterTooCostly;
        self.part(now, reason, Farewell::of(reason));
    }

    /// Begins to leave, for this reason, with these words behind what is being written.
    fn part(&mut self, now: Now<'_>, reason: EndReason, farewell: Farewell) {
        self.end_for(reason);
        self.phase = Phase::Leaving;
        self.outlet.take_back();
        let cursor = now.hub.cursor(self.outlet.next() - 1).to_string();
        self.say_farewell(&farewell, &cursor);
    }

    /// Says the last behind what is being written: over WebSocket once more in the close, for whoever reads
    /// nothing else.
    fn say_farewell(&mut self, farewell: &Farewell, cursor: &str) {
        let mut frame = Vec::new();
        frame::encode_control(self.format, &farewell.control(cursor), &mut frame);
        self.outlet.push_control(&frame);
        let close = self.close_frame(farewell, cursor);
        self.outlet.end(&close);
    }

    /// Says the last as soon as that is possible: within an event the close alone, with the cursor from which that
    /// comes again.
    pub(super) fn say_farewell_soon(&mut self, now: Now<'_>, farewell: Farewell) {
        let first = self.first_break();
        let next = first.map_or(self.outlet.next(), |Break { next, within: _ }| next);
        let cursor = now.hub.cursor(next - 1).to_string();
        let Some(Break { next: _, within }) = first else {
            return self.say_farewell(&farewell, &cursor);
        };
        let mut frames = Vec::new();
        if !within {
            frame::encode_control(self.format, &farewell.control(&cursor), &mut frames);
        }
        frames.extend(self.close_frame(&farewell, &cursor));
        self.outlet.close(&frames);
    }

    /// The close of a WebSocket; nothing for any other stream.
    fn close_frame(&self, farewell: &Farewell, cursor: &str) -> Vec<u8> {
        let mut close = Vec::new();
        match self.seat.transport() {
            Transport::Sse => {}
            Transport::WebSocket => {
                let Farewell { code, failure: _, retry_ms } = *farewell;
                websocket::encode_close_hint(code, retry_ms, Some(cursor), &mut close);
            }
        }
        close
    }

    /// Where the stream can end before what is being written does.
    fn first_break(&self) -> Option<Break> {
        match self.seat.transport() {
            Transport::Sse => None,
            Transport::WebSocket => self.outlet.first_break(),
        }
    }
}
