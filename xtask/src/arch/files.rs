//! What every source file must be like.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{cargo, workspace};

/// A file that is longer holds more than one thing.
const MOST_LINES: usize = 600;

/// Names that say nothing of what is inside, so that everything ends up there.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "common", "helper", "helpers", "manager", "shared", "misc"];

/// The folders of a crate that hold sources.
const FOLDERS: &[&str] = &["src", "tests", "benches", "examples", "build.rs"];

pub(super) fn breaches() -> Result<Vec<String>> {
    let mut breaches = Vec::new();
    for member in cargo::members()? {
        let folder = member.manifest_path.parent().context("a manifest lies in a folder")?;
        for place in FOLDERS {
            for file in sources(&folder.join(place))? {
                let text = std::fs::read_to_string(&file)?;
                let shown = file.strip_prefix(workspace::root()).unwrap_or(&file);
                let found = breaches_of(shown, &text);
                breaches.extend(
                    found.into_iter().map(|breach| format!("{}: {breach}", shown.display())),
                );
            }
        }
    }
    Ok(breaches)
}

fn sources(place: &Path) -> Result<Vec<PathBuf>> {
    if place.is_file() {
        return Ok(vec![place.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in place.read_dir().into_iter().flatten() {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn breaches_of(path: &Path, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    if !text.starts_with("//! ") {
        breaches.push("open it with a `//!` sentence that says what it is for".to_owned());
    }
    let lines = lines_without_tests(text);
    if lines > MOST_LINES {
        breaches
            .push(format!("{lines} lines besides its tests: split it, {MOST_LINES} are the most"));
    }
    let stem = path.file_stem().unwrap_or_default();
    if EMPTY_NAMES.iter().any(|name| stem == *name) {
        breaches.push("name it after what is in it".to_owned());
    }
    if stem == "mod" {
        breaches.push("a module `x` lies in x.rs, and its children in x/".to_owned());
    }
    breaches
}

/// The lines before the tests that stand at the end of a file.
fn lines_without_tests(text: &str) -> usize {
    text.find("\n#[cfg(test)]\nmod tests")
        .map_or(text, |end| text.get(..end).unwrap_or(text))
        .lines()
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_keeps_the_rules_has_no_breach() {
        assert!(breaches_of(Path::new("a/frame.rs"), "//! Frames.\n").is_empty());
    }

    #[test]
    fn a_file_says_what_it_is_for() {
        assert_eq!(breaches_of(Path::new("a/frame.rs"), "use std::fs;\n").len(), 1);
    }

    #[test]
    fn tests_at_the_end_do_not_count_as_lines() {
        let lines = |count: usize| format!("//! X.\n{}", "x\n".repeat(count - 1));
        let tests = format!("\n#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(1_000));
        assert!(breaches_of(Path::new("x.rs"), &(lines(600) + &tests)).is_empty());
        assert_eq!(breaches_of(Path::new("x.rs"), &lines(601)).len(), 1);
    }

    #[test]
    fn a_name_that_says_nothing_is_a_breach() {
        for path in ["a/util.rs", "a/mod.rs"] {
            assert_eq!(breaches_of(Path::new(path), "//! X.\n").len(), 1, "{path}");
        }
    }
}
