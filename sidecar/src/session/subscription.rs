//! One stream of a session: a place in a hub's log, and what became of each delivery.
//!
//! Law: whatever is due to it ends in exactly one of written, filtered, conflated, dropped and departed, as
//! everywhere.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use weir_crds::v1alpha1::SlowConsumer;

use super::outbox::Delivery;
use crate::{
    count::{EndReason, Seat, Transport},
    frame::{Format, GapReason},
    hub::{Chunk, Fetch, Filter, Hub, Mark, Passed},
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
    /// Up to where it gets only the newest event of each key; it is past that, nearly always.
    conflated_until: Offset,
    /// Lets publishers wait for it, where they do.
    mark: Option<Mark>,
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
    /// Events are missing: it goes on behind `to`.
    Gap { from: String, to: String, missed: u64, reason: GapReason },
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
        seat: Option<Seat>,
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
            filter: seat.as_ref().and_then(Seat::filter).cloned(),
            seat,
            terms: 0,
            part,
            next,
            unwritten: next,
            arrived: now,
            live: false,
            stale: false,
            told_at: now,
            window,
            conflated_until: 0,
            mark: None,
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

    /// What to send next. To be called when nothing of it is being sent.
    pub(super) fn poll(&mut self) -> Next {
        let room = self.window.as_ref().map_or(usize::MAX, Window::room);
        if room == 0 {
            // It waits for the client by the client's wish, and so publishers don't wait for it.
            self.mark = None;
            return Next::Nothing;
        }
        if self.live
            && self.conflated_until <= self.next
            && let Some(gap) = self.deal_with_lag()
        {
            return gap;
        }
        match self.fetch() {
            Fetch::Chunk(chunk) => {
                let events = chunk.len().min(room);
                Next::Events { chunk, events }
            }
            Fetch::Skipped(passed) => {
                self.pass(passed);
                Next::Skipped
            }
            Fetch::Empty => {
                self.reach_head();
                Next::Nothing
            }
            Fetch::Loading => Next::Nothing,
            Fetch::Evicted { first } => self.lose(first, GapReason::Evicted),
        }
    }

    fn fetch(&self) -> Fetch {
        match &self.filter {
            filter if self.next < self.conflated_until => {
                let range = self.next..self.conflated_until;
                self.hub.fetch_conflated(Format::WsList, filter.as_ref(), range)
            }
            None => self.hub.fetch(Format::WsList, self.next),
            Some(filter) => self.hub.fetch_filtered(Format::WsList, filter, self.next),
        }
    }

    /// It has all there is: from now on it is behind only if it doesn't keep up.
    fn reach_head(&mut self) {
        self.live = true;
        if self.mark.is_none() {
            self.mark = self.hub.mark(self.unwritten);
        }
    }

    /// Deals with what waits beyond the bound, where it is not to be cut off for that. Gives the gap that it
    /// leaves.
    fn deal_with_lag(&mut self) -> Option<Next> {
        let conflates = self.hub.deals_by(SlowConsumer::Conflate);
        if !(conflates || self.hub.deals_by(SlowConsumer::DropOldest)) {
            return None;
        }
        let (settings, filter) = (self.hub.settings(), self.filter.as_deref());
        if !self.hub.is_too_far(self.next, filter, &settings) {
            return None;
        }
        if conflates {
            self.conflated_until = self.hub.head();
            return None;
        }
        let until = self.hub.skips_until(self.next, &settings);
        if until == self.next {
            return None;
        }
        Some(self.lose(until, GapReason::SlowConsumer))
    }

    /// Goes on behind events that its filter doesn't match.
    fn pass(&mut self, passed: Passed) {
        self.hub.accounts().passed(self.part, passed);
        self.pass_to(self.next + passed.count());
    }

    fn pass_to(&mut self, next: Offset) {
        self.next = next;
        self.settle(next);
        self.stale = true;
    }

    /// Learns what its filter says of what waits for it, while it can't be sent: because the socket is
    /// blocked, or because the client acknowledges nothing.
    pub(super) fn look_ahead(&self, blocked: bool) {
        let waits = blocked || self.window.as_ref().is_some_and(|window| window.room() == 0);
        if let Some(filter) = self.filter.as_ref().filter(|_| waits) {
            self.hub.look_ahead(filter, self.unwritten..self.hub.head());
        }
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

    /// Gives up what is before `first`, and goes on there: with a gap, unless nothing of it was for the
    /// subscriber.
    fn lose(&mut self, first: Offset, reason: GapReason) -> Next {
        let missed = self.hub.give_up(self.part, self.filter.as_deref(), self.next..first);
        if missed == 0 {
            self.pass_to(first);
            return Next::Skipped;
        }
        self.hub.accounts().dropped(self.part, missed);
        self.hub.accounts().gaps.count(reason);
        let from = self.cursor();
        self.next = first;
        self.settle(first);
        self.stale = false;
        Next::Gap { from, to: self.cursor(), missed, reason }
    }

    /// What is before this offset is done.
    fn settle(&mut self, unwritten: Offset) {
        self.unwritten = unwritten;
        if let Some(mark) = &self.mark {
            mark.set(unwritten);
        }
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
        self.settle(after);
        self.told_at = now;
        // The last event says where it is, unless more was passed over behind it.
        self.stale =
            chunk.offsets().nth(events.saturating_sub(1)).is_some_and(|last| last + 1 < after);
    }

    /// Acknowledges every event up to this offset; `false` where the client can't have got there.
    pub(super) fn acknowledge(&mut self, offset: Offset) -> bool {
        if offset >= self.unwritten {
            return false;
        }
        if let Some(window) = &mut self.window {
            let done = window.open.partition_point(|open| *open <= offset);
            window.open.drain(..done);
        }
        true
    }

    /// Whether more waits for it than it may be behind by, though it could have been sent.
    pub(super) fn is_out_of_bounds(&self) -> bool {
        let asked = self.window.as_ref().is_none_or(|window| window.room() > 0);
        let filter = self.filter.as_deref();
        self.hub.deals_by(SlowConsumer::Disconnect)
            && self.live
            && asked
            && self.hub.is_too_far(self.unwritten, filter, &self.hub.settings())
    }

    /// Whether its pipeline is gone, is no longer served over WebSocket, or lets in by other terms.
    pub(super) fn is_withdrawn(&self) -> bool {
        let settings = self.hub.settings();
        self.hub.is_closed() || settings.ping.is_none() || settings.terms != self.terms
    }

    /// Whether its filter costs more than it may.
    pub(super) fn is_too_costly(&self) -> bool {
        self.filter.as_ref().is_some_and(|filter| filter.is_too_costly())
    }

    /// From now on it ends because the subscriber doesn't keep up.
    pub(super) fn cut_off(&mut self) {
        self.hub.accounts().cut_off.add(1);
        self.ending = Ending::CutOff;
    }

    /// How long the socket may take nothing.
    pub(super) fn patience(&self) -> Duration {
        self.hub.patience(self.mark.as_ref())
    }

    /// Takes note what it ends for.
    pub(super) fn ends_for(&mut self, why: EndReason) {
        self.seat.iter_mut().for_each(|seat| seat.ends_for(why));
    }

    /// Its seat, until that is given back.
    pub(super) const fn seat(&mut self) -> Option<&mut Seat> {
        self.seat.as_mut()
    }

    /// Gives its seat to another. Nobody waits for it any longer.
    pub(super) fn take_seat(&mut self) -> Option<Seat> {
        self.mark = None;
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
