//! The tests that are marked `needs a cluster`: which programs hold them, and the cluster they get.

use std::ffi::OsStr;
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::program;
use super::programs::{Program, Programs, Target};
use super::tally::Tally;
use crate::cluster::environment::Environment;
use crate::cluster::layout::Layout;
use crate::cluster::{down, up, using};
use crate::interrupt;

/// Those that an API without nodes is enough for, and that make pods which no node must run.
pub(crate) const ON_AN_API: &[Target] = &[
    ("weir-tests", "crd_rules"),
    ("weir-tests", "examples"),
    ("weir-operator", "apiserver"),
    ("kubectl-weir", "apiserver"),
];

/// Those that need pods, with Weir's images on the nodes.
pub(crate) const ON_NODES: &[Target] = &[("weir-tests", "end_to_end")];

/// The folder in the target folder, so that a cluster that a developer has up is left alone.
const FOLDER: &str = "test-cluster";

/// Nobody waits for less than minutes.
const POLL: Duration = Duration::from_secs(1);

/// A test program ends within minutes.
const LIMIT: Duration = Duration::from_mins(20);

/// A cluster that ends with this value.
///
/// Law: it is alone in its folder. Another run of the tests in the same checkout waits for it.
pub(crate) struct TestCluster {
    layout: Layout,
    environment: Environment,
    _alone: File,
}

impl TestCluster {
    /// An API without nodes, or the cluster that the user wants used.
    ///
    /// # Errors
    /// As [`up::run`].
    pub(crate) fn api() -> Result<Self> {
        Self::start(&up::Options { control_plane_only: true, ..up::Options::default() })
    }

    /// Two nodes with these images.
    ///
    /// # Errors
    /// As [`up::run`].
    pub(crate) fn nodes(images: Vec<PathBuf>) -> Result<Self> {
        Self::start(&up::Options { nodes: Some(2), images, ..up::Options::default() })
    }

    fn start(options: &up::Options) -> Result<Self> {
        let layout = Layout::from_environment_or(FOLDER)?;
        let alone = alone(&layout)?;
        up::run(layout.clone(), options)?;
        let environment = Environment::read(&layout)?;
        Ok(Self { layout, environment, _alone: alone })
    }

    /// Runs the tests of `targets` that are marked `needs a cluster`, in the cluster's network.
    ///
    /// # Errors
    /// When one fails or a program is not there.
    pub(crate) fn test(
        &self,
        programs: &Programs,
        targets: &[Target],
        arguments: &[&str],
        tally: &mut Tally,
    ) -> Result<()> {
        let run = |target: &Target| {
            let (package, name) = target;
            println!("{name} of {package}");
            let outcome = self.test_one(programs.find(*target)?, arguments, tally);
            outcome.with_context(|| format!("{name} of {package}"))
        };
        // All of them run, and then the first that failed is told.
        let outcomes: Vec<Result<()>> = targets.iter().map(run).collect();
        outcomes.into_iter().collect()
    }

    /// A command that has the cluster's environment, and is in its network.
    pub(crate) fn inside(&self, program: &OsStr) -> Command {
        using::inside(&self.environment, program)
    }

    fn test_one(&self, program: &Program, arguments: &[&str], tally: &mut Tally) -> Result<()> {
        let Program { path, folder } = program;
        let mut test = self.inside(path.as_os_str());
        test.current_dir(folder).arg("--ignored").args(arguments);
        let (run, outcome) = program::run(&mut test, LIMIT);
        tally.add_formerly_ignored(run);
        outcome
    }
}

/// Waits until no other run of the tests uses the folder. The kernel lets go of the lock of a killed one.
fn alone(layout: &Layout) -> Result<File> {
    let file = File::create(layout.dir().join(".tests.lock"))?;
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    println!("waiting for another run of the tests, which has {}", layout.dir().display());
    while file.try_lock().is_err() {
        ensure!(!interrupt::requested(), "interrupted");
        thread::sleep(POLL);
    }
    Ok(file)
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        if let Err(error) = interrupt::while_ending(|| down::run(&self.layout)) {
            eprintln!(
                "the test cluster was not removed: {error:#}; `WEIR_CLUSTER_DIR={} cargo xtask cluster down` tries again",
                self.layout.dir().display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cargo;

    /// What marks a test that none of the stages without a cluster runs.
    const MARK: &str = "#[ignore = \"needs a cluster: cargo xtask test\"]";

    #[test]
    fn every_test_that_needs_a_cluster_is_in_a_program_that_gets_one() {
        let mut found = Vec::new();
        for member in cargo::members().unwrap() {
            let tests = member.manifest_path.with_file_name("tests");
            for entry in tests.read_dir().into_iter().flatten().flatten() {
                if has_mark(&entry.path()) {
                    let name = entry.path().file_stem().unwrap().to_string_lossy().into_owned();
                    found.push((member.name.clone(), name));
                }
            }
        }
        let listed = [ON_AN_API, ON_NODES].concat();
        let mut listed: Vec<_> = listed
            .iter()
            .map(|(package, name)| ((*package).to_owned(), (*name).to_owned()))
            .collect();
        found.sort();
        listed.sort();
        assert_eq!(found, listed, "with the mark, and listed in xtask/src/test/cluster.rs");
    }

    fn has_mark(path: &Path) -> bool {
        if path.is_dir() {
            return path.read_dir().unwrap().any(|entry| has_mark(&entry.unwrap().path()));
        }
        std::fs::read_to_string(path).is_ok_and(|text| text.contains(MARK))
    }
}
