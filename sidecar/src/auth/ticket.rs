//! Issues tickets: short texts that open one stream each, for clients that can send no token.
//!
//! # Laws
//!
//! - A ticket can't be guessed, is good for one use and a short time, and says nothing by itself: what it
//!   stands for lies here.
//! - Whoever shows it first has it; if that leads to no stream, it is as good as before. So of two who show it at
//!   once, one gets in at most.
//! - There are boundedly many, and of one subject a part of them; those that are used or too old make room.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;

use super::{Verified, refusal::Refusal, secret::Secret};

/// The most tickets that wait to be used. At 30 s for each, these are hundreds of new subscribers in
/// every second.
const MOST: usize = 16 * 1024;

/// The most of one subject: enough for all its devices, and one can't take them from all others.
const MOST_OF_SUBJECT: u32 = 1024;

/// How many random bytes a ticket has.
const BYTES: usize = 32;

type Number = [u8; BYTES];

/// The tickets of a pipeline that wait to be used.
#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<Waiting>);

/// One that waits to be used.
struct Ticket {
    until: Instant,
    verified: Verified,
    /// Whether somebody is about to use it.
    taken: bool,
}

/// A ticket that somebody is about to use: until it is spent, its drop gives it back.
#[derive(Debug)]
pub(super) struct Taken {
    tickets: Arc<Tickets>,
    number: Number,
}

#[derive(Default)]
struct Waiting {
    tickets: HashMap<Number, Ticket>,
    /// The tickets in the order in which they were issued, with the ends of their times.
    order: VecDeque<(Instant, Number)>,
    /// How many there are of each subject.
    of_subject: HashMap<String, u32>,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("tickets", &self.tickets.len()).finish_non_exhaustive()
    }
}

impl Tickets {
    /// Issues a ticket for what a token has shown.
    pub(super) fn issue(
        &self,
        verified: Verified,
        ttl: Duration,
        now: Instant,
    ) -> Result<Secret, Refusal> {
        let mut number = Number::default();
        // It fails where the system has no randomness: then there is no ticket, rather than a weak one.
        aws_lc_rs::rand::fill(&mut number).map_err(|_| Refusal::Full)?;
        let mut waiting = self.0.lock();
        waiting.forget_old(now);
        if waiting.is_full() || !waiting.enter(verified.claims.subject()) {
            return Err(Refusal::Full);
        }
        waiting.tickets.insert(number, Ticket { until: now + ttl, verified, taken: false });
        waiting.order.push_back((now + ttl, number));
        Ok(Secret::from(URL_SAFE_NO_PAD.encode(number)))
    }

    /// Takes a ticket.
    pub(super) fn take(
        self: &Arc<Self>,
        ticket: &Secret,
        now: Instant,
    ) -> Result<(Verified, Taken), Refusal> {
        let mut number = Number::default();
        let length = URL_SAFE_NO_PAD.decode_slice(ticket.reveal(), &mut number);
        if length != Ok(BYTES) {
            return Err(Refusal::Ticket);
        }
        let mut waiting = self.0.lock();
        let Ticket { until, verified, taken } =
            waiting.tickets.get_mut(&number).filter(|one| !one.taken).ok_or(Refusal::Ticket)?;
        if now >= *until {
            waiting.remove(&number);
            return Err(Refusal::Ticket);
        }
        *taken = true;
        Ok((verified.clone(), Taken { tickets: Arc::clone(self), number }))
    }
}

impl Taken {
    /// Uses the ticket up.
    pub(super) fn spend(self) {
        self.tickets.0.lock().remove(&self.number);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // It is gone where it was spent, or too old meanwhile.
        if let Some(ticket) = self.tickets.0.lock().tickets.get_mut(&self.number) {
            ticket.taken = false;
        }
    }
}

impl Waiting {
    fn forget_old(&mut self, now: Instant) {
        while let Some((_, number)) = self.order.front().copied().filter(|(until, _)| *until <= now)
        {
            self.order.pop_front();
            self.remove(&number);
        }
    }

    /// Whether there are as many as may be. Those that were used make room, once they are half of them: so they
    /// are looked at seldom.
    fn is_full(&mut self) -> bool {
        let Self { tickets, order, of_subject: _ } = self;
        if order.len() >= MOST && tickets.len() <= MOST / 2 {
            order.retain(|(_, number)| tickets.contains_key(number));
        }
        order.len() >= MOST
    }

    /// Adds one of a subject, unless it has as many as it may. A token may be about nobody.
    fn enter(&mut self, subject: Option<&str>) -> bool {
        let Some(subject) = subject else { return true };
        let count = self.of_subject.entry(subject.to_owned()).or_default();
        let free = *count < MOST_OF_SUBJECT;
        *count += u32::from(free);
        free
    }

    fn remove(&mut self, number: &Number) {
        let removed = self.tickets.remove(number);
        let Some(Ticket { until: _, verified, taken: _ }) = removed else { return };
        if let Some(subject) = verified.claims.subject()
            && let Some(count) = self.of_subject.get_mut(subject)
        {
            *count -= 1;
            if *count == 0 {
                self.of_subject.remove(subject);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::auth::claims::Claims;

    const TTL: Duration = Duration::from_secs(30);

    fn verified() -> Verified {
        Verified { claims: Arc::new(Claims::default()), until: SystemTime::UNIX_EPOCH }
    }

    /// Uses a ticket.
    fn redeem(tickets: &Arc<Tickets>, ticket: &Secret, now: Instant) -> Result<Verified, Refusal> {
        let (verified, taken) = tickets.take(ticket, now)?;
        taken.spend();
        Ok(verified)
    }

    #[test]
    fn a_ticket_is_good_once_and_for_its_time() {
        let (tickets, now) = (Arc::<Tickets>::default(), Instant::now());
        let [a, b] = [(); 2].map(|()| tickets.issue(verified(), TTL, now).unwrap());
        assert_ne!(a, b);
        assert_eq!(a.reveal().len(), 43);
        assert_eq!(redeem(&tickets, &a, now).map(|v| v.until), Ok(SystemTime::UNIX_EPOCH));
        assert_eq!(redeem(&tickets, &a, now).map(drop), Err(Refusal::Ticket));
        assert_eq!(redeem(&tickets, &b, now + TTL).map(drop), Err(Refusal::Ticket));
        assert_eq!(redeem(&tickets, &b, now).map(drop), Err(Refusal::Ticket), "it was tried");
    }

    #[test]
    fn a_ticket_that_opened_nothing_is_as_good_as_before_and_one_at_a_time_has_it() {
        let (tickets, now) = (Arc::<Tickets>::default(), Instant::now());
        let ticket = tickets.issue(of("a"), TTL, now).unwrap();
        for _ in 0..3 {
            let (_, taken) = tickets.take(&ticket, now).unwrap();
            assert_eq!(tickets.take(&ticket, now).map(drop), Err(Refusal::Ticket), "it is taken");
            drop(taken);
        }
        let (_, taken) = tickets.take(&ticket, now).unwrap();
        // It grows too old meanwhile, and makes room.
        tickets.issue(of("b"), TTL, now + TTL).unwrap();
        drop(taken);
        assert!(tickets.take(&ticket, now + TTL).is_err());
        assert_eq!(tickets.0.lock().tickets.len(), 1);
        assert_eq!(tickets.0.lock().of_subject.len(), 1);
    }

    #[test]
    fn of_many_who_show_one_ticket_at_once_one_gets_in() {
        let (tickets, now) = (Arc::<Tickets>::default(), Instant::now());
        for _ in 0..200 {
            let ticket = tickets.issue(verified(), TTL, now).unwrap();
            let entered = std::thread::scope(|scope| {
                let all = [(); 4].map(|()| scope.spawn(|| redeem(&tickets, &ticket, now).is_ok()));
                all.map(|one| one.join().unwrap())
            });
            assert_eq!(entered.iter().filter(|entered| **entered).count(), 1);
        }
    }

    #[test]
    fn what_is_no_ticket_is_refused() {
        let tickets = Arc::<Tickets>::default();
        let long = "A".repeat(44);
        for text in ["", "abc", "not base64!", &long, &"A".repeat(43)] {
            let redeemed = redeem(&tickets, &Secret::from(text), Instant::now());
            assert_eq!(redeemed.map(drop), Err(Refusal::Ticket), "{text}");
        }
    }

    #[test]
    fn there_are_boundedly_many_and_old_ones_make_room() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        for _ in 0..MOST {
            tickets.issue(verified(), TTL, now).unwrap();
        }
        assert_eq!(tickets.issue(verified(), TTL, now), Err(Refusal::Full));
        assert!(tickets.issue(verified(), TTL, now + TTL).is_ok());
        assert_eq!(tickets.0.lock().tickets.len(), 1);
    }

    fn of(subject: &str) -> Verified {
        let claims = serde_json::json!({ "sub": subject });
        let claims = Arc::new(Claims::new(claims.as_object().unwrap().clone()));
        Verified { claims, until: SystemTime::UNIX_EPOCH }
    }

    #[test]
    fn one_subject_does_not_take_the_tickets_of_all_others() {
        let (tickets, now) = (Arc::<Tickets>::default(), Instant::now());
        let issue = |subject: &str, now| tickets.issue(of(subject), TTL, now);
        let first = issue("a", now).unwrap();
        (1..MOST_OF_SUBJECT).for_each(|_| drop(issue("a", now).unwrap()));
        assert_eq!(issue("a", now), Err(Refusal::Full));
        assert!(issue("b", now).is_ok());
        redeem(&tickets, &first, now).unwrap();
        assert!(issue("a", now).is_ok(), "one is used");
        assert!(issue("a", now).is_err() && issue("a", now + TTL).is_ok());
        assert_eq!(tickets.0.lock().of_subject.len(), 1);
    }

    #[test]
    fn tickets_that_were_used_make_room() {
        let (tickets, now) = (Arc::<Tickets>::default(), Instant::now());
        for _ in 0..2 * MOST {
            let ticket = tickets.issue(verified(), TTL, now).unwrap();
            redeem(&tickets, &ticket, now).unwrap();
        }
        assert!(tickets.0.lock().order.len() <= MOST);
    }
}
