//! How many connections of a pipeline each client has, told apart by their addresses.
//!
//! Law: an entry stands for at least one connection, so that the connections' bound is the table's, too.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};

use parking_lot::Mutex;

/// What is taken for one client: an IPv4 address, or the /64 of an IPv6 address, of which a single host
/// usually has all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(u128);

/// The part of an IPv6 address that tells networks apart.
const PREFIX: u128 = u128::MAX << 64;

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            // As a mapped address, which is in no network that anybody else has.
            IpAddr::V4(address) => Self(address.to_ipv6_mapped().to_bits()),
            IpAddr::V6(address) => Self(Ipv6Addr::to_bits(address) & PREFIX),
        }
    }
}

/// The connections of each.
#[derive(Debug, Default)]
pub(super) struct Addresses(Mutex<HashMap<Network, u64>>);

impl Addresses {
    /// Adds a connection, unless there are `limit` of this network.
    pub(super) fn enter(&self, network: Network, limit: u64) -> bool {
        let mut counts = self.0.lock();
        let count = counts.entry(network).or_default();
        let free = *count < limit;
        // An entry that was made for nothing can't be: the limit is at least one.
        *count += u64::from(free);
        free
    }

    /// Takes a connection away.
    pub(super) fn leave(&self, network: Network) {
        let mut counts = self.0.lock();
        let Some(count) = counts.get_mut(&network) else { return };
        *count -= 1;
        if *count == 0 {
            counts.remove(&network);
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str) -> Network {
        Network::from(address.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn an_ipv6_host_is_its_network_and_an_ipv4_host_itself() {
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1:2"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
        assert_ne!(network("::1"), network("127.0.0.1"));
    }

    #[test]
    fn a_network_has_as_many_as_it_may_and_what_is_empty_is_forgotten() {
        let addresses = Addresses::default();
        let (a, b) = (network("192.0.2.1"), network("192.0.2.2"));
        assert!(addresses.enter(a, 2) && addresses.enter(a, 2) && !addresses.enter(a, 2));
        assert!(addresses.enter(b, 2));
        addresses.leave(a);
        assert!(addresses.enter(a, 2));
        for network in [a, a, b] {
            addresses.leave(network);
        }
        assert_eq!(addresses.len(), 0);
    }
}
