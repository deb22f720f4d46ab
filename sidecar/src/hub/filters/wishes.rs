//! What subscribers wish for: how much it costs over time, and what costs too much.
//!
//! # Laws
//!
//! - So many steps for each event are free: an event that is written to a socket costs about as much. What a wish
//!   takes beyond that counts.
//! - The wishes of a pipeline share a bound on what counts. When they are over it the costliest is ended, and
//!   the next, until the others fit.
//! - What was ended is refused for a while, whoever wishes for it.
//! - One client has a part of the number: as long as it has that many, be they another's too, it may wish for nothing
//!   new. What is there already, everybody may wish for. What it has given back doesn't count, whoever still has it.

use std::{
    cmp::Reverse,
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use super::{Client, MAX_FILTERS, NoFilter};
use crate::{count::Network, filter::Expression};

/// The steps for each event that are free, on average.
const FREE: u64 = 200;

/// How many steps a second count at most, on average over the [`WINDOW`]: a fifth of a core.
const MOST: u64 = 20_000_000;

/// The seconds that the average is of: what is older has lost most of its weight.
const WINDOW: u64 = 10;

/// For how many seconds a wish that was ended is refused.
const REFUSED_FOR: u32 = 60;

/// How many that were ended are remembered.
const REFUSED: usize = 256;

/// How many one socket wishes for: a quarter.
pub(super) const MAX_OF_SOCKET: usize = 16;

/// How many one address wishes for: three quarters. It may be a proxy's, behind which all subscribers are.
pub(super) const MAX_OF_ADDRESS: usize = 48;

/// What subscribers wish for, whatever else they are held to.
#[derive(Debug, Default)]
pub(super) struct Wish {
    /// Since the last look at the time.
    steps: AtomicU64,
    evaluations: AtomicU64,
    /// The steps that count, of the last seconds.
    counted: AtomicU64,
    ended: AtomicBool,
    holders: Mutex<Holders>,
}

/// Who has a wish, and how often.
#[derive(Debug, Default)]
struct Holders {
    sockets: HashMap<u64, usize>,
    networks: HashMap<Network, usize>,
}

/// A subscriber's part in a wish: until it is dropped, its client has that.
#[derive(Debug)]
pub(super) struct Holder {
    wish: Arc<Wish>,
    client: Client,
}

/// The wishes of a pipeline's subscribers.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    by_meaning: HashMap<String, Weak<Wish>>,
    /// Those that were ended, and for how many seconds more they are refused.
    refused: VecDeque<(String, u32)>,
}

impl Holders {
    fn enter(&mut self, Client { network, socket }: Client) {
        socket.into_iter().for_each(|socket| *self.sockets.entry(socket).or_default() += 1);
        network.into_iter().for_each(|network| *self.networks.entry(network).or_default() += 1);
    }

    fn leave(&mut self, Client { network, socket }: Client) {
        socket.into_iter().for_each(|socket| take_one(&mut self.sockets, &socket));
        network.into_iter().for_each(|network| take_one(&mut self.networks, &network));
    }
}

fn take_one<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    let Some(count) = counts.get_mut(key) else { return };
    *count -= 1;
    if *count == 0 {
        counts.remove(key);
    }
}

impl Holder {
    pub(super) fn new(wish: &Arc<Wish>, client: Client) -> Self {
        wish.holders.lock().enter(client);
        Self { wish: Arc::clone(wish), client }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.wish.holders.lock().leave(self.client);
    }
}

impl Wish {
    /// Counts an evaluation.
    pub(super) fn note(&self, steps: u32) {
        self.steps.fetch_add(steps.into(), Ordering::Relaxed);
        self.evaluations.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it has cost too much.
    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// What counts of the last seconds. To be called every second.
    fn count(&self) -> u64 {
        let free = self.evaluations.swap(0, Ordering::Relaxed) * FREE;
        let new = self.steps.swap(0, Ordering::Relaxed).saturating_sub(free);
        let before = self.counted.load(Ordering::Relaxed);
        let counted = before - before / WINDOW + new;
        self.counted.store(counted, Ordering::Relaxed);
        counted
    }
}

impl Wishes {
    /// A wish, which counts among them until nobody has it any more: for a client that is to [hold](Holder) it.
    pub(super) fn get(
        &mut self,
        wished: &Expression,
        client: Client,
    ) -> Result<Arc<Wish>, NoFilter> {
        let meaning = wished.to_string();
        if self.refused.iter().any(|(refused, _)| *refused == meaning) {
            return Err(NoFilter::TooCostly);
        }
        if let Some(wish) = self.by_meaning.get(&meaning).and_then(Weak::upgrade) {
            return Ok(wish);
        }
        self.by_meaning.retain(|_, wish| wish.strong_count() > 0);
        self.make_way(client)?;
        let wish = Arc::new(Wish::default());
        self.by_meaning.insert(meaning, Arc::downgrade(&wish));
        Ok(wish)
    }

    /// Whether a client may wish for something that nobody else wishes for.
    fn make_way(&self, client: Client) -> Result<(), NoFilter> {
        let Client { network, socket } = client;
        let (mut of_socket, mut of_network) = (0, 0);
        for wish in self.by_meaning.values().filter_map(Weak::upgrade) {
            let Holders { sockets, networks } = &*wish.holders.lock();
            of_socket += usize::from(socket.is_some_and(|socket| sockets.contains_key(&socket)));
            of_network += usize::from(network.is_some_and(|one| networks.contains_key(&one)));
        }
        if of_socket >= MAX_OF_SOCKET {
            return Err(NoFilter::TooManyOfSocket);
        }
        if of_network >= MAX_OF_ADDRESS {
            return Err(NoFilter::TooManyOfAddress);
        }
        if self.by_meaning.len() >= MAX_FILTERS {
            return Err(NoFilter::TooMany);
        }
        Ok(())
    }

    /// Ends what costs too much. To be called every second.
    pub(super) fn age(&mut self) {
        self.refused.retain_mut(|(_, left)| {
            *left -= 1;
            *left > 0
        });
        let living = self.by_meaning.iter().filter_map(|(meaning, wish)| {
            let wish = wish.upgrade().filter(|wish| !wish.is_ended())?;
            Some((wish.count(), meaning, wish))
        });
        let mut living: Vec<_> = living.collect();
        living.sort_by_key(|(counted, _, _)| Reverse(*counted));
        let mut sum: u64 = living.iter().map(|(counted, _, _)| counted).sum();
        for (counted, meaning, wish) in living {
            if sum <= MOST * WINDOW {
                break;
            }
            sum -= counted;
            wish.ended.store(true, Ordering::Relaxed);
            self.refused.push_front((meaning.clone(), REFUSED_FOR));
        }
        self.refused.truncate(REFUSED);
    }
}

#[cfg(test)]
#[cfg(feature = "cel")]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::{count::Network, filter::compile_filter};

    fn expression(n: usize) -> Expression {
        compile_filter(&format!("event.id == '{n}'")).unwrap()
    }

    /// A second in which each wish has taken so many steps, in so many evaluations.
    fn second(wishes: &mut Wishes, taken: &[(&Arc<Wish>, u64, u64)]) {
        for (wish, evaluations, steps) in taken {
            wish.steps.fetch_add(*steps, Ordering::Relaxed);
            wish.evaluations.fetch_add(*evaluations, Ordering::Relaxed);
        }
        wishes.age();
    }

    #[test]
    fn what_is_cheap_for_each_event_never_costs_too_much() {
        let mut wishes = Wishes::default();
        let all: Vec<_> = (0..MAX_FILTERS)
            .map(|n| wishes.get(&expression(n), Client::default()).unwrap())
            .collect();
        for _ in 0..100 {
            let taken: Vec<_> = all.iter().map(|wish| (wish, 1_000_000, 200_000_000)).collect();
            second(&mut wishes, &taken);
        }
        assert!(all.iter().all(|wish| !wish.is_ended()));
    }

    #[test]
    fn the_costliest_are_ended_until_the_others_fit_and_are_refused_for_a_minute() {
        let mut wishes = Wishes::default();
        let [a, b, c] = [0, 1, 2].map(|n| wishes.get(&expression(n), Client::default()).unwrap());
        for _ in 0..100 {
            second(&mut wishes, &[(&a, 1_000, 9_000_000), (&b, 1_000, 11_000_000)]);
        }
        assert!(!a.is_ended() && !b.is_ended(), "together they take 19,600 steps in a millisecond");
        let mut seconds = 0;
        while !b.is_ended() {
            second(
                &mut wishes,
                &[(&a, 1_000, 9_000_000), (&b, 1_000, 11_000_000), (&c, 1_000, 2_000_000)],
            );
            seconds += 1;
            assert!(seconds < 20);
        }
        assert!(!a.is_ended() && !c.is_ended());
        assert_eq!(wishes.get(&expression(1), Client::default()).unwrap_err(), NoFilter::TooCostly);
        assert!(wishes.get(&expression(0), Client::default()).is_ok());
        drop(b);
        (1..REFUSED_FOR).for_each(|_| second(&mut wishes, &[]));
        assert!(wishes.get(&expression(1), Client::default()).is_err());
        second(&mut wishes, &[]);
        assert!(!wishes.get(&expression(1), Client::default()).unwrap().is_ended());
    }

    fn network(last: u8) -> Option<Network> {
        Some(Network::from(IpAddr::from([192, 0, 2, last])))
    }

    /// Lets a client have a wish.
    fn hold(wishes: &mut Wishes, n: usize, client: Client) -> Result<Holder, NoFilter> {
        let wish = wishes.get(&expression(n), client)?;
        Ok(Holder::new(&wish, client))
    }

    #[test]
    fn a_socket_and_an_address_have_a_part_and_whoever_comes_from_elsewhere_finds_room() {
        let mut wishes = Wishes::default();
        let client = |last, socket| Client { network: network(last), socket: Some(socket) };
        let mut held = Vec::new();
        let mut last = None;
        for n in 0..MAX_FILTERS {
            // As many sockets as it likes.
            match hold(&mut wishes, n, client(1, (n / MAX_OF_SOCKET) as u64)) {
                Ok(holder) => held.push(holder),
                Err(none) => last = Some(none),
            }
        }
        assert_eq!((held.len(), last), (MAX_OF_ADDRESS, Some(NoFilter::TooManyOfAddress)));
        let of_socket = |wishes: &mut Wishes, n| hold(wishes, n, client(2, 9));
        for n in 100..100 + MAX_OF_SOCKET {
            held.push(of_socket(&mut wishes, n).unwrap());
        }
        assert_eq!(of_socket(&mut wishes, 200).unwrap_err(), NoFilter::TooManyOfSocket);
        assert!(of_socket(&mut wishes, 0).is_ok(), "what is there already is everybody's");
        assert_eq!(hold(&mut wishes, 200, client(3, 10)).unwrap_err(), NoFilter::TooMany);
        drop(held.pop());
        assert!(of_socket(&mut wishes, 200).is_ok(), "what nobody has any more is given back");
    }

    #[test]
    fn what_a_client_has_given_back_counts_no_more_though_others_have_it() {
        for [first, second] in [
            [1, 2].map(|socket| Client { network: None, socket: Some(socket) }),
            [1, 2].map(|last| Client { network: network(last), socket: None }),
        ] {
            let most = if first.socket.is_some() { MAX_OF_SOCKET } else { MAX_OF_ADDRESS };
            let mut wishes = Wishes::default();
            let mut all = |client| {
                (0..most).map(|n| hold(&mut wishes, n, client).unwrap()).collect::<Vec<_>>()
            };
            let (of_first, twice, of_second) = (all(first), all(first), all(second));
            let mut more = |client| hold(&mut wishes, 100, client).is_ok();
            assert!(!more(first) && !more(second), "each has its part");
            drop(of_first);
            assert!(!more(first), "it has them once more");
            drop(twice);
            assert!(more(first), "it has none of them");
            assert!(!more(second), "who has taken them over has them");
            drop(of_second);
            assert!(more(second));
        }
    }
}
