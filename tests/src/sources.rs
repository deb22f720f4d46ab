//! The project's own sources, for tests that hold to them what is written elsewhere.

use std::{fs, io, path::Path};

/// The texts of the files of a folder and of those in it.
///
/// # Errors
///
/// Fails where one can't be read.
pub fn sources(folder: &Path) -> io::Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if path.is_dir() {
            texts.extend(sources(&path)?);
        } else {
            texts.push(fs::read_to_string(path)?);
        }
    }
    Ok(texts)
}
