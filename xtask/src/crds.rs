//! `cargo xtask crds`: writes the custom resources' definitions and their reference from their types, to every
//! place that has them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::{BUILD_LIMIT, cargo};
use crate::{command, workspace};

/// Where the definitions stand: for `kubectl apply`, and in the chart, as Helm reads nothing outside it; and where
/// their reference does. Each with the ending of the files there that are made.
const PLACES: [(&str, &str); 3] =
    [("crds", "yaml"), ("charts/weir/files/crds", "yaml"), ("docs/reference", "md")];

/// Files by their names.
type Files = BTreeMap<PathBuf, String>;

/// The arguments of `cargo xtask crds`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Change nothing, and fail where something would be changed
    #[arg(long)]
    check: bool,
}

/// `cargo xtask crds`: [`write()`] or, with `--check`, [`check`].
///
/// # Errors
/// As these.
pub(crate) fn command(arguments: &Arguments) -> Result<()> {
    if arguments.check { check() } else { write() }
}

/// Writes what differs.
///
/// # Errors
/// When the types do not compile or a file cannot be written.
pub(crate) fn write() -> Result<()> {
    let wanted = generate()?;
    for (place, ending) in PLACES {
        let folder = workspace::root().join(place);
        std::fs::create_dir_all(&folder)?;
        for file in differing(&folder, &wanted, ending)? {
            let path = folder.join(&file);
            match wanted.get(&file) {
                Some(text) => std::fs::write(&path, text),
                None => std::fs::remove_file(&path),
            }
            .with_context(|| format!("could not change {}", path.display()))?;
            println!("changed {place}/{}", file.display());
        }
    }
    Ok(())
}

/// Compares.
///
/// # Errors
/// When something differs, with the remedy, or the types do not compile.
pub(crate) fn check() -> Result<()> {
    let wanted = generate()?;
    let mut stale = Vec::new();
    for (place, ending) in PLACES {
        let differing = differing(&workspace::root().join(place), &wanted, ending)?;
        stale.extend(differing.iter().map(|file| format!("{place}/{}", file.display())));
    }
    ensure!(
        stale.is_empty(),
        "not what the types in crds/src say: {}; run `cargo xtask crds` and commit what it changes",
        stale.join(", ")
    );
    Ok(())
}

fn generate() -> Result<Files> {
    let folder = tempfile::tempdir()?;
    let mut crdgen = cargo("run");
    crdgen.args([
        "--quiet",
        "--package",
        "weir-crds",
        "--features",
        "kube",
        "--bin",
        "crdgen",
        "--",
    ]);
    command::stream(crdgen.arg(folder.path()), BUILD_LIMIT)?;
    let mut files = read(folder.path(), "yaml")?;
    let pages = read(folder.path(), "md")?;
    if files.is_empty() || pages.len() != files.len() {
        bail!("crdgen wrote {} definitions, and {} references", files.len(), pages.len());
    }
    files.extend(pages);
    Ok(files)
}

/// The names of the files of this ending that are not as they are wanted: other, missing, or there without being
/// wanted.
fn differing(folder: &Path, wanted: &Files, ending: &str) -> Result<Vec<PathBuf>> {
    let found = read(folder, ending)?;
    let wanted_here = wanted.keys().filter(|name| has_ending(name, ending));
    let names = found.keys().chain(wanted_here.filter(|name| !found.contains_key(*name)));
    Ok(names.filter(|name| found.get(*name) != wanted.get(*name)).cloned().collect())
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|found| found == ending)
}

/// The files of a folder that have this ending.
fn read(folder: &Path, ending: &str) -> Result<Files> {
    let entries =
        folder.read_dir().with_context(|| format!("could not read {}", folder.display()))?;
    let mut files = Files::new();
    for entry in entries {
        let path = entry?.path();
        if has_ending(&path, ending) {
            let text = std::fs::read_to_string(&path)?;
            files.insert(PathBuf::from(path.file_name().unwrap_or_default()), text);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_a_missing_and_a_superfluous_definition_differ_and_other_files_do_not() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in
            [("same.yaml", "a"), ("stale.yaml", "b"), ("old.yaml", "c"), ("x.md", "d")]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let wanted = [("same.yaml", "a"), ("stale.yaml", "new"), ("new.yaml", "e"), ("y.md", "f")]
            .map(|(name, text)| (PathBuf::from(name), text.to_owned()));
        let mut definitions =
            differing(folder.path(), &Files::from(wanted.clone()), "yaml").unwrap();
        definitions.sort();
        assert_eq!(definitions, ["new.yaml", "old.yaml", "stale.yaml"].map(PathBuf::from));
        let pages = differing(folder.path(), &Files::from(wanted), "md").unwrap();
        assert_eq!(pages, ["x.md", "y.md"].map(PathBuf::from));
    }
}
