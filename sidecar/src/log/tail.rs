//! The tail: the newest events of a log, in memory, and the news that there are more.
//!
//! # Laws
//!
//! - The head never steps back, and is stored inside the ring's lock, as is the number of those accepted.
//! - Whoever waits for [`Tail::grown`] and looked at the head after asking for it misses nothing.
//! - Times never step back from one event to the next, though the wall clock may.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::RwLock;
use tokio::sync::{Notify, futures::Notified};

use super::{Entry, Micros, Offset, Read, Retention, Ring};
use crate::{
    clock,
    count::{Accounts, LogCounts},
    engine::Wakers,
    intake::Posted,
};

/// The newest events of a log.
#[derive(Debug)]
pub struct Tail {
    ring: RwLock<Ring>,
    /// The ring's head, to be compared without the lock.
    head: AtomicU64,
    accounts: Arc<Accounts>,
    wakers: Wakers,
    grown: Notify,
}

impl Tail {
    /// An empty tail within these bounds. News are told to the shards behind `wakers`, and counted.
    #[must_use]
    pub fn new(bounds: Retention, accounts: Arc<Accounts>, wakers: Wakers) -> Self {
        let ring = RwLock::new(Ring::new(1, bounds));
        Self { ring, head: AtomicU64::new(1), accounts, wakers, grown: Notify::new() }
    }

    /// Sets the offset of the next event: before the first one, when a log that held events is opened.
    pub fn start_at(&self, head: Offset) {
        let mut ring = self.ring.write();
        let bounds = ring.retention();
        *ring = Ring::new(head, bounds);
        self.head.store(head, Ordering::Release);
    }

    /// What the log is counted by.
    #[must_use]
    pub fn counts(&self) -> &LogCounts {
        &self.accounts.log
    }

    /// The offset of the next event.
    #[must_use]
    pub fn head(&self) -> Offset {
        self.head.load(Ordering::Acquire)
    }

    /// The oldest offset in memory, or the head where nothing is.
    #[must_use]
    pub fn first(&self) -> Offset {
        self.ring.read().first()
    }

    /// Reads what is in memory; see [`Ring::read`].
    #[must_use]
    pub fn read(&self, from: Offset, max_bytes: u64) -> Read {
        self.ring.read().read(from, max_bytes)
    }

    /// Looks at the ring.
    pub fn look<T>(&self, look: impl FnOnce(&Ring) -> T) -> T {
        look(&self.ring.read())
    }

    /// Adds events that are accepted now, at the head. Returns what they evicted.
    pub fn append(&self, events: impl Iterator<Item = Posted>) -> Vec<Arc<Entry>> {
        let accepted_at = Instant::now();
        self.extend(|ring| {
            let time = clock::micros().max(ring.newest());
            let head = ring.head();
            let entries = events.zip(head..).map(move |(posted, offset)| Entry {
                offset,
                accepted_at,
                time,
                posted,
            });
            entries.collect()
        })
    }

    /// Adds entries that the log gave their places. Those below the head are here already, and are
    /// left out. Returns what they evicted.
    pub fn push(&self, entries: Vec<Entry>) -> Vec<Arc<Entry>> {
        self.extend(|ring| {
            let head = ring.head();
            entries.into_iter().filter(|entry| entry.offset >= head).collect()
        })
    }

    fn extend(&self, entries: impl FnOnce(&Ring) -> Vec<Entry>) -> Vec<Arc<Entry>> {
        let (grown, evicted) = {
            let mut ring = self.ring.write();
            let entries = entries(&ring);
            let accepted = entries.len() as u64;
            entries.into_iter().for_each(|entry| ring.push(entry));
            let evicted = ring.expire(clock::micros());
            // Inside the lock, so that the head never steps back, and is always that of what was accepted.
            self.head.store(ring.head(), Ordering::Release);
            self.accounts.accepted.add(accepted);
            (accepted > 0, evicted)
        };
        if grown {
            self.tell();
        }
        evicted
    }

    /// Evicts what is past a bound, and returns it.
    pub fn expire(&self) -> Vec<Arc<Entry>> {
        self.ring.write().expire(clock::micros())
    }

    /// Evicts the events before `first`, which the log no longer holds.
    pub fn evict_before(&self, first: Offset) {
        self.ring.write().evict_before(first);
    }

    /// Changes the bounds.
    pub fn set_bounds(&self, bounds: Retention) {
        self.ring.write().set_retention(bounds);
    }

    /// Comes when there is something to look for: events, or an older part of the log.
    pub fn grown(&self) -> Notified<'_> {
        self.grown.notified()
    }

    /// Tells all who wait that there is something to look for.
    pub fn tell(&self) {
        self.wakers.wake();
        self.grown.notify_waiters();
    }
}

/// The instant that corresponds to a moment of the wall clock: for events that another process accepted.
/// Never later than now, whatever the clocks of two machines say.
#[must_use]
pub fn instant_of(time: Micros) -> Instant {
    let now = Instant::now();
    let age = Duration::from_micros(clock::micros().saturating_sub(time));
    now.checked_sub(age).unwrap_or(now)
}
