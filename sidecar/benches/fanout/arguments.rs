//! The command line.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand, value_parser};

use crate::{payload, transport::Transport};

/// The program that Cargo builds beside this one.
const BUILT_BESIDE: &str = env!("CARGO_BIN_EXE_weir-sidecar");

/// Measures what one delivery costs the sidecar, beside a floor: a server that only writes.
#[derive(Debug, Parser)]
#[command(name = "fanout", args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    /// What this process is, if not the load generator.
    #[command(subcommand)]
    pub(crate) mode: Option<Mode>,
    /// What to measure.
    #[command(flatten)]
    pub(crate) plan: Plan,
    /// `cargo bench` adds this to every benchmark's arguments.
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}

/// The processes that the load generator starts out of this very program.
#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Be the floor.
    #[command(hide = true)]
    Floor {
        /// Where to listen.
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Keep to a core, end with the parent, and become another program.
    #[command(hide = true)]
    Launch {
        /// The core.
        #[arg(long)]
        core: Option<usize>,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

/// What to measure, and what it is held to.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Plan {
    /// How many subscribers each server has. They share one address, so the ports of this machine
    /// bound them.
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=20_000))]
    pub(crate) subscribers: u32,
    /// How many events are published a second.
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: u32,
    /// For how long, in each run.
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// How often each server is measured for each transport.
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// The size of an event's payload in bytes.
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u32).range(payload::MIN..=payload::MAX))]
    pub(crate) bytes: u32,
    /// The transports, one after the other.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Transport::Sse, Transport::WebSocket])]
    pub(crate) transports: Vec<Transport>,
    /// The `weir-sidecar` program.
    #[arg(long, value_name = "PATH", default_value = BUILT_BESIDE)]
    pub(crate) server: PathBuf,
    /// The bar: how many times the floor's CPU a delivery may cost.
    #[arg(long, value_name = "TIMES", default_value_t = 2.0)]
    pub(crate) max_ratio: f64,
    /// The bar: how many KiB of memory an idle subscriber may cost.
    #[arg(long, value_name = "KIB", default_value_t = 24.0)]
    pub(crate) max_kib: f64,
}
