//! What subscribers wish for: how much it costs over time, and what costs too much.
//!
//! # Laws
//!
//! - So many steps for each event are free: an event that is written to a socket costs about as much. What a wish
//!   takes beyond that counts.
//! - The wishes of a pipeline share a bound on what counts. When they are over it the costliest is ended, and
//!   the next, until the others fit.
//! - What was ended is refused for a while, whoever wishes for it.
//! - One client has a part of the number: those count that it was the first to wish for, until nobody has them any
//!   more. What is there already, everybody may wish for.

use std::{
    cmp::Reverse,
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{Client, MAX_FILTERS, NoFilter};
use crate::filter::Expression;

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
    /// Who was the first to wish for it.
    first: Client,
}

/// The wishes of a pipeline's subscribers.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    by_meaning: HashMap<String, Weak<Wish>>,
    /// Those that were ended, and for how many seconds more they are refused.
    refused: VecDeque<(String, u32)>,
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
    /// A wish, which counts among them until nobody has it any more.
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
        let wish = Arc::new(Wish { first: client, ..Wish::default() });
        self.by_meaning.insert(meaning, Arc::downgrade(&wish));
        Ok(wish)
    }

    /// Whether a client may wish for something that nobody else wishes for.
    fn make_way(&self, client: Client) -> Result<(), NoFilter> {
        let Client { network, socket } = client;
        let (mut of_socket, mut of_network) = (0, 0);
        for first in self.by_meaning.values().filter_map(Weak::upgrade).map(|wish| wish.first) {
            of_socket += usize::from(socket.is_some() && first.socket == socket);
            of_network += usize::from(network.is_some() && first.network == network);
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
    #[test]
    fn a_socket_and_an_address_have_a_part_and_whoever_comes_from_elsewhere_finds_room() {
        let mut wishes = Wishes::default();
        let network = |last| Some(Network::from(IpAddr::from([192, 0, 2, last])));
        let client = |last, socket| Client { network: network(last), socket: Some(socket) };
        let mut held = Vec::new();
        let mut last = None;
        for n in 0..MAX_FILTERS {
            // As many sockets as it likes.
            match wishes.get(&expression(n), client(1, (n / MAX_OF_SOCKET) as u64)) {
                Ok(wish) => held.push(wish),
                Err(none) => last = Some(none),
            }
        }
        assert_eq!((held.len(), last), (MAX_OF_ADDRESS, Some(NoFilter::TooManyOfAddress)));
        let of_socket = |wishes: &mut Wishes, n| wishes.get(&expression(n), client(2, 9));
        for n in 100..100 + MAX_OF_SOCKET {
            held.push(of_socket(&mut wishes, n).unwrap());
        }
        assert_eq!(of_socket(&mut wishes, 200).unwrap_err(), NoFilter::TooManyOfSocket);
        assert!(of_socket(&mut wishes, 0).is_ok(), "what is there already is everybody's");
        assert_eq!(wishes.get(&expression(200), client(3, 10)).unwrap_err(), NoFilter::TooMany);
        drop(held.pop());
        assert!(of_socket(&mut wishes, 200).is_ok(), "what nobody has any more is given back");
    }
}
