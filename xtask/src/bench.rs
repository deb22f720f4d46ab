//! `cargo xtask bench`: measures, and holds the figures to bars.
//!
//! What is measured are the programs as they ship: built by themselves, and not as Cargo builds them
//! beside a benchmark, whose own dependencies may switch on features of theirs.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::{command, workspace};

/// A cold build takes minutes; one that takes this long hangs.
const BUILD: Duration = Duration::from_secs(30 * 60);

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
    let bench = built("fanout", &["bench", "--no-run", "-p", "weir-sidecar", "--bench", "fanout"])?;
    let sidecar = built("weir-sidecar", &["build", "--release", "-p", "weir-sidecar"])?;
    let mut run = command::tool(bench);
    run.arg("--server").arg(sidecar);
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

/// Builds by `cargo`, and returns the path of the program of that name.
fn built(program: &str, arguments: &[&str]) -> Result<PathBuf> {
    command::stream(cargo().args(arguments), BUILD)?;
    // Nothing is left to build: Cargo only tells what it has.
    let told = command::succeed(cargo().args(arguments).arg("--message-format=json"), BUILD)?;
    executable(program, &told).with_context(|| format!("Cargo built no program {program}"))
}

fn cargo() -> Command {
    let mut cargo = command::tool(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace::root());
    cargo
}

/// Finds a program among Cargo's messages.
fn executable(program: &str, messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str(line).ok());
    messages.into_iter().find_map(|message: serde_json::Value| {
        let name = message.get("target")?.get("name")?.as_str()?;
        let path = message.get("executable")?.as_str()?;
        (name == program).then(|| Path::new(path).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_among_the_messages_of_cargo() {
        let messages = r#"
{"reason":"compiler-artifact","target":{"name":"weir-slo"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"fanout"},"executable":"/t/deps/fanout-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable("fanout", messages), Some(PathBuf::from("/t/deps/fanout-1")));
        assert_eq!(executable("weir-slo", messages), None);
    }
}
