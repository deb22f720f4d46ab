//! The lines printed after the start: the URLs, and commands that a reader can copy.

use crate::config::Config;

/// Where the server listens, each as `host:port` that a client on this machine can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Subscribers.
    pub public: String,
    /// Metrics.
    pub admin: String,
    /// The application.
    pub publish: String,
}

/// The lines, each ended by a line break. `origin` is what was read, such as `examples/quickstart.yaml`.
#[must_use]
pub fn banner(origin: &str, config: &Config, addresses: &Addresses) -> String {
    let _pending = (config, addresses);
    format!("{origin}\n")
}
