//! How many files the process may have open: a connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// What is open beside the subscribers' connections: listeners, logs, the application's connections, and
/// handshakes.
const OTHERS: u64 = 256;

/// Takes as many as the system grants. Returns how many; `None` where they are not bounded.
pub(super) fn raise() -> Option<u64> {
    let Rlimit { current: _, maximum } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "can't raise the number of files that the process may open");
    }
    getrlimit(Resource::Nofile).current
}

/// Warns where the pipelines promise more connections than there may be files.
pub(super) fn check(config: &Config, limit: Option<u64>) {
    let most = config.pipelines.values().map(|pipeline| pipeline.spec.delivery.max_connections);
    let connections = most.filter_map(|most| u64::try_from(most).ok()).sum();
    if let Some(limit) = limit.filter(|limit| *limit < needed(connections)) {
        tracing::warn!(
            limit,
            connections,
            "the process may open {limit} files, and the pipelines' delivery.maxConnections add up to \
             {connections} connections: raise the hard limit (ulimit -Hn, LimitNOFILE), or lower \
             maxConnections"
        );
    }
}

const fn needed(connections: u64) -> u64 {
    connections.saturating_add(OTHERS)
}
