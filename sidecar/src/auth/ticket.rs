//! Issues tickets: short texts that open one stream each, for clients that can send no token.
//!
//! # Laws
//!
//! - A ticket can't be guessed, is good for one use and a short time, and says nothing by itself: what it
//!   stands for lies here.
//! - There are boundedly many, and of one subject a part of them; those that are used or too old make room.

use std::{
    collections::{HashMap, VecDeque},
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

#[derive(Default)]
struct Waiting {
    tickets: HashMap<Number, (Instant, Verified)>,
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
        waiting.tickets.insert(number, (now + ttl, verified));
        waiting.order.push_back((now + ttl, number));
        Ok(Secret::from(URL_SAFE_NO_PAD.encode(number)))
    }

    /// Takes a ticket, which is used by this.
    pub(super) fn redeem(&self, ticket: &Secret, now: Instant) -> Result<Verified, Refusal> {
        let mut number = Number::default();
        let length = URL_SAFE_NO_PAD.decode_slice(ticket.reveal(), &mut number);
        if length != Ok(BYTES) {
            return Err(Refusal::Ticket);
        }
        let (until, verified) = self.0.lock().remove(&number).ok_or(Refusal::Ticket)?;
        if now < until { Ok(verified) } else { Err(Refusal::Ticket) }
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

    fn remove(&mut self, number: &Number) -> Option<(Instant, Verified)> {
        let (until, verified) = self.tickets.remove(number)?;
        if let Some(subject) = verified.claims.subject()
            && let Some(count) = self.of_subject.get_mut(subject)
        {
            *count -= 1;
            if *count == 0 {
                self.of_subject.remove(subject);
            }
        }
        Some((until, verified))
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::SystemTime};

    use super::*;
    use crate::auth::claims::Claims;

    const TTL: Duration = Duration::from_secs(30);

    fn verified() -> Verified {
        Verified { claims: Arc::new(Claims::default()), until: SystemTime::UNIX_EPOCH }
    }

    #[test]
    fn a_ticket_is_good_once_and_for_its_time() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let [a, b] = [(); 2].map(|()| tickets.issue(verified(), TTL, now).unwrap());
        assert_ne!(a, b);
        assert_eq!(a.reveal().len(), 43);
        assert_eq!(tickets.redeem(&a, now).map(|v| v.until), Ok(SystemTime::UNIX_EPOCH));
        assert_eq!(tickets.redeem(&a, now).map(drop), Err(Refusal::Ticket));
        assert_eq!(tickets.redeem(&b, now + TTL).map(drop), Err(Refusal::Ticket));
        assert_eq!(tickets.redeem(&b, now).map(drop), Err(Refusal::Ticket), "it was tried");
    }

    #[test]
    fn what_is_no_ticket_is_refused() {
        let tickets = Tickets::default();
        let long = "A".repeat(44);
        for text in ["", "abc", "not base64!", &long, &"A".repeat(43)] {
            let redeemed = tickets.redeem(&Secret::from(text), Instant::now());
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
        let (tickets, now) = (Tickets::default(), Instant::now());
        let issue = |subject: &str, now| tickets.issue(of(subject), TTL, now);
        let first = issue("a", now).unwrap();
        (1..MOST_OF_SUBJECT).for_each(|_| drop(issue("a", now).unwrap()));
        assert_eq!(issue("a", now), Err(Refusal::Full));
        assert!(issue("b", now).is_ok());
        tickets.redeem(&first, now).unwrap();
        assert!(issue("a", now).is_ok(), "one is used");
        assert!(issue("a", now).is_err() && issue("a", now + TTL).is_ok());
        assert_eq!(tickets.0.lock().of_subject.len(), 1);
    }

    #[test]
    fn tickets_that_were_used_make_room() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        for _ in 0..2 * MOST {
            let ticket = tickets.issue(verified(), TTL, now).unwrap();
            tickets.redeem(&ticket, now).unwrap();
        }
        assert!(tickets.0.lock().order.len() <= MOST);
    }
}
