//! A shard: one thread that owns sockets and writes to them what their hubs have.
//!
//! See the laws of [the engine](super).

use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    mem,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Registry, Token, net::TcpStream};
use slab::Slab;

use super::{
    Adoption, Handle, LAST_WORDS, WAKER,
    connection::{Connection, Ending, Now, TICK, Tick, Turn, paced, ticks},
};
use crate::{count::EndReason, hub::Hub, log::Offset, seldom::Seldom};

/// How much is read from a socket at once; subscribers say little.
const SCRATCH: usize = 16 * 1024;

/// How many readiness events are taken from the kernel at once.
const EVENTS: usize = 1024;

/// How many connections that replay have a turn before the live ones are looked at again: some hundreds
/// of microseconds.
const REPLAYS_PER_ROUND: usize = 8;

/// Whoever opens enough connections can make it happen.
static NOT_TAKEN_OVER: Seldom = Seldom::new();

/// A thread's sockets.
pub(super) struct Shard {
    index: usize,
    poll: Poll,
    handle: Arc<Handle>,
    connections: Slab<Member>,
    groups: Slab<Group>,
    /// Live connections that have more to write now.
    turns: VecDeque<usize>,
    /// The same of those that replay, which give way to the live ones.
    replays: VecDeque<usize>,
    /// The groups whose hubs have moved on; empty between two rounds.
    moved: Vec<(usize, News)>,
    started: Instant,
    tick: Tick,
    draining: bool,
}

/// A connection, and the group it belongs to.
struct Member {
    connection: Connection<TcpStream>,
    group: usize,
    /// The place among the group's keys.
    place: usize,
    /// Whether it stands in line for a turn.
    queued: bool,
}

/// The connections of one hub.
struct Group {
    hub: Arc<Hub>,
    /// The head up to which its connections were told.
    told: Offset,
    /// The loads of older parts of the log up to which connections were told.
    loads: u64,
    keys: Vec<usize>,
}

/// Which connections of a group have to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// There are events for all of them.
    Events,
    /// A part of the log has come, for those who wait for it.
    Loads,
    None,
}

impl Group {
    fn news(&mut self) -> News {
        let (head, loads) = (self.hub.head(), self.hub.loads());
        let grown = mem::replace(&mut self.told, head) != head;
        let loaded = mem::replace(&mut self.loads, loads) != loads;
        if grown {
            News::Events
        } else if loaded {
            News::Loads
        } else {
            News::None
        }
    }
}

impl Shard {
    pub(super) fn new(index: usize, poll: Poll, handle: Arc<Handle>) -> Self {
        Self {
            index,
            poll,
            handle,
            connections: Slab::new(),
            groups: Slab::new(),
            turns: VecDeque::new(),
            replays: VecDeque::new(),
            moved: Vec::new(),
            started: Instant::now(),
            tick: 0,
            draining: false,
        }
    }

    /// Drives the sockets until the engine stops.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut scratch = vec![0; SCRATCH].into_boxed_slice();
        while !self.handle.stopping.load(Ordering::Acquire) {
            self.pass(&mut events, &mut scratch);
        }
        self.adopt_all();
        self.send_all_away();
        let deadline = Instant::now() + LAST_WORDS;
        while Instant::now() < deadline && !self.connections.is_empty() {
            self.pass(&mut events, &mut scratch);
        }
        // For whoever has come since there is no time.
        self.adopt_all();
        self.send_all_away();
        for key in self.keys() {
            self.remove(key, Ending::Departed);
        }
    }

    /// One round: waits, reads, and gives every connection that can write its turn.
    fn pass(&mut self, events: &mut Events, scratch: &mut [u8]) {
        let idle = self.turns.is_empty() && self.replays.is_empty();
        let timeout = if idle { self.until_next_tick() } else { Duration::ZERO };
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                tracing::error!(%error, shard = self.index, "can't wait for sockets");
            }
            Ok(()) | Err(_) => {}
        }
        // Before anything is looked at: a wake-up that comes later leads to another round, and what was
        // published before an earlier one is seen in this.
        self.handle.pending.swap(false, Ordering::AcqRel);
        self.adopt_all();
        for event in events.iter().filter(|event| event.token() != WAKER) {
            let Token(key) = event.token();
            if event.is_writable() {
                self.unblock(key);
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.can_read(key);
            }
        }
        // Who gets into the line by this round's news has had its turn in this round.
        let line = self.turns.len();
        self.spread_news(scratch);
        self.tick_if_due();
        self.give_turns(line, scratch);
        self.give_replays_turns(scratch);
    }

    fn until_next_tick(&self) -> Duration {
        let next = TICK * (self.tick + 1);
        next.saturating_sub(self.started.elapsed())
    }

    fn adopt_all(&mut self) {
        let adoptions = mem::take(&mut *self.handle.inbox.lock());
        for adoption in adoptions {
            self.adopt(adoption);
        }
    }

    fn adopt(&mut self, adoption: Adoption) {
        // Against the fence of whoever wakes: see there.
        fence(Ordering::SeqCst);
        let (hub, next) = (Arc::clone(&adoption.hub), adoption.next);
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        let registered = register(adoption, self.poll.registry(), Token(key));
        let connection = match registered {
            Ok(adoption) => Connection::adopt(adoption, self.tick),
            Err(error) => {
                if NOT_TAKEN_OVER.is_due() {
                    tracing::warn!(%error, "can't take over connections");
                }
                self.handle.connections.fetch_sub(1, Ordering::Relaxed);
                return;
            }
        };
        let place = find_or_insert(&mut self.groups, &hub);
        let Some(group) = self.groups.get_mut(place) else { return };
        hub.accounts().arrive(self.index, hub.tail(), next);
        entry.insert(Member { connection, group: place, place: group.keys.len(), queued: false });
        group.keys.push(key);
        if self.draining {
            self.plan_leave(key);
        }
        self.queue(key);
    }

    fn unblock(&mut self, key: usize) {
        if let Some(member) = self.connections.get_mut(key) {
            member.connection.unblock();
            self.queue(key);
        }
    }

    fn can_read(&mut self, key: usize) {
        if let Some(member) = self.connections.get_mut(key) {
            member.connection.can_read();
            self.queue(key);
        }
    }

    /// Gives a turn to the connections of every hub that has moved on. Not by way of the line: whoever
    /// is looked at twice is fetched into the cache twice.
    fn spread_news(&mut self, scratch: &mut [u8]) {
        let mut moved = mem::take(&mut self.moved);
        for (key, group) in &mut self.groups {
            match group.news() {
                News::None => {}
                news @ (News::Events | News::Loads) => moved.push((key, news)),
            }
        }
        for (group, news) in moved.drain(..) {
            let mut place = 0;
            while let Some(key) = self.key_at(group, place) {
                // Where a connection ended, the last one stands in its place now.
                place += usize::from(self.tell(key, news, scratch));
            }
        }
        self.moved = moved;
    }

    fn key_at(&self, group: usize, place: usize) -> Option<usize> {
        self.groups.get(group)?.keys.get(place).copied()
    }

    /// Gives a connection that the news are for its turn, if it isn't in the line for one. Says whether
    /// it is still there.
    fn tell(&mut self, key: usize, news: News, scratch: &mut [u8]) -> bool {
        let Some(member) = self.connections.get(key) else { return true };
        let concerned = news == News::Events || member.connection.is_loading();
        if member.queued || !concerned {
            return true;
        }
        self.give_turn(key, scratch);
        self.connections.contains(key)
    }

    /// Gives each of the first `count` connections in the line one turn.
    fn give_turns(&mut self, count: usize, scratch: &mut [u8]) {
        for _ in 0..count {
            let Some(key) = self.turns.pop_front() else { break };
            if let Some(member) = self.connections.get_mut(key) {
                member.queued = false;
            }
            self.give_turn(key, scratch);
        }
    }

    fn give_replays_turns(&mut self, scratch: &mut [u8]) {
        for _ in 0..self.replays.len().min(REPLAYS_PER_ROUND) {
            let Some(key) = self.replays.pop_front() else { break };
            if let Some(member) = self.connections.get_mut(key) {
                member.queued = false;
            }
            self.give_turn(key, scratch);
        }
    }

    fn give_turn(&mut self, key: usize, scratch: &mut [u8]) {
        let Some(member) = self.connections.get_mut(key) else { return };
        let Some(group) = self.groups.get(member.group) else { return };
        let now = Now { shard: self.index, tick: self.tick, hub: &group.hub };
        let turn = member.connection.take_turn(now, scratch);
        self.settle(key, turn);
    }

    fn settle(&mut self, key: usize, turn: Turn) {
        match turn {
            Turn::Waiting => {}
            Turn::More => self.queue(key),
            Turn::Over(ending) => self.remove(key, ending),
        }
    }

    fn queue(&mut self, key: usize) {
        if let Some(member) = self.connections.get_mut(key)
            && !mem::replace(&mut member.queued, true)
        {
            let live = member.connection.is_live();
            let line = if live { &mut self.turns } else { &mut self.replays };
            line.push_back(key);
        }
    }

    fn remove(&mut self, key: usize, ending: Ending) {
        let Some(mut member) = self.connections.try_remove(key) else { return };
        self.handle.connections.fetch_sub(1, Ordering::Relaxed);
        // It can only fail for a socket that was never registered.
        let _ = self.poll.registry().deregister(member.connection.wire());
        let Some(group) = self.groups.get_mut(member.group) else { return };
        let now = Now { shard: self.index, tick: self.tick, hub: &group.hub };
        member.connection.leave(now, ending);
        group.keys.swap_remove(member.place);
        let moved = group.keys.get(member.place).copied();
        if let Some(moved) = moved.and_then(|key| self.connections.get_mut(key)) {
            moved.place = member.place;
        }
    }

    fn tick_if_due(&mut self) {
        let due = ticks(self.started.elapsed());
        if due == self.tick {
            return;
        }
        self.tick = due;
        if !self.draining && self.handle.draining.get().is_some() {
            self.draining = true;
            self.keys().into_iter().for_each(|key| self.plan_leave(key));
        }
        for key in self.keys() {
            let Some(member) = self.connections.get_mut(key) else { continue };
            let Some(group) = self.groups.get(member.group) else { continue };
            let now = Now { shard: self.index, tick: self.tick, hub: &group.hub };
            let turn = member.connection.tick(now);
            self.settle(key, turn);
        }
        self.forget_closed_hubs();
    }

    fn keys(&self) -> Vec<usize> {
        self.connections.iter().map(|(key, _)| key).collect()
    }

    fn forget_closed_hubs(&mut self) {
        self.groups.retain(|_, group| !(group.keys.is_empty() && group.hub.is_closed()));
    }

    /// Chooses when a connection leaves: at random within its pipeline's drain window, or a shorter one where
    /// the process has less time.
    fn plan_leave(&mut self, key: usize) {
        let Some(member) = self.connections.get_mut(key) else { return };
        let Some(group) = self.groups.get(member.group) else { return };
        let most = self.handle.draining.get().copied().unwrap_or(Duration::MAX);
        let leaves_at = paced(self.tick, group.hub.settings().drain.min(most));
        member.connection.leave_at(leaves_at, EndReason::Drain);
    }

    fn send_all_away(&mut self) {
        for key in self.keys() {
            let Some(member) = self.connections.get_mut(key) else { continue };
            let Some(group) = self.groups.get(member.group) else { continue };
            let now = Now { shard: self.index, tick: self.tick, hub: &group.hub };
            member.connection.send_away_now(now);
            self.queue(key);
        }
    }
}

/// Puts the connection's socket into the shard's poll.
fn register(
    adoption: Adoption,
    registry: &Registry,
    token: Token,
) -> io::Result<Adoption<TcpStream>> {
    let mut adoption = adoption.map(TcpStream::from_std);
    registry.register(&mut adoption.socket, token, Interest::READABLE | Interest::WRITABLE)?;
    Ok(adoption)
}

fn find_or_insert(groups: &mut Slab<Group>, hub: &Arc<Hub>) -> usize {
    let found = groups.iter().find(|(_, group)| Arc::ptr_eq(&group.hub, hub)).map(|(key, _)| key);
    found.unwrap_or_else(|| {
        groups.insert(Group {
            hub: Arc::clone(hub),
            told: hub.head(),
            loads: hub.loads(),
            keys: Vec::new(),
        })
    })
}
