//! Prepares the machine: a core for the server and another for the load generator, and enough files.

use std::fmt;

use anyhow::{Context as _, Result, bail};
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// What a process opens besides its subscribers' sockets; with room to spare.
const OTHER_FILES: u64 = 64;

/// Which cores are used.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cores {
    /// One each.
    Apart {
        /// The server's.
        server: usize,
        /// The load generator's.
        client: usize,
    },
    /// This process may run on one core only.
    Shared,
}

impl Cores {
    /// The first two cores that this process may run on.
    pub(crate) fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("can't tell which cores may be used")?;
        let mut allowed = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
        Ok(match (allowed.next(), allowed.next()) {
            (Some(server), Some(client)) => Self::Apart { server, client },
            _ => Self::Shared,
        })
    }

    /// The server's core.
    pub(crate) const fn server(self) -> Option<usize> {
        match self {
            Self::Apart { server, client: _ } => Some(server),
            Self::Shared => None,
        }
    }

    /// Keeps this thread, and those it starts, to the load generator's core.
    pub(crate) fn keep_to_the_client(self) -> Result<()> {
        match self {
            Self::Apart { server: _, client } => keep_to(client),
            Self::Shared => Ok(()),
        }
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apart { server, client } => {
                write!(f, "server on core {server}, load generator on core {client}")
            }
            Self::Shared => f.write_str(
                "server and load generator share one core, because this process may use no other: \
                 the latencies are those of both, and the ratios are rough",
            ),
        }
    }
}

/// Keeps this thread, and those it starts, to a core.
pub(crate) fn keep_to(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("can't keep to core {core}"))
}

/// Allows this process and those it starts as many open files as they need.
pub(crate) fn allow_open_files(subscribers: u32) -> Result<()> {
    let needed = u64::from(subscribers) + OTHER_FILES;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if maximum.is_some_and(|maximum| maximum < needed) {
        bail!(
            "{subscribers} subscribers need {needed} open files, and this process may have {} at \
             most: raise the hard limit (ulimit -Hn), or ask for fewer by --subscribers",
            maximum.unwrap_or_default()
        );
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum })
        .context("can't raise the limit of open files")
}
