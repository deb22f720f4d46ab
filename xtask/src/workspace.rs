//! Knows where the workspace lies on this machine.

use std::path::PathBuf;

/// The folder that holds the workspace's `Cargo.toml`, as it was when this program was compiled.
pub(crate) fn root() -> PathBuf {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    package.parent().map_or_else(|| package.clone(), PathBuf::from)
}

/// A folder that does not move with `CARGO_TARGET_DIR`, so that every tool finds it without asking Cargo.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}
