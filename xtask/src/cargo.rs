//! Calls Cargo, and reads what it says of the workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Seek as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Deserializer, Value};

use crate::{command, workspace};

/// Reading the workspace may fetch the index and the manifests of all that is in the lock file.
const METADATA_LIMIT: Duration = Duration::from_mins(10);

/// Whether this runs where nobody may change the lock file or look at colours.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// `cargo SUBCOMMAND` at the root of the workspace, bound to the lock file in CI.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let mut cargo = command::tool(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace::root()).arg(subcommand);
    if in_ci() {
        cargo.env("CARGO_TERM_COLOR", "never");
    }
    if in_ci() && subcommand != "fmt" {
        cargo.arg("--locked");
    }
    cargo
}

/// Everything from nothing, on one slow core, with whole-program optimisation.
pub(crate) const BUILD_LIMIT: Duration = Duration::from_mins(60);

/// Has Cargo build, and returns what it says of that: only Cargo knows where its target folder is.
///
/// # Errors
/// When something does not compile.
pub(crate) fn build(cargo: &mut Command) -> Result<Vec<Value>> {
    let mut said = tempfile::tempfile()?;
    cargo.arg("--message-format=json-render-diagnostics").stdout(said.try_clone()?);
    command::stream(cargo, BUILD_LIMIT)?;
    said.rewind()?;
    let messages = Deserializer::from_reader(BufReader::new(said)).into_iter();
    messages.collect::<Result<_, _>>().context("Cargo did not list what it built")
}

/// The program of this name among what [`build`] returned.
///
/// # Errors
/// When there is none.
pub(crate) fn program<'a>(built: &'a [Value], name: &str) -> Result<&'a Path> {
    let mut programs = built.iter().filter_map(|message| {
        let named = message.pointer("/target/name")?.as_str()? == name;
        // A program's own tests have its name, too; a benchmark is built as a test.
        let is_program = message.pointer("/target/kind/0")?.as_str()? == "bin";
        let tests = message.pointer("/profile/test").and_then(Value::as_bool) == Some(true);
        message.get("executable")?.as_str().filter(|_| named && !(is_program && tests))
    });
    programs.next().map(Path::new).with_context(|| format!("Cargo built no program {name}"))
}

/// A member of the workspace.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

/// What a member asks for.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `dev` or `build`; absent for what the member itself links.
    pub(crate) kind: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// The members of the workspace.
///
/// # Errors
/// When Cargo cannot read it.
pub(crate) fn members() -> Result<Vec<Package>> {
    let mut metadata = cargo("metadata");
    metadata.args(["--no-deps", "--format-version", "1"]);
    let text = command::succeed(&mut metadata, METADATA_LIMIT)?;
    let metadata: Metadata =
        serde_json::from_str(&text).context("Cargo's metadata has changed its form")?;
    Ok(metadata.packages)
}

/// What is really compiled for `arguments` such as `--package weir-sidecar --edges normal`, on any system:
/// names with their versions. The lock file holds more, as it knows of features that nobody asks for.
///
/// # Errors
/// When Cargo cannot resolve it.
pub(crate) fn tree(arguments: &[&str]) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut tree = cargo("tree");
    tree.args(["--target", "all", "--prefix", "none", "--format", "{p}"]).args(arguments);
    Ok(parse_tree(&command::succeed(&mut tree, METADATA_LIMIT)?))
}

/// Reads lines such as `kube v5.0.0` and `weir-slo v0.1.0 (/weir/slo)`.
fn parse_tree(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        if let Some((name, version)) = words.next().zip(words.next()) {
            found.entry(name.to_owned()).or_default().insert(version.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_program_is_found_among_libraries_and_programs_of_other_names() {
        let artifact = |name: &str, kind: &str, test: bool, executable: Option<&str>| {
            json!({
                "reason": "compiler-artifact",
                "target": {"name": name, "kind": [kind]},
                "profile": {"test": test},
                "executable": executable,
            })
        };
        let built = [
            artifact("weir-sidecar", "lib", false, None),
            artifact("crdgen", "bin", false, Some("/t/crdgen")),
            artifact("weir-sidecar", "bin", true, Some("/t/deps/weir-sidecar-tests")),
            artifact("weir-sidecar", "bin", false, Some("/t/weir-sidecar")),
            artifact("compare", "bench", true, Some("/t/deps/compare")),
            json!({"reason": "build-finished", "success": true}),
        ];
        assert_eq!(program(&built, "weir-sidecar").unwrap(), Path::new("/t/weir-sidecar"));
        assert_eq!(program(&built, "compare").unwrap(), Path::new("/t/deps/compare"));
        let error = program(&built, "weir-operator").unwrap_err().to_string();
        assert_eq!(error, "Cargo built no program weir-operator");
    }

    #[test]
    fn two_versions_of_a_crate_are_seen() {
        let tree = parse_tree("a v1.0.0\nb v2.0.0 (/x)\na v1.0.0 (*)\na v2.0.0\n\n");
        let versions = |name: &str| tree.get(name).unwrap().iter().cloned().collect::<Vec<_>>();
        assert_eq!(versions("a"), ["v1.0.0", "v2.0.0"]);
        assert_eq!(versions("b"), ["v2.0.0"]);
    }

    #[test]
    fn the_members_of_the_workspace_are_read() {
        let members = members().unwrap();
        let operator = members.iter().find(|package| package.name == "weir-operator").unwrap();
        let normal = operator.dependencies.iter().filter(|dependency| dependency.kind.is_none());
        assert!(normal.into_iter().any(|dependency| dependency.name == "weir-crds"));
    }
}
