//! Bounds how fast one client may open connections on the public port, and counts those of no use.
//!
//! A connection is of no pipeline yet: so it is closed at once only where every pipeline would have it so.
//!
//! # Laws
//!
//! - The memory is of a fixed size, however many clients come: there are sets of a few buckets, and a client
//!   belongs to one set, which nobody from outside can tell.
//! - A client that isn't in its set takes the place of the one with the fullest bucket, which has come the
//!   least. Whoever is forgotten so may come as one who was never there: under a flood from very many
//!   networks the bound is a loose one, and nobody is refused for what another did.

mod faults;

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{count::Network, registry::Registry};

pub use faults::Fault;
use faults::Faults;

/// How many sets there are, and buckets in each: 48 KiB, once there is a bound.
const SETS: usize = 256;
const WAYS: usize = 4;

/// The parts of a connection that buckets count in.
const PARTS: u64 = 1_000;

/// Whoever arrives at a port.
#[derive(Debug, Clone, Default)]
pub struct Arrivals(Arc<Door>);

#[derive(Debug)]
struct Door {
    /// The connections a second; 0 where they are not bounded.
    rate: AtomicU32,
    buckets: Mutex<Option<Buckets>>,
    started: Instant,
    faults: Faults,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            rate: AtomicU32::new(0),
            buckets: Mutex::default(),
            started: Instant::now(),
            faults: Faults::default(),
        }
    }
}

impl Arrivals {
    /// Takes up what the pipelines say: the laxest of them, and none where one says nothing.
    pub fn refresh(&self, registry: &Registry) {
        let pipelines = registry.all();
        let rates = pipelines.values();
        let rates = rates.map(|pipeline| pipeline.hub().settings().max_handshakes_per_address);
        let laxest = rates.reduce(|a, b| Some(a?.max(b?))).flatten();
        self.0.rate.store(laxest.unwrap_or(0), Ordering::Relaxed);
    }

    /// How many connections were of no use, by reason.
    pub fn faults(&self) -> impl Iterator<Item = (Fault, u64)> {
        self.0.faults.all()
    }

    /// Counts a connection that was of no use.
    pub(super) fn note(&self, fault: Fault) {
        self.0.faults.count(fault);
    }

    /// Whether one that comes now from this address is to be served.
    pub(super) fn admit(&self, address: IpAddr) -> bool {
        let rate = self.0.rate.load(Ordering::Relaxed);
        if rate == 0 {
            return true;
        }
        let now = self.0.started.elapsed();
        let mut buckets = self.0.buckets.lock();
        let admitted = buckets.get_or_insert_default().admit(address.into(), rate, now);
        if !admitted {
            self.note(Fault::TooManyOfAddress);
        }
        admitted
    }
}

/// How much each client may still do.
#[derive(Debug)]
struct Buckets {
    sets: Box<[[Bucket; WAYS]]>,
    secret: RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Whose it is; nobody's at first.
    network: Option<Network>,
    /// What was in it, in [`PARTS`].
    level: u64,
    /// When that was.
    at: Duration,
}

impl Default for Buckets {
    fn default() -> Self {
        let free = Bucket { network: None, level: u64::MAX, at: Duration::ZERO };
        Self { sets: vec![[free; WAYS]; SETS].into(), secret: RandomState::new() }
    }
}

impl Buckets {
    fn admit(&mut self, network: Network, rate: u32, now: Duration) -> bool {
        let place = self.secret.hash_one(network) % SETS as u64;
        let set = usize::try_from(place).ok().and_then(|place| self.sets.get_mut(place));
        let Some(set) = set else { return true };
        set.iter_mut().for_each(|bucket| bucket.fill(rate, now));
        if let Some(own) = set.iter_mut().find(|bucket| bucket.network == Some(network)) {
            return own.take();
        }
        let Some(fullest) = set.iter_mut().max_by_key(|bucket| bucket.level) else { return true };
        *fullest = Bucket { network: Some(network), level: full(rate), at: now };
        fullest.take()
    }
}

impl Bucket {
    fn fill(&mut self, rate: u32, now: Duration) {
        let millis = now.saturating_sub(self.at).as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        self.at = self.at.saturating_add(Duration::from_millis(millis));
        self.level = self.level.saturating_add(millis.saturating_mul(rate.into()));
        // One that is nobody's stays the fullest of all.
        if self.network.is_some() {
            self.level = self.level.min(full(rate));
        }
    }

    fn take(&mut self) -> bool {
        match self.level.checked_sub(PARTS) {
            Some(rest) => {
                self.level = rest;
                true
            }
            None => false,
        }
    }
}

/// What a bucket holds: a second's worth may come at once.
fn full(rate: u32) -> u64 {
    u64::from(rate) * PARTS
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn client(n: u32) -> Network {
        IpAddr::V4(Ipv4Addr::from_bits(n)).into()
    }

    fn admitted(buckets: &mut Buckets, network: Network, tries: usize, now: Duration) -> usize {
        (0..tries).filter(|_| buckets.admit(network, 5, now)).count()
    }

    #[test]
    fn a_client_may_come_at_its_rate_and_a_seconds_worth_at_once() {
        let mut buckets = Buckets::default();
        let at = Duration::from_millis;
        assert_eq!(admitted(&mut buckets, client(1), 10, at(0)), 5);
        assert_eq!(admitted(&mut buckets, client(1), 10, at(199)), 0);
        assert_eq!(admitted(&mut buckets, client(1), 10, at(200)), 1);
        assert_eq!(admitted(&mut buckets, client(1), 10, at(10_000)), 5);
        assert_eq!(admitted(&mut buckets, client(2), 10, at(10_000)), 5, "another is another");
    }

    #[test]
    fn what_comes_in_tiny_steps_is_earned_too() {
        let mut buckets = Buckets::default();
        let steps = (0..100_000).map(|step| Duration::from_micros(step * 100));
        let count = steps.filter(|now| buckets.admit(client(1), 5, *now)).count();
        // Ten seconds, and the first second's worth.
        assert!((54..=55).contains(&count), "{count}");
    }

    #[test]
    fn who_comes_too_often_stays_known_while_very_many_others_come() {
        let mut buckets = Buckets::default();
        let start = Duration::from_secs(1);
        assert_eq!(admitted(&mut buckets, client(0), 10, start), 5);
        let mut others = 1..100_000;
        let served = others.all(|other| buckets.admit(client(other), 5, start));
        assert!(served, "nobody is refused for what another did");
        assert_eq!(admitted(&mut buckets, client(0), 10, start), 0);
    }
}
