//! `cargo xtask fuzz`: looks for inputs that break a parser, guided by what code they reach.
//!
//! It needs no nightly compiler and no tool besides Cargo and a C++ compiler: the flags that make a
//! program tell a fuzzer where it was are stable ones, and libFuzzer comes as a crate.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::{self, cargo};
use crate::{command, workspace};

/// What cargo-fuzz passes, without a sanitizer: there is no `unsafe` here for one to watch.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares";

/// The largest input. Nothing that is parsed here needs more to show what it does.
const MAX_INPUT: u32 = 16 * 1024;

/// What the fuzzer may take besides the time it was given: to start, read its corpus, and write.
const OVERHEAD: Duration = Duration::from_mins(5);

/// The arguments of `cargo xtask fuzz`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The targets, one after the other; all when there is none. Each is a folder of fuzz/seeds
    targets: Vec<String>,
    /// For how long, each
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Fuzzes.
///
/// # Errors
/// When something cannot be built, or something was found.
pub(crate) fn command(options: &Options) -> Result<()> {
    let Options { targets, seconds } = options;
    let folder = workspace::root().join("fuzz");
    let known = known(&folder)?;
    let unknown = targets.iter().find(|target| !known.contains(target));
    if let Some(unknown) = unknown {
        bail!("there is no target {unknown}; there are: {}", known.join(", "));
    }
    let program = build(&folder)?;
    let chosen = if targets.is_empty() { &known } else { targets };
    let mut found = Vec::new();
    for target in chosen {
        println!("\n== {target} ==");
        if let Err(error) = fuzz(&program, &folder, target, *seconds) {
            eprintln!("error: {error:#}");
            found.push(target.as_str());
        }
    }
    ensure!(
        found.is_empty(),
        "there are findings in: {}. Mend what is wrong, and keep the smallest input as a seed in \
         fuzz/seeds, which the tests replay",
        found.join(", ")
    );
    Ok(())
}

fn known(folder: &Path) -> Result<Vec<String>> {
    let mut known = Vec::new();
    for entry in folder.join("seeds").read_dir().context("fuzz/seeds holds a folder a target")? {
        known.push(entry?.file_name().to_string_lossy().into_owned());
    }
    known.sort();
    Ok(known)
}

fn build(folder: &Path) -> Result<PathBuf> {
    let host =
        command::succeed(command::tool("rustc").args(["--print", "host-tuple"]), command::QUICK)?;
    let mut build = cargo("build");
    build.args(["--release", "--target", host.trim()]);
    build.arg("--manifest-path").arg(folder.join("Cargo.toml"));
    build.arg("--target-dir").arg(workspace::root().join("target/fuzz"));
    build.env("RUSTFLAGS", RUSTFLAGS);
    let built = cargo::build(&mut build)?;
    Ok(cargo::program(&built, "weir-fuzz")?.to_owned())
}

fn fuzz(program: &Path, folder: &Path, target: &str, seconds: u64) -> Result<()> {
    let learned = workspace::root().join("target/fuzz/corpus").join(target);
    let findings = workspace::root().join("target/fuzz/findings");
    fs::create_dir_all(&learned)?;
    fs::create_dir_all(&findings)?;
    let mut run = command::tool(program);
    run.env("WEIR_FUZZ_TARGET", target);
    run.args([
        format!("-max_total_time={seconds}"),
        format!("-max_len={MAX_INPUT}"),
        format!("-artifact_prefix={}/{target}-", findings.display()),
        "-timeout=10".to_owned(),
        "-rss_limit_mb=2048".to_owned(),
        "-print_final_stats=1".to_owned(),
    ]);
    let dictionary = folder.join("dictionaries").join(target);
    if dictionary.is_file() {
        run.arg(format!("-dict={}", dictionary.display()));
    }
    run.arg(learned).arg(folder.join("seeds").join(target));
    command::stream(&mut run, Duration::from_secs(seconds) + OVERHEAD)
}
