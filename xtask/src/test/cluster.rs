//! The tests that are marked `needs a cluster`: which programs hold them, and the cluster they get.

use std::collections::BTreeMap;
use std::io::{BufReader, Seek as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Deserializer, Value};

use super::program;
use super::tally::Tally;
use crate::cargo::cargo;
use crate::cluster::environment::Environment;
use crate::cluster::layout::Layout;
use crate::cluster::{down, up, using};
use crate::{command, interrupt};

/// A test program, by its package and its name.
pub(crate) type Target = (&'static str, &'static str);

/// Those that an API without nodes is enough for, and that make pods which no node must run.
pub(crate) const ON_AN_API: &[Target] =
    &[("weir-tests", "crd_rules"), ("weir-tests", "examples"), ("weir-operator", "apiserver")];

/// Those that need pods, with Weir's images on the node.
pub(crate) const ON_A_NODE: &[Target] = &[("weir-tests", "end_to_end")];

/// The folder in the target folder, so that a cluster that a developer has up is left alone.
const FOLDER: &str = "test-cluster";

/// Everything from nothing, on one slow core.
const COMPILE_LIMIT: Duration = Duration::from_mins(60);

/// A test program ends within minutes.
const LIMIT: Duration = Duration::from_mins(20);

/// A cluster that ends with this value.
pub(crate) struct TestCluster {
    layout: Layout,
    environment: Environment,
}

impl TestCluster {
    /// An API without nodes, or the cluster that the user wants used.
    ///
    /// # Errors
    /// As [`up::run`].
    pub(crate) fn api() -> Result<Self> {
        Self::start(&up::Options { control_plane_only: true, ..up::Options::default() })
    }

    /// A node with these images.
    ///
    /// # Errors
    /// As [`up::run`].
    pub(crate) fn node(images: Vec<PathBuf>) -> Result<Self> {
        Self::start(&up::Options { require_node: true, images, ..up::Options::default() })
    }

    fn start(options: &up::Options) -> Result<Self> {
        let layout = Layout::from_environment_or(FOLDER)?;
        up::run(layout.clone(), options)?;
        let environment = Environment::read(&layout)?;
        Ok(Self { layout, environment })
    }

    /// Runs the tests of `targets` that are marked `needs a cluster`, in the cluster's network.
    ///
    /// # Errors
    /// When one fails or a program is not there.
    pub(crate) fn test(
        &self,
        targets: &[Target],
        arguments: &[&str],
        tally: &mut Tally,
    ) -> Result<()> {
        let programs = programs()?;
        let mut outcomes = Vec::new();
        for target in targets {
            let (program, folder) = find(&programs, *target)?;
            let mut test = using::inside(&self.environment, program.as_os_str());
            test.current_dir(folder).arg("--ignored").args(arguments);
            println!("{} of {}", target.1, target.0);
            let (run, outcome) = program::run(&mut test, LIMIT);
            tally.add_formerly_ignored(run);
            outcomes.push(outcome.with_context(|| format!("{} of {}", target.1, target.0)));
        }
        outcomes.into_iter().collect()
    }
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

/// Every test program with the folder of its package. They are compiled as the tests without a cluster
/// were, so that nothing is compiled twice, and not in the cluster's network, from where no crate could be
/// fetched.
fn programs() -> Result<BTreeMap<(String, String), (PathBuf, PathBuf)>> {
    let mut said = tempfile::tempfile()?;
    let mut compile = cargo("test");
    compile.args(["--workspace", "--no-run", "--message-format=json-render-diagnostics"]);
    command::stream(compile.stdout(said.try_clone()?), COMPILE_LIMIT)?;
    said.rewind()?;
    let messages = Deserializer::from_reader(BufReader::new(said)).into_iter();
    let messages: Vec<Value> =
        messages.collect::<Result<_, _>>().context("Cargo did not say what it compiled")?;
    Ok(messages.iter().filter_map(program_of).collect())
}

/// Package and name of a test program, and where it and its package are, from a message of Cargo.
fn program_of(message: &Value) -> Option<((String, String), (PathBuf, PathBuf))> {
    let kinds = message.pointer("/target/kind")?.as_array()?;
    let name = message.pointer("/target/name")?.as_str()?;
    let program = message.get("executable")?.as_str()?;
    let folder = Path::new(message.get("manifest_path")?.as_str()?).parent()?;
    let package = message.get("package_id")?.as_str()?;
    // path+file:///weir/operator#weir-operator@0.1.0
    let package = package.rsplit_once('#')?.1.split('@').next()?;
    let package = if package.starts_with(|c: char| c.is_ascii_digit()) {
        folder.file_name()?.to_str()?
    } else {
        package
    };
    kinds
        .contains(&Value::from("test"))
        .then(|| ((package.to_owned(), name.to_owned()), (program.into(), folder.to_owned())))
}

fn find(
    programs: &BTreeMap<(String, String), (PathBuf, PathBuf)>,
    target: Target,
) -> Result<&(PathBuf, PathBuf)> {
    let (package, name) = target;
    let found = programs.get(&(package.to_owned(), name.to_owned()));
    found.with_context(|| format!("{package} has no test program {name}"))
}

#[cfg(test)]
mod tests {
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
        let listed = [ON_AN_API, ON_A_NODE].concat();
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

    #[test]
    fn a_test_program_is_found_among_the_messages_of_cargo() {
        let message = |id: &str, kind: &str| {
            serde_json::json!({
                "reason": "compiler-artifact",
                "package_id": id,
                "manifest_path": "/weir/operator/Cargo.toml",
                "target": {"kind": [kind], "name": "apiserver"},
                "executable": "/weir/target/debug/deps/apiserver-1",
            })
        };
        let found = program_of(&message("path+file:///weir/operator#weir-operator@0.1.0", "test"));
        let ((package, name), (program, folder)) = found.unwrap();
        assert_eq!((package.as_str(), name.as_str()), ("weir-operator", "apiserver"));
        assert_eq!(program, Path::new("/weir/target/debug/deps/apiserver-1"));
        assert_eq!(folder, Path::new("/weir/operator"));
        let same_name = program_of(&message("path+file:///weir/operator#0.1.0", "test")).unwrap();
        assert_eq!(same_name.0.0, "operator");
        assert_eq!(
            program_of(&message("path+file:///weir/operator#weir-operator@0.1.0", "bin")),
            None
        );
    }
}
