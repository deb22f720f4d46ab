//! Elects the replica that reconciles, by compare-and-swap on a Lease.
//!
//! # Laws
//!
//! - At most one candidate leads at any time, as long as clocks run at nearly the same speed; what the
//!   clocks show does not matter. A lease is expired for a candidate when *it* has seen no change of it
//!   for the whole duration, by its own monotonic clock (the rule of client-go).
//! - Every write replaces the very version that was read; of two candidates that write, one loses.
//! - A leader that can't renew in time stops leading before another may begin: the renewal deadline is
//!   shorter than the lease, and is measured from before the last successful request.
//! - A leader that stops of its own accord releases the lease, so that the next need not wait.

mod candidate;
mod elector;
mod store;

use std::time::Duration;

pub use self::elector::{Elector, Lost};
pub use self::store::{KubeLeases, LeaseStore, StoreError};

/// The times of an election: those of client-go's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// For how long a lease that nobody renews keeps others from leading.
    pub lease: Duration,
    /// A leader that could not renew for this long stops leading.
    pub renew: Duration,
    /// How often the lease is looked at.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}
