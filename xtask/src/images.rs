//! `cargo xtask images`: builds Weir's programs and puts each into a container image archive.
//!
//! The archives are the same, byte for byte, as long as their contents are; one that would not change is
//! not touched, so that whoever imports them can tell by its time.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::image::{self, Image, NONROOT};
use crate::{cargo, workspace};

/// The programs that become images, each named like its package.
const PROGRAMS: [&str; 2] = ["weir-operator", "weir-sidecar"];

/// No registry answers to it, so that nothing is pulled by mistake.
const REGISTRY: &str = "localhost";

/// Says that it moves.
const TAG: &str = "dev";

/// All that the programs can do.
const FEATURES: &str = "weir-sidecar/full,weir-operator/otel";

/// Builds in minutes, and runs within a few percent of the best.
const RELEASE: &str = "release";

/// The arguments of `cargo xtask images`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder of the archives [default: target/images]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Cargo profile to build with; `dist` takes longer and gives smaller, faster programs
    #[arg(long, value_name = "NAME", default_value = RELEASE)]
    profile: String,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { out: None, profile: RELEASE.to_owned() }
    }
}

/// `cargo xtask images`: as [`make`], and the image for test pods where this machine has its tools.
///
/// # Errors
/// As [`make`].
pub(crate) fn command(arguments: &Arguments) -> Result<()> {
    make(arguments)?;
    let archive = archive(&arguments.folder(), "toolbox");
    match refresh(&archive, image::toolbox) {
        Ok(state) => report(image::TOOLBOX, &archive, state)?,
        // It serves tests alone, and a cluster of `cargo xtask cluster` has it anyway.
        Err(error) => println!("{:32} left out: {error:#}", image::TOOLBOX),
    }
    Ok(())
}

/// Builds the programs, writes the archives that differ from what is there, and returns where they are.
///
/// # Errors
/// When a program does not compile or an archive cannot be written.
pub(crate) fn make(arguments: &Arguments) -> Result<Vec<PathBuf>> {
    let built = build(&arguments.profile)?;
    let folder = arguments.folder();
    let make = |name| {
        let reference = format!("{REGISTRY}/{name}:{TAG}");
        let image = image_of(&reference, cargo::program(&built, name)?, name)?;
        let archive = archive(&folder, name);
        let state = refresh(&archive, |path| image.write(path))?;
        report(&reference, &archive, state)?;
        Ok(archive)
    };
    PROGRAMS.into_iter().map(make).collect()
}

impl Arguments {
    fn folder(&self) -> PathBuf {
        self.out.clone().unwrap_or_else(|| workspace::target().join("images"))
    }
}

fn archive(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.tar"))
}

fn image_of(reference: &str, program: &Path, name: &str) -> Result<Image> {
    let place = format!("/usr/local/bin/{name}");
    let image = Image::new(reference)?.add(program, &place, Some(0o755))?;
    Ok(image.with_libraries_of(program).entrypoint([place]).user(NONROOT))
}

fn build(profile: &str) -> Result<Vec<Value>> {
    let mut build = cargo::cargo("build");
    build.args(["--bins", "--profile", profile, "--features", FEATURES]);
    for name in PROGRAMS {
        build.args(["--package", name]);
    }
    cargo::build(&mut build)
}

/// What became of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Written,
    Unchanged,
}

/// Makes an archive beside the one that is there, and puts it in its place if they differ.
fn refresh(archive: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<State> {
    let folder = archive.parent().context("an archive lies in a folder")?;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("could not make {}", folder.display()))?;
    let fresh = NamedTempFile::new_in(folder)?.into_temp_path();
    write(&fresh)?;
    if archive.is_file() && same(&fresh, archive)? {
        return Ok(State::Unchanged);
    }
    fresh.persist(archive)?;
    Ok(State::Written)
}

fn same(one: &Path, other: &Path) -> Result<bool> {
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        let ends = [fill(&mut one, &mut left)?, fill(&mut other, &mut right)?].contains(&0);
        if left != right || ends {
            return Ok(left == right);
        }
    }
}

/// Reads the next piece of a file; 0 at its end.
fn fill(file: &mut File, piece: &mut Vec<u8>) -> Result<usize> {
    const PIECE: u64 = 1 << 20;
    piece.clear();
    Ok(file.take(PIECE).read_to_end(piece)?)
}

fn report(reference: &str, archive: &Path, state: State) -> Result<()> {
    let (mib, tenths) = mebibytes(archive.metadata()?.len());
    let state = match state {
        State::Written => "written",
        State::Unchanged => "unchanged",
    };
    println!("{reference:32} {mib:>4}.{tenths} MiB  {state:9}  {}", archive.display());
    Ok(())
}

fn mebibytes(bytes: u64) -> (u64, u64) {
    let tenths = bytes * 10 / (1 << 20);
    (tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_that_would_be_the_same_keeps_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/a.tar");
        let put = |text: &'static str| {
            refresh(&path, |path| Ok(std::fs::write(path, text)?)).unwrap();
            path.metadata().unwrap().modified().unwrap()
        };
        let first = put("one");
        assert_eq!(put("one"), first);
        assert_ne!(put("two"), first);
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
    }

    #[test]
    fn an_archive_that_cannot_be_made_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        std::fs::write(&path, "old").unwrap();
        assert!(refresh(&path, |_| anyhow::bail!("no")).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(dir.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn files_larger_than_a_piece_are_compared_to_their_ends() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
        let mut bytes = vec![7; (1 << 20) + 1];
        std::fs::write(&one, &bytes).unwrap();
        std::fs::write(&two, &bytes).unwrap();
        assert!(same(&one, &two).unwrap());
        bytes[1 << 20] = 8;
        std::fs::write(&two, &bytes).unwrap();
        assert!(!same(&one, &two).unwrap());
    }

    #[test]
    fn sizes_are_shown_in_tenths() {
        assert_eq!(mebibytes((1 << 20) + (1 << 19)), (1, 5));
    }
}
