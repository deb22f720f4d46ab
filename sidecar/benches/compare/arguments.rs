//! The command line.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand, value_parser};

use crate::{payload, server::Storage, transport::Transport};

/// The program that Cargo builds beside this one.
const BUILT_BESIDE: &str = env!("CARGO_BIN_EXE_weir-sidecar");

/// Measures the sidecar beside a floor: a server that does the least that can be done.
#[derive(Debug, Parser)]
#[command(name = "compare")]
pub(crate) struct Arguments {
    /// What to measure, or what this process is if not the load generator.
    #[command(subcommand)]
    pub(crate) mode: Mode,
    /// `cargo bench` adds this to every benchmark's arguments.
    #[arg(long, hide = true, global = true)]
    pub(crate) bench: bool,
}

/// The benchmarks, and the processes that the load generator starts out of this very program.
#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// CPU time per delivery at a modest rate.
    Fanout(Fanout),
    /// The highest rate at which subscribers still get their events in time.
    Rate(Rate),
    /// CPU time per delivery over many pipelines with few subscribers each.
    Streams(Streams),
    /// How soon subscribers that were all reset at once are back and have what they missed.
    Storm(Storm),
    /// What subscribers that don't read cost the others.
    Stalled(Stalled),
    /// How many events a second are accepted.
    Ingest(Ingest),
    /// Memory per idle subscriber.
    Idle(Idle),
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

/// What every benchmark can be told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Common {
    /// How often each server is measured.
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// The `weir-sidecar` program.
    #[arg(long, value_name = "PATH", default_value = BUILT_BESIDE)]
    pub(crate) server: PathBuf,
    /// The transports, one after the other.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Transport::Sse, Transport::WebSocket])]
    pub(crate) transports: Vec<Transport>,
}

/// What is delivered, and for how long.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Traffic {
    /// How many events are published a second.
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: u32,
    /// For how long, in each run.
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// The size of an event's payload in bytes.
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u32).range(payload::MIN..=payload::MAX))]
    pub(crate) bytes: u32,
}

/// CPU time per delivery at a modest rate.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Fanout {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) traffic: Traffic,
    /// How many subscribers each server has, one size after the other. They share one address, so
    /// the ports of this machine bound them.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 5_000], value_parser = value_parser!(u32).range(1..=20_000))]
    pub(crate) subscribers: Vec<u32>,
    /// The bar: how many times the floor's CPU a delivery may cost.
    #[arg(long, value_name = "TIMES", default_value_t = 1.15)]
    pub(crate) max_ratio: f64,
}

/// The highest rate at which subscribers still get their events in time.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Rate {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How many subscribers each server has.
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=20_000))]
    pub(crate) subscribers: u32,
    /// For how long, at each rate that is tried.
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// The size of an event's payload in bytes.
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u32).range(payload::MIN..=payload::MAX))]
    pub(crate) bytes: u32,
    /// In time is a 99th percentile of at most this many milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 50.0)]
    pub(crate) p99: f64,
    /// The bar: how many times the floor's rate.
    #[arg(long, value_name = "TIMES", default_value_t = 4.0)]
    pub(crate) min_ratio: f64,
}

/// CPU time per delivery over many pipelines with few subscribers each.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Streams {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How many events are published a second, to all pipelines in turn.
    #[arg(long, default_value_t = 400, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: u32,
    /// For how long, in each run.
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// The size of an event's payload in bytes.
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u32).range(payload::MIN..=payload::MAX))]
    pub(crate) bytes: u32,
    /// How many pipelines.
    #[arg(long, default_value_t = 200, value_parser = value_parser!(u32).range(1..=2_000))]
    pub(crate) pipelines: u32,
    /// How many subscribers each of them has.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..=1_000))]
    pub(crate) subscribers: u32,
}

/// How soon subscribers that were all reset at once are back and have what they missed.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Storm {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How many subscribers. All of them connect at once: no more than a listener's queue holds.
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=1_000))]
    pub(crate) subscribers: u32,
    /// How many events were on their way when the connections broke, and so are missed by all.
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(crate) missed: u32,
    /// At how many different places the subscribers were, one event apart, when they broke off.
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u32).range(1..=1_000))]
    pub(crate) places: u32,
    /// The size of an event's payload in bytes.
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u32).range(payload::MIN..=payload::MAX))]
    pub(crate) bytes: u32,
    /// The bar: how many times the time in which the floor has them merely connected.
    #[arg(long, value_name = "TIMES", default_value_t = 3.0)]
    pub(crate) max_ratio: f64,
}

/// What subscribers that don't read cost the others.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Stalled {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How many events are published a second.
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: u32,
    /// How many pairs of a second with and a second without them each round has. After 30 s without a
    /// byte taken, the sidecar cuts a reader off.
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u32).range(1..=10))]
    pub(crate) pairs: u32,
    /// The size of an event's payload in bytes: large, so that what doesn't read is soon full.
    #[arg(long, default_value_t = 2_048, value_parser = value_parser!(u32).range(payload::MIN..=payload::MAX))]
    pub(crate) bytes: u32,
    /// How many subscribers there are.
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=20_000))]
    pub(crate) subscribers: u32,
    /// How many of them don't read.
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u32).range(1..=1_000))]
    pub(crate) stalled: u32,
    /// The bar: how many times the 99th percentile without them.
    #[arg(long, value_name = "TIMES", default_value_t = 1.1)]
    pub(crate) max_ratio: f64,
}

/// How many events a second are accepted.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Ingest {
    #[command(flatten)]
    pub(crate) common: Common,
    /// For how long, in each run.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// The size of an event's payload in bytes.
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u32).range(payload::MIN..=payload::MAX))]
    pub(crate) bytes: u32,
    /// How many connections post, each the next as soon as the last is answered.
    #[arg(long, default_value_t = 32, value_parser = value_parser!(u32).range(1..=1_000))]
    pub(crate) connections: u32,
    /// How many events a batched post has.
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(2..=1_000))]
    pub(crate) batch: u32,
    /// Where the sidecar keeps what is posted, one after the other.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Storage::Memory])]
    pub(crate) storage: Vec<Storage>,
    /// The bar: how many events a second the disk log takes in batches, where the disk can.
    #[arg(long, value_name = "EVENTS", default_value_t = 100_000.0)]
    pub(crate) min_rate: f64,
}

/// Memory per idle subscriber.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Idle {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How many subscribers each server has, one size after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 5_000], value_parser = value_parser!(u32).range(1..=20_000))]
    pub(crate) subscribers: Vec<u32>,
    /// The bar: how many KiB of memory an idle subscriber may cost.
    #[arg(long, value_name = "KIB", default_value_t = 3.0)]
    pub(crate) max_kib: f64,
}
