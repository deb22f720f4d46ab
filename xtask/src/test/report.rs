//! Tells how the stages went: a line for each when it ends, and all of them at the end.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use super::tally::Tally;
use crate::interrupt;

/// What became of the stages so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    ran: Vec<(&'static str, Duration, bool)>,
    left_out: Vec<(&'static str, String)>,
}

impl Report {
    pub(crate) fn begin(&self, stage: &str) {
        println!("=== {stage}");
    }

    pub(crate) fn end(&mut self, stage: &'static str, time: Duration, outcome: Result<()>) {
        let passed = outcome.is_ok();
        if let Err(error) = outcome {
            println!("{error:#}");
        }
        println!("--- {}", line(stage, time, passed));
        self.ran.push((stage, time, passed));
    }

    pub(crate) fn left_out(&mut self, stage: &'static str, obstacle: String) {
        println!("=== {stage}: left out");
        self.left_out.push((stage, obstacle));
    }

    /// Prints the summary, of which the counts are the last line.
    pub(crate) fn finish(self, tally: &Tally) -> ExitCode {
        let Self { ran, left_out } = self;
        let total = ran.iter().map(|(_, time, _)| *time).sum();
        println!("\nstages");
        for (stage, time, passed) in &ran {
            println!("  {}", line(stage, *time, *passed));
        }
        println!("  {:44} {}", "", seconds(total));
        for (stage, obstacle) in &left_out {
            println!("left out: {stage}: {obstacle}");
        }
        if interrupt::requested() {
            println!("interrupted");
        }
        println!("{}", tally.line());
        if interrupt::requested() {
            return ExitCode::from(interrupt::EXIT_CODE);
        }
        let all_passed = tally.failed == 0 && ran.iter().all(|(_, _, passed)| *passed);
        if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn line(stage: &str, time: Duration, passed: bool) -> String {
    format!("{stage:44} {}{}", seconds(time), if passed { "" } else { "  FAILED" })
}

fn seconds(time: Duration) -> String {
    format!("{:7.1} s", time.as_secs_f64())
}
