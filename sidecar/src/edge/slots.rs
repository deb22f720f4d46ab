//! The places for connections that are not with the engine, and who has them.
//!
//! # Laws
//!
//! - There is a bounded number. Whoever comes when all are taken gets that of a connection which is idle: of the
//!   client with the most of them the one that has been idle for the longest. So connections that do nothing keep
//!   nobody out.
//! - Nobody loses a place who has just come, or has just been answered: in a storm, these are the ones for whom it
//!   is about to go on.
//! - Where addresses tell clients apart, one has no more places than its connections need.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{self, Instant},
};

use super::line::Line;
use crate::{count::Network, registry::Registry};

/// The places of a listener. Handshakes take milliseconds; this many at once are a storm of reconnections.
pub(super) const SLOTS: usize = 4_096;

/// How long a connection must have been idle to lose its place: longer than it takes in a storm until what has
/// come is looked at.
const IDLE: Duration = Duration::from_secs(2);

/// The same for those of other clients than that with the most.
const LONG_IDLE: Duration = Duration::from_secs(4);

/// How many lose their places at once, so that not all are looked at for each that comes.
const MOST_CALLED_OFF: usize = 64;

/// How soon it is looked again whether somebody has become idle.
const LOOK: Duration = Duration::from_millis(100);

/// How many places a client may have beside as many as it may have connections: for what it asks and is answered.
const BESIDE: u64 = 64;

/// The places for connections.
#[derive(Debug, Clone)]
pub struct Slots(Arc<Places>);

#[derive(Debug)]
struct Places {
    free: Arc<Semaphore>,
    taken: Mutex<Taken>,
    /// How many of them one client may have; 0 where that is not bounded.
    most_of_network: AtomicU64,
}

#[derive(Debug, Default)]
struct Taken {
    numbered: u64,
    lines: HashMap<u64, (Network, Arc<Line>)>,
    of_network: HashMap<Network, u64>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Slots,
    number: u64,
    network: Network,
    line: Arc<Line>,
    _permit: OwnedSemaphorePermit,
}

impl Default for Slots {
    fn default() -> Self {
        Self::new(SLOTS)
    }
}

impl Slots {
    fn new(count: usize) -> Self {
        let free = Arc::new(Semaphore::new(count));
        let (taken, most_of_network) = (Mutex::default(), AtomicU64::new(0));
        Self(Arc::new(Places { free, taken, most_of_network }))
    }

    /// Takes up what the pipelines say: where each bounds the connections of an address, the laxest of them.
    pub fn refresh(&self, registry: &Registry) {
        let pipelines = registry.all();
        let bounds = pipelines.values();
        let bounds = bounds.map(|pipeline| pipeline.hub().settings().max_connections_per_address);
        let laxest = bounds.reduce(|a, b| Some(a?.max(b?))).flatten();
        let most = laxest.map_or(0, |laxest| laxest.saturating_add(BESIDE));
        self.0.most_of_network.store(most, Ordering::Relaxed);
    }

    /// A place for one that has come, as soon as there is one; `None` where it has as many as it may.
    pub(super) async fn take(&self, network: Network) -> Option<Slot> {
        let most = self.0.most_of_network.load(Ordering::Relaxed);
        if most > 0 && self.0.taken.lock().of(network) >= most {
            return None;
        }
        let line = Arc::new(Line::new());
        loop {
            if let Some(slot) = self.try_take(network, &line) {
                return Some(slot);
            }
            self.make_room(Instant::now());
            let free = Arc::clone(&self.0.free).acquire_owned();
            if let Ok(Ok(permit)) = time::timeout(LOOK, free).await {
                return Some(self.seat(permit, network, line));
            }
        }
    }

    /// A place for a connection that is there, unless there is none.
    pub(super) fn try_take(&self, network: Network, line: &Arc<Line>) -> Option<Slot> {
        let permit = Arc::clone(&self.0.free).try_acquire_owned().ok()?;
        Some(self.seat(permit, network, Arc::clone(line)))
    }

    fn seat(&self, permit: OwnedSemaphorePermit, network: Network, line: Arc<Line>) -> Slot {
        let number = self.0.taken.lock().enter(network, Arc::clone(&line));
        Slot { slots: self.clone(), number, network, line, _permit: permit }
    }

    fn make_room(&self, now: Instant) {
        let idlest = self.0.taken.lock().idlest(now);
        idlest.iter().for_each(|line| line.call_off());
    }
}

impl Taken {
    fn of(&self, network: Network) -> u64 {
        self.of_network.get(&network).copied().unwrap_or(0)
    }

    fn enter(&mut self, network: Network, line: Arc<Line>) -> u64 {
        self.numbered += 1;
        self.lines.insert(self.numbered, (network, line));
        *self.of_network.entry(network).or_default() += 1;
        self.numbered
    }

    fn leave(&mut self, number: u64, network: Network) {
        self.lines.remove(&number);
        let Some(count) = self.of_network.get_mut(&network) else { return };
        *count -= 1;
        if *count == 0 {
            self.of_network.remove(&network);
        }
    }

    /// Those who lose their places first.
    fn idlest(&self, now: Instant) -> Vec<Arc<Line>> {
        let most = self.of_network.values().max().copied().unwrap_or(0);
        let idle = self.lines.values().filter(|(_, line)| !line.is_called_off());
        let idle = idle.filter_map(|(network, line)| {
            let count = self.of(*network);
            let least = if count == most { IDLE } else { LONG_IDLE };
            let idle = line.idle(now).filter(|idle| *idle >= least)?;
            Some((count, idle, line))
        });
        let mut idle: Vec<_> = idle.collect();
        idle.sort_unstable_by_key(|(count, idle, _)| Reverse((*count, *idle)));
        // Nobody else loses one while they have some.
        let most = idle.first().map_or(0, |(count, _, _)| *count);
        let its = idle.into_iter().take_while(|(count, _, _)| *count == most);
        its.take(MOST_CALLED_OFF).map(|(_, _, line)| Arc::clone(line)).collect()
    }
}

impl Slot {
    /// What is known of the connection.
    pub(super) const fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// Whose connection it is.
    pub(super) const fn network(&self) -> Network {
        self.network
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.0.taken.lock().leave(self.number, self.network);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn client(last: u8) -> Network {
        IpAddr::from([192, 0, 2, last]).into()
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_last_gets_the_place_of_the_idlest_of_whoever_has_the_most() {
        let slots = Slots::new(3);
        let one = slots.take(client(1)).await.unwrap();
        let mut of_two = Vec::new();
        for _ in 0..2 {
            time::advance(Duration::from_secs(1)).await;
            of_two.push(slots.take(client(2)).await.unwrap());
        }
        let called_off = |slot: &Slot| slot.line().is_called_off();
        slots.make_room(Instant::now());
        assert!(!called_off(&one) && !of_two.iter().any(called_off), "they have just come");
        time::advance(IDLE).await;
        slots.make_room(Instant::now());
        assert!(!called_off(&one) && of_two.iter().all(called_off));
        slots.make_room(Instant::now());
        assert!(called_off(&one), "it has been idle for long");
        let slots = Slots::new(2 * MOST_CALLED_OFF);
        let one = slots.take(client(1)).await.unwrap();
        let mut of_two = Vec::new();
        while let Some(slot) = slots.try_take(client(2), &Arc::new(Line::new())) {
            of_two.push(slot);
        }
        time::advance(IDLE).await;
        slots.make_room(Instant::now());
        assert_eq!(of_two.iter().filter(|slot| called_off(slot)).count(), MOST_CALLED_OFF);
        slots.make_room(Instant::now());
        assert!(of_two.iter().all(called_off) && !called_off(&one), "who has one is not to blame");
        drop(of_two.pop());
        let taken = slots.take(client(3)).await.unwrap();
        assert_eq!(taken.network(), client(3));
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_waits_until_somebody_is_idle_or_goes() {
        let slots = Slots::new(1);
        let first = slots.take(client(1)).await.unwrap();
        let line = Arc::clone(first.line());
        tokio::spawn(async move {
            line.called_off().await;
            drop(first);
        });
        let began = Instant::now();
        let second = slots.take(client(2)).await.unwrap();
        assert!((IDLE..IDLE * 2).contains(&began.elapsed()));
        drop(second);
        assert_eq!(slots.0.taken.lock().of_network.len(), 0);
    }
}
