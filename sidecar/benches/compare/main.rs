//! Measures the sidecar beside a floor: a server that does the least that can be done.
//!
//! The floor and the sidecar take turns on one core, and the load generator has another, so that a
//! machine's drift falls on both; what is compared are ratios. It ends with 1 where a bar is missed or
//! an event was, and with 2 where it can't measure. Run it by `cargo xtask bench`.

mod arguments;
mod caller;
mod chunked;
mod floor;
mod frames;
mod http;
mod launch;
mod machine;
mod measures;
mod payload;
mod posters;
mod publisher;
mod readings;
mod report;
mod search;
mod sequence;
mod server;
mod stream;
mod subscribers;
mod summary;
mod tally;
mod transport;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;

use arguments::{Arguments, Common, Mode};
use machine::Cores;
use measures::Bench;
use report::Report;

/// The code for "could not measure", which is neither a pass nor a miss.
const NOT_MEASURED: u8 = 2;

fn main() -> ExitCode {
    let Arguments { mode, bench: _ } = Arguments::parse();
    let done = match mode {
        Mode::Floor { listen } => floor::serve(listen).map(|never| match never {}),
        Mode::Launch { core, command } => {
            launch::launch(core, &command).map(|never| match never {})
        }
        Mode::Fanout(plan) => measure(&plan.common, |bench| measures::fanout(bench, &plan)),
        Mode::Rate(plan) => measure(&plan.common, |bench| measures::rate(bench, &plan)),
        Mode::Streams(plan) => measure(&plan.common, |bench| measures::streams(bench, &plan)),
        Mode::Storm(plan) => measure(&plan.common, |bench| measures::storm(bench, &plan)),
        Mode::Stalled(plan) => measure(&plan.common, |bench| measures::stalled(bench, &plan)),
        Mode::Ingest(plan) => measure(&plan.common, |bench| measures::ingest(bench, &plan)),
        Mode::Idle(plan) => measure(&plan.common, |bench| measures::idle(bench, &plan)),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(NOT_MEASURED)
    })
}

fn measure(common: &Common, benchmark: impl FnOnce(&Bench) -> Result<Report>) -> Result<ExitCode> {
    let Common { rounds, server, transports } = common;
    ensure!(server.is_file(), "there is no program {}: see --server", server.display());
    let cores = Cores::choose()?;
    cores.keep_to_the_client()?;
    let bench = Bench {
        cores,
        program: server.canonicalize()?,
        rounds: *rounds,
        transports: transports.clone(),
    };
    let report = benchmark(&bench)?;
    print!("{report}");
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
