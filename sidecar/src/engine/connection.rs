//! One subscriber's socket, as its shard or its task drives it.

use std::{
    io::ErrorKind,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Adoption,
    outlet::{Outlet, Written},
    reader::{Heard, Reader},
    wire::Wire,
};
use crate::{
    count::{Seat, Transport},
    frame::{self, Control, Format, GapReason, websocket},
    hub::{Fetch, Hub, Settings},
    log::Offset,
};

/// A point in a shard's time: ticks of [`TICK`] since it started.
pub(super) type Tick = u32;

/// The grain of heartbeats, drains and limits. Looking at a thousand connections takes microseconds.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// How many writes a connection gets before the others have their turn.
const WRITES_PER_TURN: usize = 4;

/// How many reads a connection gets before the others have their turn.
const READS_PER_TURN: usize = 4;

/// A peer that makes the server talk and doesn't listen is cut off when this much waits for it.
const MOST_CONTROL: usize = 16 * 1024;

/// A socket that takes nothing for this long, while heartbeats wait in it, has lost its peer.
const STALL: Duration = Duration::from_secs(30);

/// How long a closed connection waits for the peer to close its side. To close at once would answer
/// late bytes with a reset, and a reset discards what the peer has not read yet (RFC 9112, 9.6).
const LINGER: Duration = Duration::from_secs(2);

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
    /// Whether it waits for an older part of the log.
    loading: bool,
    blocked_since: Option<Tick>,
    /// Whether the kernel has, or may have, bytes of the peer.
    readable: bool,
    last_sent: Tick,
    last_heard: Tick,
    pinged: bool,
    leaves_at: Option<Tick>,
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

pub(super) fn ticks(duration: Duration) -> Tick {
    Tick::try_from(duration.as_millis() / TICK.as_millis()).unwrap_or(Tick::MAX)
}

impl<W: Wire> Connection<W> {
    /// Takes over a connection.
    pub(super) fn adopt(adoption: Adoption<W>, tick: Tick) -> Self {
        let Adoption { socket, head, opening, early, hub: _, seat, format, framing, next } =
            adoption;
        let mut outlet = Outlet::new(framing, head, next);
        if !opening.is_empty() {
            outlet.push_control(&opening);
        }
        let reader = match seat.transport() {
            Transport::Sse => Reader::sse(),
            Transport::WebSocket => Reader::web_socket(),
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
            loading: false,
            blocked_since: None,
            readable: false,
            last_sent: tick,
            last_heard: tick,
            pinged: false,
            leaves_at: None,
            jitter: fastrand::u32(90..=110),
        };
        // Whatever the early bytes call for is written in the first turn.
        connection.answer(&early);
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

    /// Whether it has to look at the time at every tick: it waits for room, or is about to leave.
    pub(super) fn is_restless(&self) -> bool {
        self.blocked_since.is_some() || self.leaves_at.is_some() || self.phase != Phase::Streaming
    }

    /// How many events up to before `head` are not yet written.
    pub(super) fn lag(&self, head: Offset) -> u64 {
        head.saturating_sub(self.outlet.unwritten())
    }

    /// Reads what the peer sent and writes what there is, within the bounds of a turn.
    pub(super) fn take_turn(&mut self, now: Now<'_>, scratch: &mut [u8]) -> Turn {
        if self.readable
            && let Turn::Over(ending) = self.read(scratch, now.tick)
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
        for _ in 0..WRITES_PER_TURN {
            if self.phase == Phase::Streaming && self.outlet.wants_chunk() {
                self.refill(now);
            }
            if self.outlet.is_idle() {
                return self.finish(now);
            }
            match self.wire.write(&self.outlet.slices()) {
                Ok(count) => self.note_written(now, count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked_since.get_or_insert(now.tick);
                    return Turn::Waiting;
                }
                Err(_) => return Turn::Over(Ending::Departed),
            }
        }
        Turn::More
    }

    fn read(&mut self, scratch: &mut [u8], tick: Tick) -> Turn {
        for _ in 0..READS_PER_TURN {
            match self.wire.read(scratch) {
                Ok(0) => return Turn::Over(Ending::Departed),
                Ok(count) => {
                    self.last_heard = tick;
                    self.pinged = false;
                    let heard = scratch.get(..count).unwrap_or_default();
                    if let Turn::Over(ending) = self.answer(heard) {
                        return Turn::Over(ending);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Turn::Waiting;
                }
                Err(_) => return Turn::Over(Ending::Departed),
            }
        }
        Turn::More
    }

    /// Does what is due with time: limits, farewells, heartbeats.
    pub(super) fn tick(&mut self, now: Now<'_>) -> Turn {
        if let Phase::Lingering { until } = self.phase {
            let over = now.tick >= until;
            return if over { Turn::Over(Ending::Departed) } else { Turn::Waiting };
        }
        let settings = now.hub.settings();
        if self.is_out_of_bounds(now, &settings) {
            now.hub.accounts().cut_off.add(1);
            return Turn::Over(Ending::CutOff);
        }
        if self.phase == Phase::Leaving {
            return Turn::More;
        }
        let withdrawn = match self.seat.transport() {
            Transport::Sse => settings.heartbeat.is_none(),
            Transport::WebSocket => settings.ping.is_none(),
        };
        if withdrawn || now.hub.is_closed() || self.leaves_at.is_some_and(|at| now.tick >= at) {
            self.send_away(now);
            return Turn::More;
        }
        match self.seat.transport() {
            Transport::Sse => self.beat(now.tick, settings.heartbeat),
            Transport::WebSocket => self.ping(now.tick, settings.ping),
        }
    }

    /// Lets the connection go at `tick`, if it isn't to go earlier.
    pub(super) fn leave_at(&mut self, tick: Tick) {
        self.leaves_at.get_or_insert(tick);
    }

    /// Sends the subscriber away, with its cursor and a hint when to come back.
    pub(super) fn send_away(&mut self, now: Now<'_>) {
        if self.phase != Phase::Streaming {
            return;
        }
        self.phase = Phase::Leaving;
        self.outlet.take_back();
        let cursor = now.hub.cursor(self.outlet.next() - 1).to_string();
        // Up to two seconds of spread on top of the paced close.
        let control = Control::Draining { cursor: &cursor, retry_ms: fastrand::u64(100..2_000) };
        let mut farewell = Vec::new();
        frame::encode_control(self.format, &control, &mut farewell);
        if self.seat.transport() == Transport::WebSocket {
            let code = websocket::CloseCode::ServiceRestart;
            websocket::encode_close(code, "draining", &mut farewell);
        }
        self.outlet.push_control(&farewell);
        self.outlet.push_end();
    }

    /// Whether it waits for an older part of the log.
    pub(super) const fn is_loading(&self) -> bool {
        self.loading
    }

    fn refill(&mut self, now: Now<'_>) {
        self.loading = false;
        match now.hub.fetch(self.format, self.outlet.next()) {
            Fetch::Chunk(chunk) => self.outlet.push_chunk(chunk),
            Fetch::Empty => self.live = true,
            Fetch::Loading => self.loading = true,
            Fetch::Evicted { first } => self.report_gap(now, first),
        }
    }

    /// The log has lost events that were due: says so, and goes on behind them.
    fn report_gap(&mut self, now: Now<'_>, first: Offset) {
        let next = self.outlet.next();
        let missed = first.saturating_sub(next);
        now.hub.accounts().dropped(now.shard, missed);
        now.hub.accounts().gaps.add(1);
        let (from, to) =
            (now.hub.cursor(next - 1).to_string(), now.hub.cursor(first - 1).to_string());
        let control = Control::Gap {
            from: Some(&from),
            to: &to,
            missed: Some(missed),
            reason: GapReason::Evicted,
        };
        let mut frame = Vec::new();
        frame::encode_control(self.format, &control, &mut frame);
        self.outlet.push_control(&frame);
        self.outlet.skip_to(first);
    }

    fn note_written(&mut self, now: Now<'_>, count: usize) {
        self.last_sent = now.tick;
        self.blocked_since = None;
        let accounts = now.hub.accounts();
        if let Some(part) = accounts.shard(now.shard) {
            part.bytes.add(count as u64);
        }
        if let Some(Written { chunk, events }) = self.outlet.advance(count) {
            let accepted_at = chunk.accepted_at(events);
            let (transport, arrived) = (self.seat.transport(), self.arrived);
            accounts.written(now.shard, transport, accepted_at, arrived, Instant::now());
        }
    }

    /// There is nothing left to write: waits for more, or ends a stream that is leaving.
    fn finish(&mut self, now: Now<'_>) -> Turn {
        if self.phase == Phase::Leaving {
            self.wire.end();
            self.phase = Phase::Lingering { until: now.tick.saturating_add(ticks(LINGER)) };
        }
        Turn::Waiting
    }

    fn answer(&mut self, heard: &[u8]) -> Turn {
        if self.phase != Phase::Streaming || heard.is_empty() {
            return Turn::More;
        }
        match self.reader.hear(heard) {
            Heard::Reply(reply) => {
                if !reply.is_empty() {
                    self.outlet.push_control(&reply);
                }
                if self.outlet.waiting_control() > MOST_CONTROL {
                    return Turn::Over(Ending::Departed);
                }
                Turn::More
            }
            Heard::Farewell(reply) => {
                self.phase = Phase::Leaving;
                self.outlet.take_back();
                self.outlet.push_control(&reply);
                Turn::More
            }
            Heard::End => Turn::Over(Ending::Departed),
        }
    }

    fn is_out_of_bounds(&self, now: Now<'_>, settings: &Settings) -> bool {
        let Some(since) = self.blocked_since else { return false };
        let stalled = now.tick.saturating_sub(since) >= ticks(STALL);
        let lag = self.lag(now.hub.head());
        stalled
            || (self.live && lag > settings.max_lag_events)
            || (self.live
                && lag > 0
                && now.hub.bytes_since(self.outlet.unwritten()) > settings.max_lag_bytes)
    }

    fn beat(&mut self, tick: Tick, heartbeat: Option<Duration>) -> Turn {
        let due = self.is_due(tick, self.last_sent, heartbeat);
        if due && self.outlet.is_idle() {
            self.outlet.push_control(frame::sse_heartbeat());
            return Turn::More;
        }
        Turn::Waiting
    }

    fn ping(&mut self, tick: Tick, interval: Option<Duration>) -> Turn {
        // While the socket takes nothing the ping waits in it, too: then STALL and the lag decide.
        if self.blocked_since.is_some() || !self.is_due(tick, self.last_heard, interval) {
            return Turn::Waiting;
        }
        if self.pinged {
            let unanswered = interval.map(|interval| interval * 2);
            let lost = self.is_due(tick, self.last_heard, unanswered);
            return if lost { Turn::Over(Ending::Departed) } else { Turn::Waiting };
        }
        self.pinged = true;
        let mut frame = Vec::new();
        websocket::encode_ping(b"", &mut frame);
        self.outlet.push_control(&frame);
        Turn::More
    }

    fn is_due(&self, tick: Tick, last: Tick, interval: Option<Duration>) -> bool {
        let interval = interval.map_or(Tick::MAX, |interval| ticks(interval * self.jitter / 100));
        tick.saturating_sub(last) >= interval.max(1)
    }
}
