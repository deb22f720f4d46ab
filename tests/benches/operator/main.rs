//! Measures the operator as it ships against a real API server, and holds it to bars.
//!
//! - [`scale`]: hundreds of pipelines and SLOs from nothing, and again when nothing is to be done.
//! - [`kills`]: killed at random moments, it comes to the same end as one that was left alone.
//! - [`takeover`]: how soon another replica leads when the leader is killed.
//! - [`outage`]: how soon it goes on when the API server and its store were killed.
//!
//! `cargo xtask bench operator` builds it, starts a control plane without nodes, and runs this. Bars are in
//! seconds and bytes because a user waits seconds; they leave room for a slow machine.

#![allow(
    clippy::indexing_slicing,
    reason = "of a JSON value, which has null where there is nothing"
)]

mod fleet;
mod kills;
mod operator;
mod outage;
mod report;
mod scale;
mod takeover;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use weir_tests::{Cluster, definitions};

use crate::report::Report;

/// Measures the operator.
#[derive(Debug, Parser)]
#[command(name = "operator")]
struct Arguments {
    /// The program that is measured
    #[arg(long)]
    operator: PathBuf,
    /// What is measured; everything when there is none
    measures: Vec<Measure>,
    /// How many pipelines there are, and how many SLOs
    #[arg(long, default_value_t = 500)]
    objects: usize,
    /// How often the operator is killed
    #[arg(long, default_value_t = 20)]
    kills: usize,
    /// Cargo passes this to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Measure {
    Scale,
    Kills,
    Takeover,
    Outage,
}

/// What every measure is given.
struct Bench {
    cluster: Cluster,
    operator: PathBuf,
    objects: usize,
    kills: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: Arguments) -> Result<bool> {
    let Arguments { operator, measures, objects, kills, bench: _ } = arguments;
    let bench = Bench { cluster: Cluster::connect().await?, operator, objects, kills };
    definitions::install(&bench.cluster).await?;
    let wanted = |measure| measures.is_empty() || measures.contains(&measure);
    let mut report = Report::default();
    if wanted(Measure::Scale) {
        scale::measure(&bench, &mut report).await?;
    }
    if wanted(Measure::Kills) {
        kills::measure(&bench, &mut report).await?;
    }
    if wanted(Measure::Takeover) {
        takeover::measure(&bench, &mut report).await?;
    }
    // Last: where it fails, the cluster may be of no use to the others.
    if wanted(Measure::Outage) {
        outage::measure(&bench, &mut report).await?;
    }
    Ok(report.passed())
}
