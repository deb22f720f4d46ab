//! One subscriber's socket, as its shard or its task drives it.

mod alive;
mod farewell;
mod slow;

use std::{
    io::ErrorKind,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Adoption,
    outlet::{Outlet, Written},
    reader::{Heard, Pace, Reader},
    wire::Wire,
};
use crate::{
    auth::Lease,
    count::{EndReason, Seat, Transport, TurnedAway},
    frame::{Format, GapReason},
    hub::{Fetch, HeardCall, Hub, Mark},
    log::Offset,
};

/// A point in a shard's time: ticks of [`TICK`] since it started.
pub(super) type Tick = u32;

/// The grain of heartbeats, drains and limits. Looking at a thousand connections takes microseconds.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// How long it takes at most, as a rule, until no newcomer is led to a replica that stops: its address has to be
/// taken out of the rules of every node.
const NOTICE: Duration = Duration::from_secs(2);

/// How many writes a connection gets before the others have their turn.
const WRITES_PER_TURN: usize = 4;

/// How many bytes a connection may write before the others have their turn: a chunk fits, and an event
/// that is larger is written in slices.
const BYTES_PER_TURN: usize = 128 * 1024;

/// How many reads a connection gets before the others have their turn.
const READS_PER_TURN: usize = 4;

/// A peer that makes the server talk and doesn't listen is cut off when this much waits for it.
const MOST_CONTROL: usize = 16 * 1024;

/// How long a closed connection waits for the peer to close its side. To close at once would answer
/// late bytes with a reset, and a reset discards what the peer has not read yet (RFC 9112, 9.6).
const LINGER: Duration = Duration::from_secs(2);

/// How long a subscriber whose filter matches nothing goes without being told how far it is.
const POSITION: Duration = Duration::from_secs(5);

/// A subscriber.
#[derive(Debug)]
pub(super) struct Connection<W> {
    wire: W,
    seat: Seat,
    format: Format,
    outlet: Outlet,
    reader: Reader,
    phase: Phase,
    /// From when on events are due to it.
    arrived: Instant,
    /// Whether it has reached the head once. Before that it is behind by its own wish.
    live: bool,
    /// Up to where it gets only the newest event of each key; it is past that, nearly always.
    conflated_until: Offset,
    /// Lets publishers wait for it, where they do.
    mark: Option<Mark>,
    /// When it is cut off, though it may not have taken its farewell by then.
    cut_off_at: Option<Tick>,
    /// Whether it waits for an older part of the log.
    loading: bool,
    /// Whether it is further than the last event it got, and doesn't know.
    stale: bool,
    blocked_since: Option<Tick>,
    /// Whether the kernel has, or may have, bytes of the peer.
    readable: bool,
    /// Whether the peer sends nothing more, and perhaps listens.
    half_closed: bool,
    last_sent: Tick,
    last_heard: Tick,
    /// When it last learned how far it is.
    told_at: Tick,
    pinged: bool,
    /// When it leaves, and why then.
    leaves_at: Option<(Tick, EndReason)>,
    /// Why it ends, once that is known.
    ends_for: Option<EndReason>,
    /// Which call to leave it has heard last.
    heard_call: HeardCall,
    /// When its token expires.
    expires_at: Option<Tick>,
    /// The terms by which it was let in.
    terms: u64,
    /// From 90 to 110 percent, so that a thousand heartbeats don't fall on one tick.
    jitter: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Gets events.
    Streaming,
    /// Gets what is begun, and then the end of the stream.
    Leaving,
    /// Has got all; the peer closes next.
    Lingering { until: Tick },
}

/// What a turn of a connection led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// There is nothing to write, or no room for it.
    Waiting,
    /// There is more to write now.
    More,
    /// The connection is over.
    Over(Ending),
}

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The subscriber left, or was sent away with its cursor.
    Departed,
    /// The subscriber didn't keep up, and was cut off.
    CutOff,
}

/// Where and when a connection has its turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now<'a> {
    pub(super) shard: usize,
    pub(super) tick: Tick,
    pub(super) hub: &'a Arc<Hub>,
}

/// How much a client may send, and when it sends.
fn pace(hub: &Hub, tick: Tick) -> Pace {
    Pace { rate: hub.settings().max_message_rate, now: TICK * tick }
}

pub(super) fn ticks(duration: Duration) -> Tick {
    Tick::try_from(duration.as_millis() / TICK.as_millis()).unwrap_or(Tick::MAX)
}

/// When a connection leaves that is to be gone within a window: at random, so that those who leave don't all come
/// to another replica at once. Nobody leaves at its beginning: until it is known everywhere that this replica
/// stops, whoever comes back may be led to it again.
pub(super) fn paced(now: Tick, window: Duration) -> Tick {
    let window_ends = ticks(window);
    let begins = (window_ends / 10).min(ticks(NOTICE));
    now.saturating_add(fastrand::u32(begins..=window_ends))
}

/// How many ticks there are until a moment; it has come when they have passed.
fn ticks_until(moment: Instant) -> Tick {
    ticks(moment.saturating_duration_since(Instant::now())).saturating_add(1)
}

impl<W: Wire> Connection<W> {
    /// Takes over a connection.
    pub(super) fn adopt(adoption: Adoption<W>, tick: Tick) -> Self {
        let Adoption {
            socket,
            head,
            opening,
            early,
            hub,
            seat,
            format,
            framing,
            next,
            lease: Lease { expires_at, terms },
            session: _,
        } = adoption;
        let mut outlet = Outlet::new(framing, head, next);
        if !opening.is_empty() {
            outlet.push_control(&opening);
        }
        let reader = match seat.transport() {
            Transport::Sse => Reader::sse(),
            Transport::WebSocket => Reader::web_socket(format.coding(), pace(&hub, tick)),
        };
        let mut connection = Self {
            wire: socket,
            seat,
            format,
            outlet,
            reader,
            phase: Phase::Streaming,
            arrived: Instant::now(),
            live: false,
            conflated_until: 0,
            mark: None,
            cut_off_at: None,
            loading: false,
            stale: false,
            blocked_since: None,
            readable: false,
            half_closed: false,
            last_sent: tick,
            last_heard: tick,
            told_at: tick,
            pinged: false,
            leaves_at: hub
                .settings()
                .lifetime()
                .map(|life| (tick.saturating_add(ticks(life)), EndReason::Age)),
            ends_for: None,
            heard_call: hub.shedding().now(),
            expires_at: expires_at.map(|at| tick.saturating_add(ticks_until(at))),
            terms,
            jitter: fastrand::u32(90..=110),
        };
        // Whatever the early bytes call for is written in the first turn.
        connection.answer(&early, &hub, tick);
        connection
    }

    /// What the connection reads from and writes to.
    pub(super) const fn wire(&mut self) -> &mut W {
        &mut self.wire
    }

    /// Takes note that the peer has sent something.
    pub(super) const fn can_read(&mut self) {
        self.readable = true;
    }

    /// Takes note that the socket has room again.
    pub(super) const fn unblock(&mut self) {
        self.blocked_since = None;
    }

    /// Whether it has to look at the time at every tick: it waits for room, or leaves before `soon`.
    pub(super) fn is_restless(&self, soon: Tick) -> bool {
        self.blocked_since.is_some()
            || self.leaves_at.is_some_and(|(at, _)| at <= soon)
            || self.expires_at.is_some_and(|at| at <= soon)
            || self.phase != Phase::Streaming
    }

    /// How many events up to before `head` are not yet written.
    pub(super) fn lag(&self, head: Offset) -> u64 {
        head.saturating_sub(self.outlet.unwritten())
    }

    /// Counts what it didn't get: to be called once, when it is over.
    pub(super) fn leave(&mut self, now: Now<'_>, ending: Ending) {
        let accounts = now.hub.accounts();
        // Nothing was wrong: the client has left.
        self.seat.ends_for(self.ends_for.unwrap_or(EndReason::Client));
        accounts.leave(now.shard, now.hub.tail(), |head| match ending {
            Ending::CutOff => accounts.dropped(now.shard, self.give_up(now, head)),
            Ending::Departed => accounts.departed(now.shard, self.lag(head)),
        });
    }

    /// Reads what the peer sent and writes what there is, within the bounds of a turn.
    pub(super) fn take_turn(&mut self, now: Now<'_>, scratch: &mut [u8]) -> Turn {
        if self.readable
            && let Turn::Over(ending) = self.read(scratch, now)
        {
            return Turn::Over(ending);
        }
        match self.write(now) {
            Turn::Waiting if self.readable => Turn::More,
            turn @ (Turn::Waiting | Turn::More | Turn::Over(_)) => turn,
        }
    }

    fn write(&mut self, now: Now<'_>) -> Turn {
        if W::SAYS_WHEN_WRITABLE && self.blocked_since.is_some() {
            return Turn::Waiting;
        }
        let mut left = BYTES_PER_TURN;
        for _ in 0..WRITES_PER_TURN {
            let streams = self.phase == Phase::Streaming && self.outlet.wants_chunk();
            let skipped = streams && self.refill(now);
            if skipped && self.outlet.is_idle() {
                continue;
            }
            if self.outlet.is_idle() {
                return self.finish(now);
            }
            match self.wire.write(&self.outlet.slices(left)) {
                Ok(count) => {
                    self.note_written(now, count);
                    left = left.saturating_sub(count);
                    if left == 0 {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked_since.get_or_insert(now.tick);
                    return Turn::Waiting;
                }
                Err(_) => return self.over_for(EndReason::Broken),
            }
        }
        Turn::More
    }

    fn read(&mut self, scratch: &mut [u8], now: Now<'_>) -> Turn {
        for _ in 0..READS_PER_TURN {
            match self.wire.read(scratch) {
                Ok(0) => return self.hear_end(),
                Ok(count) => {
                    self.last_heard = now.tick;
                    self.pinged = false;
                    let heard = scratch.get(..count).unwrap_or_default();
                    if let Turn::Over(ending) = self.answer(heard, now.hub, now.tick) {
                        return Turn::Over(ending);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Turn::Waiting;
                }
                Err(_) => return self.over_for(EndReason::Broken),
            }
        }
        Turn::More
    }

    /// Does what is due with time: limits, farewells, heartbeats.
    pub(super) fn tick(&mut self, now: Now<'_>) -> Turn {
        if let Phase::Lingering { until } = self.phase {
            let over = now.tick >= until;
            return if over { self.over() } else { Turn::Waiting };
        }
        if let Some(at) = self.cut_off_at {
            return if now.tick >= at { self.over() } else { Turn::More };
        }
        let stalled = self.is_stalled(now);
        if self.phase == Phase::Leaving {
            // It was sent away with its cursor, or has left by itself: it need no longer keep up.
            return if stalled { self.over() } else { Turn::More };
        }
        let settings = now.hub.settings();
        self.look_ahead(now);
        if stalled {
            self.end_for(EndReason::Stalled);
            return self.cut_off(now, 0);
        }
        if self.is_out_of_bounds(now, &settings) {
            self.end_for(EndReason::SlowConsumer);
            return self.cut_off(now, ticks(slow::LAST_TRY));
        }
        let withdrawn = match self.seat.transport() {
            Transport::Sse => settings.heartbeat.is_none(),
            Transport::WebSocket => settings.ping.is_none(),
        };
        if self.expires_at.is_some_and(|at| now.tick >= at) {
            self.expire(now);
            return Turn::More;
        }
        if self.seat.filter().is_some_and(|filter| filter.is_too_costly()) {
            self.end_costly(now);
            return Turn::More;
        }
        if let Some(after) = now.hub.shedding().draw(&mut self.heard_call) {
            self.leave_at(now.tick.saturating_add(ticks(after)), EndReason::Share);
        }
        if withdrawn || settings.terms != self.terms || now.hub.is_closed() {
            self.send_away(now, EndReason::Changed);
            return Turn::More;
        }
        if let Some((_, reason)) = self.leaves_at.filter(|(at, _)| now.tick >= *at) {
            self.send_away(now, reason);
            return Turn::More;
        }
        if self.stale && self.is_due(now.tick, self.told_at, Some(POSITION)) {
            return self.tell_position(now);
        }
        match self.seat.transport() {
            Transport::Sse => self.beat(now.tick, settings.heartbeat),
            Transport::WebSocket => self.ping(now.tick, settings.ping),
        }
    }

    /// Lets the connection go at `tick`, if it isn't to go earlier.
    pub(super) fn leave_at(&mut self, tick: Tick, reason: EndReason) {
        let earlier = self.leaves_at.filter(|(at, _)| *at <= tick);
        self.leaves_at = earlier.or(Some((tick, reason)));
    }

    /// Notes why it ends, if it doesn't end for something that came before.
    fn end_for(&mut self, reason: EndReason) {
        self.ends_for.get_or_insert(reason);
    }

    /// Ends for this, if nothing came before.
    fn over_for(&mut self, reason: EndReason) -> Turn {
        self.end_for(reason);
        self.over()
    }

    /// How the connection ends.
    const fn over(&self) -> Turn {
        Turn::Over(match self.cut_off_at {
            Some(_) => Ending::CutOff,
            None => Ending::Departed,
        })
    }

    /// Whether it has reached the head once.
    pub(super) const fn is_live(&self) -> bool {
        self.live
    }

    /// Whether it waits for an older part of the log.
    pub(super) const fn is_loading(&self) -> bool {
        self.loading
    }

    /// Gets what comes next. Says whether it was skipped, so that there may be more.
    fn refill(&mut self, now: Now<'_>) -> bool {
        self.loading = false;
        if self.live && self.conflated_until <= self.outlet.next() && self.catch_up(now) {
            return true;
        }
        let (next, filter) = (self.outlet.next(), self.seat.filter());
        let fetch = match filter {
            _ if next < self.conflated_until => {
                let range = next..self.conflated_until;
                now.hub.fetch_conflated(self.format, filter, range)
            }
            None => now.hub.fetch(self.format, next),
            Some(filter) => now.hub.fetch_filtered(self.format, filter, next),
        };
        match fetch {
            Fetch::Chunk(chunk) => self.outlet.push_chunk(chunk),
            Fetch::Skipped(passed) => {
                now.hub.accounts().passed(now.shard, passed);
                self.pass_to(next + passed.count());
                return true;
            }
            Fetch::Empty => self.reach_head(now),
            Fetch::Loading => self.loading = true,
            Fetch::Evicted { first } => {
                self.lose(now, first, GapReason::Evicted);
                return true;
            }
        }
        false
    }

    fn note_written(&mut self, now: Now<'_>, count: usize) {
        self.last_sent = now.tick;
        self.blocked_since = None;
        let accounts = now.hub.accounts();
        if let Some(part) = accounts.shard(now.shard) {
            part.bytes.add(count as u64);
        }
        if let Some(Written { chunk, events, passed, told }) = self.outlet.advance(count) {
            self.stale = !told;
            self.told_at = now.tick;
            self.move_mark();
            if passed.count() > 0 {
                accounts.passed(now.shard, passed);
            }
            let traced = chunk.last_traced(&events);
            let accepted_at = chunk.accepted_at(events);
            let (transport, arrived) = (self.seat.transport(), self.arrived);
            let instant = Instant::now();
            accounts.written(now.shard, transport, accepted_at, arrived, instant);
            accounts.traced(now.shard, traced, arrived, instant);
        }
    }

    /// There is nothing left to write: waits for more, or ends a stream that is leaving.
    fn finish(&mut self, now: Now<'_>) -> Turn {
        if self.phase == Phase::Leaving {
            self.wire.end();
            if self.half_closed {
                return self.over();
            }
            self.phase = Phase::Lingering { until: now.tick.saturating_add(ticks(LINGER)) };
        }
        Turn::Waiting
    }

    /// Answers what the peer sent, be it sent away or not: until the end of the stream is written it may ask whether
    /// anybody is there, and close.
    fn answer(&mut self, heard: &[u8], hub: &Hub, tick: Tick) -> Turn {
        let listens = match self.phase {
            Phase::Streaming | Phase::Leaving => !heard.is_empty(),
            Phase::Lingering { until: _ } => false,
        };
        if !listens {
            return Turn::More;
        }
        match self.reader.hear(heard, pace(hub, tick)) {
            Heard::Reply(reply) => {
                if !reply.is_empty() {
                    self.outlet.push_frames(&reply);
                }
                if self.outlet.waiting_control() > MOST_CONTROL {
                    return self.over_for(EndReason::Breach);
                }
                Turn::More
            }
            Heard::Farewell(reply) => {
                if self.take_leave(&reply)
                    && let Some(error) = self.reader.breach()
                {
                    hub.accounts().breaches.count(error);
                    self.end_for(EndReason::Breach);
                }
                self.end_for(EndReason::Client);
                Turn::More
            }
            Heard::Excess(reply) => {
                if self.take_leave(&reply) {
                    let transport = self.seat.transport();
                    hub.accounts().turned_away.count(transport, TurnedAway::TooManyMessages);
                }
                self.end_for(EndReason::TooManyMessages);
                Turn::More
            }
            Heard::End => self.over_for(EndReason::Breach),
        }
    }

    /// Ends the stream with this reply, as soon as that is possible. Says whether it wasn't to end with another.
    fn take_leave(&mut self, reply: &[u8]) -> bool {
        self.phase = Phase::Leaving;
        self.outlet.take_back();
        self.outlet.close(reply)
    }
}

#[cfg(test)]
mod tests;
