//! Measures what one delivery costs the sidecar, beside a floor: a server that only writes.
//!
//! The floor and the sidecar take turns on one core, and the load generator has another, so that a
//! machine's drift falls on both; what is compared are ratios. It ends with 1 where a bar is missed or
//! an event was, and with 2 where it can't measure. Run it by `cargo xtask bench fanout`.

mod arguments;
mod caller;
mod chunked;
mod floor;
mod frames;
mod http;
mod launch;
mod machine;
mod payload;
mod publisher;
mod readings;
mod report;
mod run;
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

use arguments::{Arguments, Mode, Plan};
use machine::Cores;
use report::Report;
use server::Kind;
use summary::Measurement;
use transport::Transport;

/// The code for "could not measure", which is neither a pass nor a miss.
const NOT_MEASURED: u8 = 2;

fn main() -> ExitCode {
    let Arguments { mode, plan, bench: _ } = Arguments::parse();
    let done = match mode {
        None => bench(&plan),
        Some(Mode::Floor { listen }) => floor::serve(listen).map(|never| match never {}),
        Some(Mode::Launch { core, command }) => {
            launch::launch(core, &command).map(|never| match never {})
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(NOT_MEASURED)
    })
}

fn bench(plan: &Plan) -> Result<ExitCode> {
    ensure!(plan.server.is_file(), "there is no program {}: see --server", plan.server.display());
    machine::allow_open_files(plan.subscribers)?;
    let cores = Cores::choose()?;
    cores.keep_to_the_client()?;
    let mut report = Report::new(plan, cores);
    for &transport in &plan.transports {
        let mut rounds = Vec::new();
        for round in 1..=plan.rounds {
            rounds.push(measure_both(plan, cores, transport, round)?);
        }
        report.add(transport, &rounds)?;
    }
    print!("{report}");
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One round: the floor, then the sidecar.
fn measure_both(
    plan: &Plan,
    cores: Cores,
    transport: Transport,
    round: u32,
) -> Result<[Measurement; 2]> {
    let measure = |kind| -> Result<Measurement> {
        let measurement = run::measure(plan, cores, kind, transport)?;
        eprintln!("{}", report::progress(plan, kind, transport, round, &measurement));
        Ok(measurement)
    };
    Ok([measure(Kind::Floor)?, measure(Kind::Sidecar)?])
}
