//! One stream of a session: a place in a hub's log, and what became of each delivery.
//!
//! Law: whatever is due to it ends in exactly one of written, filtered, conflated, dropped and departed, as
//! everywhere.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use super::outbox::Delivery;
use crate::{
    count::{Seat, Transport},
    frame::Format,
    hub::{Chunk, Fetch, Filter, Hub, Passed},
    log::Offset,
};

/// A stream of a session.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) id: String,
    /// Tells it from those that had its name before.
    pub(super) number: u64,
    pub(super) hub: Arc<Hub>,
    seat: Option<Seat>,
    /// The terms by which the client was let in.
    terms: u64,
    /// What its events must match, also when the seat is another's.
    filter: Option<Arc<Filter>>,
    /// Which part of the accounts counts it.
    part: usize,
    /// The offset after the last event that is in a message.
    next: Offset,
    /// The first offset that is not written.
    unwritten: Offset,
    arrived: Instant,
    /// Whether it has reached the head once. Before that it is behind by its own wish.
    live: bool,
    /// Whether it is past events that it didn't get, and the client doesn't know.
    stale: bool,
    /// When the client last learned how far it is.
    told_at: Instant,
    window: Option<Window>,
    ending: Ending,
}

/// How a subscription ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The subscriber left, or was sent away with its cursor.
    Departed,
    /// The subscriber didn't keep up, and was cut off.
    CutOff,
}

/// Events that were sent and are not acknowledged.
#[derive(Debug)]
struct Window {
    size: usize,
    open: VecDeque<Offset>,
}

impl Window {
    fn room(&self) -> usize {
        self.size.saturating_sub(self.open.len())
    }
}

/// What a subscription has for the session.
#[derive(Debug)]
pub(super) enum Next {
    /// Events to send.
    Events { chunk: Arc<Chunk>, events: usize },
    /// Events are missing: it goes on at `first`.
    Gap { next: Offset, first: Offset },
    /// It went on behind events that it doesn't get: ask again.
    Skipped,
    /// Nothing now.
    Nothing,
}

impl Subscription {
    pub(super) fn new(
        id: String,
        number: u64,
        hub: Arc<Hub>,
        seat: Seat,
        part: usize,
        next: Offset,
        window: Option<u32>,
    ) -> Self {
        let window = window.map(|size| Window {
            size: usize::try_from(size).unwrap_or(usize::MAX),
            open: VecDeque::new(),
        });
        hub.accounts().arrive(part, hub.tail(), next);
        let now = Instant::now();
        Self {
            id,
            number,
            hub,
            filter: seat.filter().cloned(),
            seat: Some(seat),
            terms: 0,
            part,
            next,
            unwritten: next,
            arrived: now,
            live: false,
            stale: false,
            told_at: now,
            window,
            ending: Ending::Departed,
        }
    }

    /// The same, to which the client was let in by these terms.
    pub(super) const fn under(mut self, terms: u64) -> Self {
        self.terms = terms;
        self
    }

    /// The cursor of the last event that is in a message.
    pub(super) fn cursor(&self) -> String {
        self.hub.cursor(self.next - 1).to_string()
    }

    /// What to send next.
    pub(super) fn poll(&mut self) -> Next {
        let room = self.window.as_ref().map_or(usize::MAX, Window::room);
        if room == 0 {
            return Next::Nothing;
        }
        let fetched = match &self.filter {
            None => self.hub.fetch(Format::WsList, self.next),
            Some(filter) => self.hub.fetch_filtered(Format::WsList, filter, self.next),
        };
        match fetched {
            Fetch::Chunk(chunk) => {
                let events = chunk.len().min(room);
                Next::Events { chunk, events }
            }
            Fetch::Skipped(passed) => {
                self.pass(passed);
                Next::Skipped
            }
            Fetch::Empty => {
                self.live = true;
                Next::Nothing
            }
            Fetch::Loading => Next::Nothing,
            Fetch::Evicted { first } => Next::Gap { next: self.next, first },
        }
    }

    /// Goes on behind events that its filter doesn't match.
    fn pass(&mut self, passed: Passed) {
        self.hub.accounts().passed(self.part, passed);
        self.next += passed.count();
        self.unwritten = self.next;
        self.stale = true;
    }

    /// Where it is, if the client hasn't known it for so long.
    pub(super) fn news_of_position(&mut self, now: Instant, patience: Duration) -> Option<String> {
        let due = now.saturating_duration_since(self.told_at) >= patience;
        if !(self.stale && due && self.unwritten == self.next) {
            return None;
        }
        self.stale = false;
        self.told_at = now;
        Some(self.cursor())
    }

    /// Takes note that events are in a message.
    pub(super) fn send(&mut self, chunk: &Chunk, events: usize) {
        if let Some(window) = &mut self.window {
            window.open.extend(chunk.offsets().take(events));
        }
        (self.next, _) = chunk.settled(events, events == chunk.len());
    }

    /// Takes back the last message, of which nothing was written.
    pub(super) fn take_back(&mut self) {
        self.next = self.unwritten;
    }

    /// Goes on behind events that are missing.
    pub(super) fn skip_to(&mut self, first: Offset) {
        self.hub.accounts().dropped(self.part, first.saturating_sub(self.next));
        self.hub.accounts().gaps.add(1);
        self.next = first;
        self.unwritten = first;
    }

    /// Counts bytes of its events that the socket has taken.
    pub(super) fn note_bytes(&self, count: usize) {
        if let Some(part) = self.hub.accounts().shard(self.part) {
            part.bytes.add(count as u64);
        }
    }

    /// Counts a message that the socket has taken, and what it passed over.
    pub(super) fn note_written(&mut self, delivery: &Delivery, now: Instant) {
        let &Delivery { number: _, ref chunk, events } = delivery;
        let (after, conflated) = chunk.settled(events, events == chunk.len());
        let got = events as u64 + conflated;
        let filtered = after.saturating_sub(self.unwritten).saturating_sub(got);
        let accounts = self.hub.accounts();
        accounts.passed(self.part, Passed { filtered, conflated });
        let accepted_at = chunk.accepted_at(0..events);
        accounts.written(self.part, Transport::WebSocket, accepted_at, self.arrived, now);
        accounts.traced(self.part, chunk.last_traced(&(0..events)), self.arrived, now);
        self.unwritten = after;
        self.told_at = now;
        // The last event says where it is, unless more was passed over behind it.
        self.stale =
            chunk.offsets().nth(events.saturating_sub(1)).is_some_and(|last| last + 1 < after);
    }

    /// Acknowledges every event up to this offset.
    pub(super) fn acknowledge(&mut self, offset: Offset) {
        if let Some(window) = &mut self.window {
            let done = window.open.partition_point(|open| *open <= offset);
            window.open.drain(..done);
        }
    }

    /// Whether more waits for it than it may be behind by, though it could have been sent.
    pub(super) fn is_out_of_bounds(&self) -> bool {
        let asked = self.window.as_ref().is_none_or(|window| window.room() > 0);
        let filter = self.filter.as_deref();
        self.live && asked && self.hub.is_too_far(self.unwritten, filter, &self.hub.settings())
    }

    /// Whether its pipeline is gone, is no longer served over WebSocket, or lets in by other terms.
    pub(super) fn is_withdrawn(&self) -> bool {
        let settings = self.hub.settings();
        self.hub.is_closed() || settings.ping.is_none() || settings.terms != self.terms
    }

    /// From now on it ends because the subscriber doesn't keep up.
    pub(super) fn cut_off(&mut self) {
        self.hub.accounts().cut_off.add(1);
        self.ending = Ending::CutOff;
    }

    /// Gives its seat to another.
    pub(super) const fn take_seat(&mut self) -> Option<Seat> {
        self.seat.take()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let (hub, part, unwritten) = (&self.hub, self.part, self.unwritten);
        let accounts = hub.accounts();
        accounts.leave(part, hub.tail(), |head| match self.ending {
            Ending::CutOff => {
                let lost = hub.give_up(part, self.filter.as_deref(), unwritten..head);
                accounts.dropped(part, lost);
            }
            Ending::Departed => accounts.departed(part, head.saturating_sub(unwritten)),
        });
    }
}
