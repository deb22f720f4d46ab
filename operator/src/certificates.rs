//! The webhook's certificate: made here, kept in a Secret, renewed while both the old and the new are
//! trusted.
//!
//! # Laws
//!
//! - Only the leader writes. Every replica, the leader too, serves what it reads from the Secret.
//! - A certificate is signed only by an authority that the API server has been told of for a while, and
//!   an authority is dropped only once it has expired. So no moment has a certificate that the API
//!   server would not trust, but for the very first.
//! - A Secret that holds a valid certificate is not written.
//! - Where somebody else makes the certificate, and mounts it, nothing is written at all.

mod bundle;
mod inspect;
mod issue;
mod keeper;
mod lives;
mod loader;
mod material;
mod metrics;
mod mounted;
mod plan;
mod trust;

pub use self::keeper::{Keeper, KeeperError};
pub use self::lives::{Lives, LivesError};
pub use self::loader::{Certificate, load};
pub use self::metrics::CertificateMetrics;
pub use self::mounted::follow;
pub use self::trust::{await_trust, has_authorities};

/// The DNS names under which the API server reaches a Service.
#[must_use]
pub fn dns_names(service: &str, namespace: &str) -> Vec<String> {
    vec![format!("{service}.{namespace}.svc"), format!("{service}.{namespace}.svc.cluster.local")]
}
