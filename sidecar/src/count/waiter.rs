//! Whoever waits by a request for what is not there yet.
//!
//! Law: it takes the place of a connection, as a subscriber does, among those of its pipeline and of its client; but
//! no delivery is due to it, so it counts as no subscriber.

use std::sync::{Arc, atomic::Ordering};

use super::{Accounts, Network, NoSeat};

/// A place among a pipeline's connections, given back when dropped.
#[derive(Debug)]
pub struct Waiter {
    accounts: Arc<Accounts>,
    /// Among whose connections it counts, where these are bounded.
    network: Option<Network>,
}

impl Waiter {
    /// Takes a place, unless `limit` are taken, or the client has as many as it may.
    ///
    /// # Errors
    ///
    /// Fails where there is none.
    pub fn take(
        accounts: &Arc<Accounts>,
        limit: u64,
        of_network: Option<(Network, u64)>,
    ) -> Result<Self, NoSeat> {
        accounts.take_place(limit, of_network)?;
        accounts.waiting.fetch_add(1, Ordering::Relaxed);
        let network = of_network.map(|(network, _)| network);
        Ok(Self { accounts: Arc::clone(accounts), network })
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.accounts.waiting.fetch_sub(1, Ordering::Relaxed);
        self.accounts.give_back(self.network);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::count::{Seat, Transport};

    #[test]
    fn who_waits_takes_the_place_of_a_subscriber_and_is_none() {
        let accounts = Arc::new(Accounts::new(1));
        let network = Network::from(IpAddr::from([192, 0, 2, 1]));
        let waiter = Waiter::take(&accounts, 2, Some((network, 1))).unwrap();
        assert_eq!(accounts.subscribers().sse, 0);
        let crowded = Waiter::take(&accounts, 2, Some((network, 1))).unwrap_err();
        assert_eq!(crowded, NoSeat::Crowded { limit: 1 });
        let seat = Seat::take(&accounts, Transport::Sse, 2).unwrap();
        assert_eq!(Waiter::take(&accounts, 2, None).unwrap_err(), NoSeat::Full { limit: 2 });
        assert!(Seat::take(&accounts, Transport::Sse, 2).is_err());
        drop(waiter);
        drop(seat);
        assert!(Seat::take_of(&accounts, Transport::Sse, 2, Some((network, 1))).is_ok());
        assert_eq!(accounts.waiting(), 0);
    }
}
