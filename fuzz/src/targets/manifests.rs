//! Manifests: a file is taken, or refused with errors that can be shown.

use std::{fs, path::PathBuf, sync::LazyLock};

use tempfile::TempDir;
use weir_sidecar::config::load as load_files;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a folder can be made")
});

pub(super) fn load(input: &[u8]) {
    let path = FOLDER.path().join("manifest.yaml");
    fs::write(&path, input).expect("a file can be written");
    if let Err(errors) = load_files(&[path]) {
        assert!(!errors.to_string().trim().is_empty(), "an error says nothing");
    }
}
