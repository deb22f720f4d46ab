//! The folder that keeps compiled programs between runs, named after what went into them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

use super::programs::{PROGRAMS, Program, modules_dir};
use crate::workspace;

/// Overrides where the cache lies; each set of pins gets a folder below it.
pub(crate) const CACHE_VARIABLE: &str = "WEIR_CLUSTER_CACHE";

/// Enough of a SHA-256 that two sets of pins never meet.
const KEY_BYTES: usize = 8;

/// The folder for the pins of this checkout. It need not exist yet.
///
/// # Errors
/// When the modules cannot be read.
pub(crate) fn dir() -> Result<PathBuf> {
    Ok(base().join(key(&modules_dir(), PROGRAMS)?))
}

fn base() -> PathBuf {
    let set =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set(CACHE_VARIABLE)
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("weir/cluster")))
        .or_else(|| set("HOME").map(|dir| dir.join(".cache/weir/cluster")))
        .unwrap_or_else(|| workspace::target().join("cluster-cache"))
}

/// A name that changes with every pin, with how the programs are compiled, and with what they run on.
fn key(modules: &Path, programs: &[Program]) -> Result<String> {
    let mut hash = Sha256::new();
    add(&mut hash, std::env::consts::OS.as_bytes());
    add(&mut hash, std::env::consts::ARCH.as_bytes());
    for program in programs {
        add(&mut hash, program.package.as_bytes());
        add(&mut hash, program.module.linker_flags("").as_bytes());
    }
    for file in module_files(modules)? {
        let name = file.strip_prefix(modules)?.to_string_lossy().into_owned();
        add(&mut hash, name.as_bytes());
        let content = std::fs::read(&file);
        add(&mut hash, &content.with_context(|| format!("could not read {}", file.display()))?);
    }
    Ok(hash.finalize().iter().take(KEY_BYTES).map(|byte| format!("{byte:02x}")).collect())
}

/// Adds `part` with its length, so that no two sequences of parts hash alike.
fn add(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_be_bytes());
    hash.update(part);
}

fn module_files(modules: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        modules.read_dir().with_context(|| format!("could not read {}", modules.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let dir = entry?.path();
        files.extend(
            ["go.mod", "go.sum"].map(|name| dir.join(name)).into_iter().filter(|f| f.is_file()),
        );
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(pin: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for module in ["etcd", "helm"] {
            std::fs::create_dir(dir.path().join(module)).unwrap();
            std::fs::write(dir.path().join(module).join("go.mod"), "module x").unwrap();
        }
        std::fs::write(dir.path().join("etcd/go.sum"), pin).unwrap();
        dir
    }

    #[test]
    fn the_key_is_the_same_for_the_same_pins_and_another_for_other_pins() {
        let of = |pin| key(modules(pin).path(), PROGRAMS).unwrap();
        assert_eq!(of("v1"), of("v1"));
        assert_ne!(of("v1"), of("v2"));
        assert_eq!(of("v1").len(), KEY_BYTES * 2);
    }

    #[test]
    fn the_key_changes_with_the_programs() {
        let dir = modules("v1");
        let all = key(dir.path(), PROGRAMS).unwrap();
        assert_ne!(all, key(dir.path(), PROGRAMS.split_last().unwrap().1).unwrap());
    }

    #[test]
    fn files_beside_the_pins_do_not_change_the_key() {
        let dir = modules("v1");
        let before = key(dir.path(), PROGRAMS).unwrap();
        std::fs::write(dir.path().join("etcd/notes"), "x").unwrap();
        assert_eq!(before, key(dir.path(), PROGRAMS).unwrap());
    }
}
