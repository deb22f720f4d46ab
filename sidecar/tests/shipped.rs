//! Reads what the operators of this version and of those before give, or gave, their sidecars.
//!
//! An operator is upgraded before the sidecars are, and a sidecar may be newer than the operator that is rolled
//! back to; so what one version has written, the next must serve.

#![cfg(feature = "full")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use weir_sidecar::config;

#[test]
fn every_configuration_that_was_ever_shipped_is_served() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shipped");
    let mut read = 0;
    for version in fs::read_dir(shipped).unwrap() {
        for file in fs::read_dir(version.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let loaded = config::load(std::slice::from_ref(&path));
            let config = loaded.unwrap_or_else(|errors| panic!("{}:\n{errors}", path.display()));
            assert!(!config.pipelines.is_empty(), "{} holds no pipeline", path.display());
            read += 1;
        }
    }
    assert!(read > 0);
}
