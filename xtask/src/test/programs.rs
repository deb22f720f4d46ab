//! The compiled test programs of the workspace.
//!
//! Those that need a cluster are called by their paths: they are compiled together with the others, so that
//! nothing is compiled twice, and not in the cluster's network, from where no crate could be fetched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cargo::{self, cargo};

/// What is compiled for the tests: every crate, with all that it can do.
pub(crate) const EVERYTHING: [&str; 2] = ["--workspace", "--all-features"];

/// A test program, by its package and its name.
pub(crate) type Target = (&'static str, &'static str);

/// Test programs by package and name.
#[derive(Debug)]
pub(crate) struct Programs(BTreeMap<(String, String), Program>);

/// Where a test program is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    /// The folder of its package, in which Cargo would run it.
    pub(crate) folder: PathBuf,
}

impl Programs {
    /// Compiles what is not compiled yet.
    ///
    /// # Errors
    /// When something does not compile.
    pub(crate) fn compile() -> Result<Self> {
        let messages = cargo::build(cargo("test").args(EVERYTHING).arg("--no-run"))?;
        Ok(Self(messages.iter().filter_map(program).collect()))
    }

    /// # Errors
    /// When there is no such program.
    pub(crate) fn find(&self, (package, name): Target) -> Result<&Program> {
        let found = self.0.get(&(package.to_owned(), name.to_owned()));
        found.with_context(|| format!("{package} has no test program {name}"))
    }
}

/// Package and name of a test program, and where it is, from a message of Cargo.
fn program(message: &Value) -> Option<((String, String), Program)> {
    let kinds = message.pointer("/target/kind")?.as_array()?;
    let name = message.pointer("/target/name")?.as_str()?;
    let path = message.get("executable")?.as_str()?;
    let folder = Path::new(message.get("manifest_path")?.as_str()?).parent()?;
    let package = package(message.get("package_id")?.as_str()?)?;
    let program = Program { path: path.into(), folder: folder.to_owned() };
    kinds.contains(&Value::from("test")).then(|| ((package.to_owned(), name.to_owned()), program))
}

/// The name in `path+file:///weir/tests#weir-tests@0.1.0`, or, where the folder is called like the package,
/// in `path+file:///weir/xtask#0.1.0` (Cargo's package id specifications).
fn package(id: &str) -> Option<&str> {
    let (url, fragment) = id.rsplit_once('#')?;
    match fragment.split_once('@') {
        Some((name, _)) => Some(name),
        None => url.rsplit('/').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: &str) -> Value {
        serde_json::json!({
            "reason": "compiler-artifact",
            "package_id": "path+file:///weir/operator#weir-operator@0.1.0",
            "manifest_path": "/weir/operator/Cargo.toml",
            "target": {"kind": [kind], "name": "apiserver"},
            "executable": "/weir/target/debug/deps/apiserver-1",
        })
    }

    #[test]
    fn a_test_program_is_found_among_the_messages_of_cargo() {
        let programs =
            Programs([message("test"), message("bin")].iter().filter_map(program).collect());
        let found = programs.find(("weir-operator", "apiserver")).unwrap();
        assert_eq!(found.path, Path::new("/weir/target/debug/deps/apiserver-1"));
        assert_eq!(found.folder, Path::new("/weir/operator"));
        assert_eq!(program(&message("bin")), None);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let programs = Programs(BTreeMap::new());
        let error = programs.find(("weir-tests", "end_to_end")).unwrap_err().to_string();
        assert_eq!(error, "weir-tests has no test program end_to_end");
    }

    #[test]
    fn the_name_of_a_package_is_in_its_id_or_its_folder() {
        assert_eq!(package("path+file:///weir/tests#weir-tests@0.1.0"), Some("weir-tests"));
        assert_eq!(package("path+file:///weir/xtask#0.1.0"), Some("xtask"));
    }
}
