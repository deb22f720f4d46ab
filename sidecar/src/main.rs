//! The `weir-sidecar` program: parses, binds, serves.

use std::process::ExitCode;

use clap::Parser;
use weir_sidecar::{
    args::{Args, Command},
    drain, run,
};

/// Small events come and go by the thousand; mimalloc keeps their memory from fragmenting.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Args { command } = Args::parse();
    match command {
        Command::Run(arguments) => run::main(&arguments),
        Command::Drain(arguments) => drain::main(&arguments),
    }
}
