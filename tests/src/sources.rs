//! The project's own sources, for tests that hold to them what is written elsewhere.

use std::{collections::BTreeSet, fs, io, path::Path};

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

/// The metrics of ours that expressions in PromQL ask for, without the endings that a scrape adds.
pub fn metrics_in<'a>(expressions: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let words = expressions.into_iter().flat_map(|text| text.split(move |char| !is_name(char)));
    let endings = ["_total", "_bucket", "_count", "_sum"];
    let bare = |word: &str| {
        let ending = endings.iter().find_map(|ending| word.strip_suffix(ending));
        ending.unwrap_or(word).to_owned()
    };
    words.filter(|word| word.starts_with("weir_")).map(bare).collect()
}
