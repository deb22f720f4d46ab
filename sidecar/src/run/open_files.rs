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
            needed = needed(connections),
            connections,
            "{}",
            said(limit, connections)
        );
    }
}

const fn needed(connections: u64) -> u64 {
    connections.saturating_add(OTHERS)
}

/// What the limit is, what it should be, and what to do about it.
fn said(limit: u64, connections: u64) -> String {
    let (needed, fit) = (needed(connections), limit.saturating_sub(OTHERS));
    format!(
        "the process may have {limit} files open, and needs {needed}: {connections} for the connections that the \
         pipelines' delivery.maxConnections add up to, and {OTHERS} for everything else. It has raised its soft limit to \
         the hard one already; so raise the hard limit before it starts (ulimit -Hn {needed} in the shell as root, \
         LimitNOFILE={needed} in a unit of systemd, --ulimit nofile={needed} of a container engine; on Kubernetes that \
         of the node's container runtime), or lower maxConnections to {fit} in all: beyond it connections are not \
         accepted until others end"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_says_what_there_is_what_is_needed_and_what_fits() {
        let said = said(1_024, 10_000);
        for part in ["have 1024 files", "needs 10256", "LimitNOFILE=10256", "to 768 in all"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
