//! `cargo xtask test`: everything that is tested, on a machine as it is.
//!
//! Laws: a stage that this machine cannot run is left out, and the last lines say so and what it needs; a
//! stage that fails does not keep the others from running; nothing that was started is left behind,
//! whether the stages end well, badly or by an interrupt. The last line is `N passed, N failed`, counted
//! over all stages, and `, N skipped` where some were left out.

mod cluster;
mod machine;
mod program;
mod programs;
mod report;
mod stages;
mod streams;
mod tally;

pub(crate) use cluster::{ON_NODES, TestCluster};
pub(crate) use programs::Programs;

use std::process::ExitCode;
use std::time::Instant;

use machine::Machine;
use report::Report;
use stages::{STAGES, Stage};
use tally::Tally;

use crate::interrupt;

/// The arguments of `cargo xtask test`.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Leave out everything that needs a cluster
    #[arg(long)]
    quick: bool,
}

/// What the stages share.
#[derive(Debug)]
pub(crate) struct Session {
    options: Options,
    tally: Tally,
}

/// `cargo xtask test`.
pub(crate) fn command(options: Options) -> ExitCode {
    if let Err(error) = interrupt::watch() {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    let mut session = Session { options, tally: Tally::default() };
    let mut report = Report::default();
    for stage in STAGES {
        if interrupt::requested() {
            break;
        }
        run(stage, &mut session, &mut report);
    }
    report.finish(&session.tally)
}

fn run(stage: &Stage, session: &mut Session, report: &mut Report) {
    // Looked at anew: an earlier stage may have installed what was missing.
    let lacks = Machine::new(session.options.quick).lacks(stage.needs);
    if let Some(obstacle) = lacks {
        return report.left_out(stage.name, obstacle);
    }
    report.begin(stage.name);
    let (begin, failed) = (Instant::now(), session.tally.failed);
    let outcome = (stage.run)(session);
    if outcome.is_err() && session.tally.failed == failed {
        // Did not come as far as a test, or is none: counts as one, so that the last line shows it.
        session.tally.failed += 1;
    }
    report.end(stage.name, begin.elapsed(), outcome);
}
