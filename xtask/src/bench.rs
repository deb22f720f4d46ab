//! `cargo xtask bench`: measures, and holds the figures to bars.
//!
//! What is measured are the programs as they ship: built by themselves, and not as Cargo builds them
//! beside a benchmark, whose own dependencies may switch on features of theirs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::cargo::{self, cargo};
use crate::test::{ON_NODES, Programs, TestCluster};
use crate::{command, images};

/// The most that one benchmark takes with its defaults, several times over.
const LIMIT: Duration = Duration::from_hours(2);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    /// Each of the others, with its defaults
    All,
    /// CPU time per delivery at 1,000 and at 5,000 subscribers
    Fanout,
    /// The highest rate of deliveries that come in time
    Rate,
    /// CPU time per delivery over many pipelines
    Streams,
    /// How soon subscribers that were all reset at once are back and caught up
    Storm,
    /// What subscribers that don't read cost the others
    Stalled,
    /// How many events a second are accepted
    Ingest,
    /// Memory per idle subscriber
    Idle,
    /// The operator against a real API server: scale, kills, takeover, outage; not among all
    Operator,
    /// Weir on two real nodes: injection, configuration, rolling update, drain; not among all
    Cluster,
}

/// The arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What to measure, beside a floor: a server that does the least that can be done
    benchmark: Benchmark,
    /// Options of the benchmark itself; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    further: Vec<String>,
}

/// Runs a benchmark, or all.
///
/// # Errors
/// When something cannot be built, a bar is missed, or nothing could be measured.
pub(crate) fn command(options: &Options) -> Result<()> {
    let Options { benchmark, further } = options;
    if *benchmark == Benchmark::Operator {
        return measure_operator(further);
    }
    if *benchmark == Benchmark::Cluster {
        return measure_on_nodes(further);
    }
    // The sidecar last: the benchmark's build puts its own one in the same place.
    let bench = ["--no-run", "--package", "weir-sidecar", "--bench", "compare"];
    let bench = cargo::build(cargo("bench").args(bench))?;
    let sidecar = cargo::build(cargo("build").args(["--release", "--package", "weir-sidecar"]))?;
    let (bench, sidecar) =
        (cargo::program(&bench, "compare")?, cargo::program(&sidecar, "weir-sidecar")?);
    let chosen = |each: &&Benchmark| {
        !matches!(**each, Benchmark::All | Benchmark::Operator | Benchmark::Cluster)
            && (*benchmark == Benchmark::All || benchmark == *each)
    };
    let mut missed = Vec::new();
    for each in Benchmark::value_variants().iter().filter(chosen) {
        if let Err(error) = run(bench, sidecar, *each, further) {
            eprintln!("error: {error:#}");
            missed.push(name(*each));
        }
    }
    if !missed.is_empty() {
        bail!("a bar was missed, or nothing could be measured, by: {}", missed.join(", "));
    }
    Ok(())
}

/// Measures the operator in a cluster without nodes that ends with the measurement.
fn measure_operator(further: &[String]) -> Result<()> {
    // What measures need not be fast; so it is built as the tests are.
    let bench = ["--no-run", "--workspace", "--all-features", "--bench", "operator"];
    let bench = cargo::build(cargo("test").args(bench))?;
    let operator = cargo::build(cargo("build").args(["--release", "--package", "weir-operator"]))?;
    let (bench, operator) =
        (cargo::program(&bench, "operator")?, cargo::program(&operator, "weir-operator")?);
    let cluster = TestCluster::api()?;
    let mut run = cluster.inside(bench.as_os_str());
    run.arg("--operator").arg(operator).args(further);
    command::stream(&mut run, LIMIT)
}

/// Has the stories on the nodes measure instead of tell, with Weir as its images have it.
fn measure_on_nodes(further: &[String]) -> Result<()> {
    let programs = Programs::compile()?;
    let cluster = TestCluster::nodes(images::make(&images::Arguments::default())?)?;
    for target in ON_NODES {
        let mut run = cluster.inside(programs.find(*target)?.path.as_os_str());
        run.env("WEIR_TESTS_MEASURE", "1").args(["--ignored", "--nocapture"]).args(further);
        command::stream(&mut run, LIMIT)?;
    }
    Ok(())
}

fn run(bench: &Path, sidecar: &Path, benchmark: Benchmark, further: &[String]) -> Result<()> {
    println!("\n== {} ==", name(benchmark));
    let mut run = command::tool(bench);
    run.arg(name(benchmark)).arg("--server").arg(sidecar).args(further);
    command::stream(&mut run, LIMIT)
}

fn name(benchmark: Benchmark) -> String {
    benchmark.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
