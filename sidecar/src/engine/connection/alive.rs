//! What is said so that each side knows of the other that it is there, and of what has gone by.

use std::{mem, time::Duration};

use super::{Connection, Now, Phase, Tick, Turn, ticks};
use crate::{
    count::{EndReason, Transport},
    engine::wire::Wire,
    frame::{self, Control, websocket},
};

impl<W: Wire> Connection<W> {
    /// The peer sends nothing more. Over SSE it may still listen: a comment, which one that is gone answers by a
    /// reset, finds out soon.
    pub(super) fn hear_end(&mut self) -> Turn {
        let listens = match (self.seat.transport(), self.phase) {
            (Transport::Sse, Phase::Streaming | Phase::Leaving) => self.wire.may_listen(),
            (Transport::Sse, Phase::Lingering { until: _ })
            | (
                Transport::WebSocket,
                Phase::Streaming | Phase::Leaving | Phase::Lingering { until: _ },
            ) => false,
        };
        if !listens {
            return self.over_for(EndReason::Client);
        }
        self.readable = false;
        let is_new = !mem::replace(&mut self.half_closed, true);
        if is_new && self.outlet.is_idle() {
            self.outlet.push_control(frame::sse_heartbeat());
        }
        Turn::Waiting
    }

    /// Says how far the stream is, so that a subscriber who comes back doesn't start from long ago.
    pub(super) fn tell_position(&mut self, now: Now<'_>) -> Turn {
        if !self.outlet.is_idle() {
            return Turn::Waiting;
        }
        self.stale = false;
        self.told_at = now.tick;
        let cursor = now.hub.cursor(self.outlet.next() - 1).to_string();
        let mut frame = Vec::new();
        frame::encode_control(self.format, &Control::Position { cursor: &cursor }, &mut frame);
        self.outlet.push_control(&frame);
        Turn::More
    }

    pub(super) fn beat(&mut self, tick: Tick, heartbeat: Option<Duration>) -> Turn {
        let due = self.is_due(tick, self.last_sent, heartbeat);
        if due && self.outlet.is_idle() {
            self.outlet.push_control(frame::sse_heartbeat());
            return Turn::More;
        }
        Turn::Waiting
    }

    /// Pings a peer that is silent, to learn whether it is there; and one that nothing was sent to, so that
    /// nobody on the way takes the connection for dead.
    pub(super) fn ping(&mut self, tick: Tick, interval: Option<Duration>) -> Turn {
        let since = |last| self.is_due(tick, last, interval);
        // While the socket takes nothing the ping waits in it, too: then STALL and the lag decide.
        if self.blocked_since.is_some() || !(since(self.last_heard) || since(self.last_sent)) {
            return Turn::Waiting;
        }
        if self.pinged {
            let unanswered = interval.map(|interval| interval * 2);
            let lost = self.is_due(tick, self.last_heard, unanswered);
            return if lost { self.over_for(EndReason::Unanswered) } else { Turn::Waiting };
        }
        self.pinged = true;
        let mut frame = Vec::new();
        websocket::encode_ping(b"", &mut frame);
        self.outlet.push_frames(&frame);
        Turn::More
    }

    pub(super) fn is_due(&self, tick: Tick, last: Tick, interval: Option<Duration>) -> bool {
        let interval = interval.map_or(Tick::MAX, |interval| ticks(interval * self.jitter / 100));
        tick.saturating_sub(last) >= interval.max(1)
    }
}
