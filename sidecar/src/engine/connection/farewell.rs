//! How a connection is ended from this side: with the cursor from which its subscriber goes on, and a hint when.

use super::{Connection, Now, Phase};
use crate::{
    count::{EndReason, Transport},
    engine::{outlet::Break, wire::Wire},
    frame::{self, Control, websocket},
};

impl<W: Wire> Connection<W> {
    /// Sends the subscriber away, with its cursor and a hint when to come back.
    pub(in crate::engine) fn send_away(&mut self, now: Now<'_>, reason: EndReason) {
        if self.phase != Phase::Streaming {
            return;
        }
        self.end_for(reason);
        let cursor = self.begin_to_leave(now);
        // Who leaves at a moment of its own is spread already, and needn't be away for long.
        let paced = self.leaves_at.is_some_and(|(at, _)| now.tick >= at);
        let longest = if paced { 1_000 } else { 2_000 };
        let control = Control::Draining { cursor: &cursor, retry_ms: fastrand::u64(100..longest) };
        self.say_farewell(&control, websocket::CloseCode::ServiceRestart);
    }

    /// Sends the subscriber away now: the process ends.
    pub(in crate::engine) fn send_away_now(&mut self, now: Now<'_>) {
        self.send_away(now, EndReason::Drain);
        if self.first_break().is_some() {
            let (retry_ms, code) =
                (fastrand::u64(100..2_000), websocket::CloseCode::ServiceRestart);
            self.say_farewell_soon(now, code, |cursor| Control::Draining { cursor, retry_ms });
        }
    }

    /// Ends a stream whose token has expired. With a new one, it goes on behind the cursor.
    pub(super) fn expire(&mut self, now: Now<'_>) {
        now.hub.accounts().expired.add(1);
        self.end_for(EndReason::TokenExpired);
        let cursor = self.begin_to_leave(now);
        let control = Control::Failure {
            code: "token_expired",
            message: "the token has expired: come back with a new one, and with the cursor",
            retry_ms: Some(fastrand::u64(100..2_000)),
            cursor: Some(&cursor),
        };
        self.say_farewell(&control, websocket::CloseCode::PolicyViolation);
    }

    /// Begins to leave. Returns the cursor from which the subscriber resumes.
    pub(super) fn begin_to_leave(&mut self, now: Now<'_>) -> String {
        self.phase = Phase::Leaving;
        self.outlet.take_back();
        now.hub.cursor(self.outlet.next() - 1).to_string()
    }

    /// Says the last behind what is being written: over WebSocket once more in the close, for whoever reads
    /// nothing else.
    pub(super) fn say_farewell(&mut self, control: &Control<'_>, code: websocket::CloseCode) {
        let mut farewell = Vec::new();
        frame::encode_control(self.format, control, &mut farewell);
        self.push_close(control, code, &mut farewell);
        self.outlet.push_control(&farewell);
        self.outlet.push_end();
    }

    /// Says the last as soon as that is possible: within an event the close alone, with the cursor from which that
    /// comes again.
    pub(super) fn say_farewell_soon(
        &mut self,
        now: Now<'_>,
        code: websocket::CloseCode,
        control: impl for<'a> FnOnce(&'a str) -> Control<'a>,
    ) {
        let first = self.first_break();
        let next = first.map_or(self.outlet.next(), |Break { next, within: _ }| next);
        let cursor = now.hub.cursor(next - 1).to_string();
        let control = control(&cursor);
        let Some(Break { next: _, within }) = first else {
            return self.say_farewell(&control, code);
        };
        let mut farewell = Vec::new();
        if !within {
            frame::encode_control(self.format, &control, &mut farewell);
        }
        self.push_close(&control, code, &mut farewell);
        self.outlet.close(&farewell);
    }

    fn push_close(&self, control: &Control<'_>, code: websocket::CloseCode, out: &mut Vec<u8>) {
        if self.seat.transport() == Transport::WebSocket {
            let retry_ms = control.retry_ms().unwrap_or_default();
            websocket::encode_close_hint(code, retry_ms, control.cursor(), out);
        }
    }

    /// Where the stream can end before what is being written does.
    fn first_break(&self) -> Option<Break> {
        match self.seat.transport() {
            Transport::Sse => None,
            Transport::WebSocket => self.outlet.first_break(),
        }
    }
}
