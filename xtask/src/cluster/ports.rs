//! Chooses the ports of a cluster on the loopback interface.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result, bail};

/// Fixes the API server's port; etcd then gets the next one.
pub(crate) const PORT_VARIABLE: &str = "WEIR_CLUSTER_PORT";

/// Below the ports that the kernel hands out to clients, and used by nothing well known.
const FIRST: u16 = 17400;
/// As many clusters as may run on one machine; a failed start of one does not use them up.
const SLOTS: u16 = 100;

/// The ports of one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) api: u16,
    pub(crate) etcd: u16,
}

impl Ports {
    /// The ports that the environment fixes, or the first free ones. Where the search begins depends on
    /// `instance`, so that two clusters that start at the same moment do not choose alike.
    ///
    /// # Errors
    /// When a fixed port is in use or malformed, or none is free.
    pub(crate) fn choose(instance: &str) -> Result<Self> {
        match std::env::var(PORT_VARIABLE) {
            Ok(fixed) if !fixed.is_empty() => Self::fixed(&fixed, free),
            Ok(_) | Err(_) => Self::search(instance, free),
        }
    }

    fn fixed(value: &str, free: impl Fn(u16) -> bool) -> Result<Self> {
        let parsed = value.parse().ok().filter(|port| (1..u16::MAX).contains(port));
        let api =
            parsed.with_context(|| format!("{PORT_VARIABLE}={value} is not a port below 65535"))?;
        let ports = Self { api, etcd: api + 1 };
        if let Some(taken) = [ports.api, ports.etcd].into_iter().find(|port| !free(*port)) {
            bail!(
                "port {taken} is in use: end what listens there, or set {PORT_VARIABLE} to another port"
            );
        }
        Ok(ports)
    }

    fn search(instance: &str, free: impl Fn(u16) -> bool) -> Result<Self> {
        let begin =
            instance.bytes().fold(0u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let slots = (0..SLOTS).map(|step| FIRST + 2 * ((begin % SLOTS + step) % SLOTS));
        let mut pairs = slots.map(|api| Self { api, etcd: api + 1 });
        pairs.find(|ports| free(ports.api) && free(ports.etcd)).with_context(|| {
            format!("no two free ports from {FIRST} on: set {PORT_VARIABLE} to a free port")
        })
    }
}

fn free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_pair_is_passed_over() {
        let first = Ports::search("weir-1", |_| true).unwrap();
        let second = Ports::search("weir-1", |port| port != first.etcd).unwrap();
        assert_ne!(first, second);
        assert!((FIRST..FIRST + 2 * SLOTS).contains(&second.api));
    }

    #[test]
    fn a_fixed_port_in_use_is_an_error_that_names_it() {
        let error = Ports::fixed("6443", |port| port != 6444).unwrap_err().to_string();
        assert!(error.contains("6444") && error.contains(PORT_VARIABLE), "{error}");
        assert_eq!(Ports::fixed("6443", |_| true).unwrap(), Ports { api: 6443, etcd: 6444 });
    }

    #[test]
    fn a_fixed_port_must_be_one() {
        for bad in ["0", "65535", "70000", "http"] {
            assert!(Ports::fixed(bad, |_| true).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_machine_without_free_ports_is_told_so() {
        assert!(Ports::search("weir-1", |_| false).is_err());
    }

    #[test]
    fn a_port_that_is_listened_on_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!free(listener.local_addr().unwrap().port()));
    }
}
