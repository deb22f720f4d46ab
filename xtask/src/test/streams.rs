//! The public conformance suite of Durable Streams, run against the sidecar as a user starts it.
//!
//! The suite comes from npm as the lock file in `tests/durable-streams` pins it, into the target folder.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::program;
use super::programs::EVERYTHING;
use super::tally::Tally;
use crate::cargo::{self, cargo};
use crate::{command, workspace};

/// What is run, and how: copied to where it is run, so that nothing is installed among the sources.
const FILES: &[&str] = &["package.json", "package-lock.json", "conformance.test.js"];

/// The folder of these.
const SOURCES: &str = "tests/durable-streams";

/// The pipelines of the manifest: one whose streams are in memory, and one that keeps them on a disk.
const PIPELINES: &[&str] = &["orders", "kept"];

/// 50 small packages, from a slow mirror.
const INSTALL_LIMIT: Duration = Duration::from_mins(10);

/// The suite waits for streams to expire, and takes a minute at most on an idle machine.
const SUITE_LIMIT: Duration = Duration::from_mins(10);

/// A sidecar listens within milliseconds; a busy machine needs longer to read the program.
const START_LIMIT: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(20);

/// Runs the suite.
///
/// # Errors
/// When it can't be installed, the sidecar doesn't start, or a test fails.
pub(crate) fn test(tally: &mut Tally) -> Result<()> {
    // The one that was built with the tests.
    let built = cargo::build(cargo("test").args(EVERYTHING).arg("--no-run"))?;
    let folder = install()?;
    let sources = workspace::root().join(SOURCES);
    let sidecar = Sidecar::start(
        cargo::program(&built, "weir-sidecar")?,
        &sources.join("pipeline.yaml"),
        &folder,
    )?;
    for pipeline in PIPELINES {
        println!("against {pipeline}");
        run_against(&sidecar, pipeline, &folder, tally)?;
    }
    Ok(())
}

fn run_against(sidecar: &Sidecar, pipeline: &str, folder: &Path, tally: &mut Tally) -> Result<()> {
    let mut suite = command::tool("node");
    suite
        .current_dir(folder)
        .args(["node_modules/vitest/vitest.mjs", "run", "--reporter=default"])
        .env("NO_COLOR", "1")
        .env("WEIR_STREAMS_URL", format!("http://{}/{pipeline}/streams", sidecar.public));
    let (run, outcome) = program::run(&mut suite, SUITE_LIMIT);
    tally.passed += run.passed;
    tally.failed += run.failed;
    outcome.and_then(|()| {
        ensure!(run.passed > 0, "the suite has run no test");
        Ok(())
    })
}

/// Installs what the lock file pins, unless it is there already.
fn install() -> Result<PathBuf> {
    let folder = workspace::target().join("durable-streams");
    fs::create_dir_all(&folder)?;
    let (pinned, done) = (workspace::root().join(SOURCES), folder.join(".installed"));
    for file in FILES {
        fs::copy(pinned.join(file), folder.join(file))
            .with_context(|| format!("could not copy {file} to {}", folder.display()))?;
    }
    let lock = fs::read(pinned.join("package-lock.json"))?;
    if fs::read(&done).is_ok_and(|installed| installed == lock) {
        return Ok(folder);
    }
    let mut npm = command::tool("npm");
    npm.current_dir(&folder).args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
    command::stream(&mut npm, INSTALL_LIMIT)?;
    fs::write(done, lock)?;
    Ok(folder)
}

/// A sidecar that ends with this value.
struct Sidecar {
    child: Child,
    public: SocketAddr,
    /// What it keeps.
    _data: TempDir,
}

impl Sidecar {
    fn start(program: &Path, manifest: &Path, folder: &Path) -> Result<Self> {
        let log = folder.join("sidecar.log");
        let [public, admin, publish] = free_addresses()?;
        let output = File::create(&log)?;
        let mut run = Command::new(program);
        let data = tempfile::tempdir_in(folder)?;
        run.arg("run").arg(manifest).args(["--status", "never"]);
        run.arg("--data-dir").arg(data.path());
        for (option, address) in [("--public", public), ("--admin", admin), ("--publish", publish)]
        {
            run.args([option, &address.to_string()]);
        }
        let child = run.stdout(output.try_clone()?).stderr(output).spawn();
        let child = child.context("could not start the sidecar")?;
        let mut sidecar = Self { child, public, _data: data };
        sidecar.wait(&log)?;
        Ok(sidecar)
    }

    fn wait(&mut self, log: &Path) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(self.public).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the sidecar ended ({status}): {}", fs::read_to_string(log)?);
            }
            ensure!(Instant::now() < deadline, "the sidecar doesn't listen; see {}", log.display());
            thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Addresses on which nobody listens. They are free together, so no two of them are the same.
fn free_addresses() -> Result<[SocketAddr; 3]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners = [bind()?, bind()?, bind()?];
    let [public, admin, publish] = &listeners;
    Ok([public.local_addr()?, admin.local_addr()?, publish.local_addr()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinned(file: &str) -> String {
        fs::read_to_string(workspace::root().join(SOURCES).join(file)).unwrap()
    }

    #[test]
    fn the_lock_file_names_no_registry_and_holds_every_package_to_its_content() {
        let lock: serde_json::Value = serde_json::from_str(&pinned("package-lock.json")).unwrap();
        let packages = lock["packages"].as_object().unwrap();
        assert!(packages.len() > 10);
        for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
            assert!(package.get("resolved").is_none(), "{name} says where it was fetched");
            assert!(package["integrity"].is_string(), "{name} could change");
        }
    }

    #[test]
    fn the_suite_is_pinned_to_one_version() {
        let package: serde_json::Value = serde_json::from_str(&pinned("package.json")).unwrap();
        let version = package["dependencies"]["@durable-streams/server-conformance-tests"].as_str();
        assert!(version.unwrap().starts_with(|first: char| first.is_ascii_digit()));
    }
}
