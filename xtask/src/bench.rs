//! `cargo xtask bench`: measures, and holds the figures to bars.
//!
//! What is measured are the programs as they ship: built by themselves, and not as Cargo builds them
//! beside a benchmark, whose own dependencies may switch on features of theirs.

use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;

use crate::cargo::{self, cargo};
use crate::command;

/// The most that a measurement takes besides the time it measures: to start, connect, settle and warm
/// up a server, and every wait for what doesn't come.
const OVERHEAD: Duration = Duration::from_secs(90);

/// The floor and the sidecar, each over SSE and over WebSocket.
const MEASUREMENTS: u32 = 4;

/// The benchmarks.
#[derive(Debug, Subcommand)]
pub(crate) enum Benchmark {
    /// CPU time per delivery and memory per idle subscriber, beside a server that only writes
    Fanout(Fanout),
}

/// What `fanout` measures.
#[derive(Debug, clap::Args)]
pub(crate) struct Fanout {
    /// How many subscribers each server has
    #[arg(long, default_value_t = 1_000)]
    subscribers: u32,
    /// How many events are published a second
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// For how long, in each run
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// How often each server is measured for each transport
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// The size of an event's payload in bytes
    #[arg(long, default_value_t = 256)]
    bytes: u32,
    /// Further options of the benchmark itself; see `-- --help`
    #[arg(last = true)]
    further: Vec<String>,
}

/// Runs a benchmark.
///
/// # Errors
/// When something cannot be built, a bar is missed, or nothing could be measured.
pub(crate) fn command(benchmark: &Benchmark) -> Result<()> {
    match benchmark {
        Benchmark::Fanout(options) => fanout(options),
    }
}

fn fanout(options: &Fanout) -> Result<()> {
    let Fanout { subscribers, rate, seconds, rounds, bytes, further } = options;
    // The sidecar last: the benchmark's build puts its own one in the same place.
    let bench = ["--no-run", "--package", "weir-sidecar", "--bench", "fanout"];
    let bench = cargo::build(cargo("bench").args(bench))?;
    let sidecar = cargo::build(cargo("build").args(["--release", "--package", "weir-sidecar"]))?;
    let mut run = command::tool(cargo::program(&bench, "fanout")?);
    run.arg("--server").arg(cargo::program(&sidecar, "weir-sidecar")?);
    for (option, value) in [
        ("--subscribers", subscribers),
        ("--rate", rate),
        ("--seconds", seconds),
        ("--rounds", rounds),
        ("--bytes", bytes),
    ] {
        run.args([option, &value.to_string()]);
    }
    let each = OVERHEAD + Duration::from_secs((*seconds).into());
    let limit = each.saturating_mul(rounds.saturating_mul(MEASUREMENTS));
    command::stream(run.args(further), limit)
}
