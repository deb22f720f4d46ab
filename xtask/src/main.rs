//! `cargo xtask …`: everything that a developer or CI runs.

mod arch;
mod bench;
mod cargo;
mod cluster;
mod command;
mod crds;
mod deps;
mod fuzz;
mod image;
mod images;
mod interrupt;
mod manifests;
mod setup;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Development tasks of Weir.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run every test that this machine can run
    Test(test::Options),
    /// Write the custom resources' definitions from their types
    Crds(crds::Arguments),
    /// Render the chart to plain manifests for kubectl apply
    Manifests(manifests::Arguments),
    /// Check the rules of the house that clippy doesn't hold
    Arch,
    /// Check the rules about dependencies
    Deps,
    /// Find and install what the tests need of the system
    Setup,
    /// Make a container image archive from files of this machine
    Image(image::Arguments),
    /// Build Weir's container images
    Images(images::Arguments),
    /// A real Kubernetes for tests
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Measure, and hold the figures to bars
    Bench(bench::Options),
    /// Look for inputs that break a parser
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Test(options) => return test::command(options),
        Task::Crds(arguments) => crds::command(&arguments),
        Task::Manifests(arguments) => manifests::command(&arguments),
        Task::Arch => arch::check(),
        Task::Deps => deps::check(),
        Task::Setup => setup::command(),
        Task::Image(arguments) => image::command(&arguments),
        Task::Images(arguments) => images::command(&arguments),
        Task::Cluster(command) => cluster::command(command),
        Task::Bench(options) => bench::command(&options),
        Task::Fuzz(options) => fuzz::command(&options),
    };
    // One line that says what to do, and no backtrace: these are not defects of this program.
    done.map_or_else(|error| failure(&error), |()| ExitCode::SUCCESS)
}

fn failure(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
