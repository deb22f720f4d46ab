//! Holds a refusal for a moment, until a seat is given back.
//!
//! A client that leaves is known to be gone when the end of its connection has come, and where it might still listen
//! one round trip later. One that comes back at once, as a page that is loaded anew does, is there before that.
//!
//! Law: few are held, and each for a bounded time; so whoever asks for too much is refused as before.

use std::{pin::pin, time::Duration};

use tokio::{sync::Semaphore, time};

use crate::count::{Accounts, NoSeat, Seat};

/// How long a refusal is held: longer than a round trip to the far side of the world takes.
const MOMENT: Duration = Duration::from_secs(1);

/// How many refusals are held at once.
const HELD: usize = 64;

/// Those who wait for a seat.
#[derive(Debug)]
pub(super) struct Vacancies {
    places: Semaphore,
}

impl Default for Vacancies {
    fn default() -> Self {
        Self { places: Semaphore::new(HELD) }
    }
}

impl Vacancies {
    /// Takes a seat as soon as there is one, or says after a moment why there is none.
    pub(super) async fn wait_for(
        &self,
        accounts: &Accounts,
        take: impl Fn() -> Result<Seat, NoSeat>,
    ) -> Result<Seat, NoSeat> {
        let Ok(_place) = self.places.try_acquire() else { return take() };
        let taken = async {
            loop {
                let mut given_back = pin!(accounts.vacated());
                // Before the look, so that none is missed.
                given_back.as_mut().enable();
                if let Ok(seat) = take() {
                    return seat;
                }
                given_back.await;
            }
        };
        match time::timeout(MOMENT, taken).await {
            Ok(seat) => Ok(seat),
            Err(_) => take(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::count::Transport;

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_seat_gets_one_that_is_given_back_in_time_and_is_refused_after_it() {
        let (vacancies, accounts) = (Vacancies::default(), Arc::new(Accounts::new(1)));
        let take = || Seat::take(&accounts, Transport::Sse, 1);
        let first = take().unwrap();
        let leave = async {
            time::sleep(MOMENT / 2).await;
            drop(first);
        };
        let (second, ()) = tokio::join!(vacancies.wait_for(&accounts, take), leave);
        let second = second.unwrap();
        let begun = time::Instant::now();
        let third = vacancies.wait_for(&accounts, take).await;
        assert_eq!((third.unwrap_err(), begun.elapsed()), (NoSeat::Full { limit: 1 }, MOMENT));
        drop(second);
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_a_few_are_refused_at_once() {
        let (vacancies, accounts) = (Vacancies::default(), Arc::new(Accounts::new(1)));
        let take = || Seat::take(&accounts, Transport::Sse, 1);
        let _seat = take().unwrap();
        let many = (0..2 * HELD).map(|_| async {
            let begun = time::Instant::now();
            assert!(vacancies.wait_for(&accounts, take).await.is_err());
            begun.elapsed()
        });
        let waited = futures::future::join_all(many).await;
        assert_eq!(waited.iter().filter(|waited| **waited == MOMENT).count(), HELD);
        assert_eq!(waited.iter().filter(|waited| waited.is_zero()).count(), HELD);
    }
}
