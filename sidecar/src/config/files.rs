//! Finds the files that hold manifests, and reads them.

use std::{
    collections::BTreeSet,
    fs, io,
    io::Read,
    path::{Path, PathBuf},
};

/// The most bytes of one file: as much as Kubernetes puts into one ConfigMap.
const MAX_BYTES: u64 = 1 << 20;

/// What a file in UTF-8 may begin with, and means nothing.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// What is said of a named file that is empty.
const EMPTY: &str =
    "the file is empty: write a manifest into it, or, to declare nothing, a comment such as # none";

/// The files in the order in which they were named or, in a directory, of their names, each with its
/// text or the reason why it has none. Equal where nothing has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Files(pub(super) Vec<(PathBuf, Result<String, String>)>);

impl Files {
    /// Reads all that `paths` name.
    pub(super) fn read(paths: &[PathBuf]) -> Self {
        let mut files = Self::default();
        let mut entered = BTreeSet::new();
        for path in paths {
            if path.is_dir() {
                files.enter(path, &mut entered);
            } else {
                files.take_named(path.clone());
            }
        }
        files
    }

    /// Takes a file that the command line names: to be without it, it would have to be named no more.
    fn take_named(&mut self, path: PathBuf) {
        self.take(path);
        if let Some((_, text)) = self.0.last_mut()
            && text.as_ref().is_ok_and(|text| text.trim().is_empty())
        {
            *text = Err(EMPTY.to_owned());
        }
    }

    /// Reads a directory, unless it was entered before: symlinks may lead back to it.
    fn enter(&mut self, directory: &Path, entered: &mut BTreeSet<PathBuf>) {
        let found = fs::canonicalize(directory).and_then(|canonical| {
            if entered.insert(canonical) { entries(directory) } else { Ok(Vec::new()) }
        });
        match found {
            Ok(found) => found.into_iter().for_each(|path| self.visit(path, entered)),
            Err(error) => self.fail(directory.to_owned(), &error),
        }
    }

    fn visit(&mut self, path: PathBuf, entered: &mut BTreeSet<PathBuf>) {
        if path.is_dir() {
            self.enter(&path, entered);
        } else if is_manifest(&path) {
            self.take(path);
        }
    }

    fn take(&mut self, path: PathBuf) {
        match text(&path) {
            Ok(text) => self.0.push((path, Ok(text))),
            Err(error) => self.fail(path, &error),
        }
    }

    fn fail(&mut self, path: PathBuf, error: &io::Error) {
        self.0.push((path, Err(format!("can't be read: {error}"))));
    }
}

/// The entries of a directory by name, without those that begin with two dots: the kubelet keeps the
/// data of a ConfigMap in such a directory, and links to them from beside it.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b"..") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known))
    })
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    // Some editors write it; to the parser it would be a part of the first key.
    match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) => Ok(rest.to_owned()),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(files: &Files, root: &Path) -> Vec<String> {
        let name = |path: &PathBuf| path.strip_prefix(root).unwrap().display().to_string();
        files.0.iter().map(|(path, _)| name(path)).collect()
    }

    #[test]
    fn a_directory_is_read_in_order_with_all_below_it() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("b/c")).unwrap();
        for name in ["z.yaml", "a.yml", "b/c/x.JSON", "b/README.md", "no-extension"] {
            fs::write(root.path().join(name), name).unwrap();
        }
        let files = Files::read(&[root.path().to_owned()]);
        assert_eq!(names(&files, root.path()), ["a.yml", "b/c/x.JSON", "z.yaml"]);
        assert_eq!(files.0[0].1.as_deref(), Ok("a.yml"));
    }

    #[test]
    fn a_file_that_was_named_and_is_empty_is_to_be_written_and_not_deleted() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.yaml");
        fs::write(&path, " \n").unwrap();
        let named = Files::read(&[path]);
        assert!(named.0[0].1.as_ref().is_err_and(|why| why.contains("write a manifest into it")));
        let found = Files::read(&[root.path().to_owned()]);
        assert_eq!(found.0[0].1.as_deref(), Ok(" \n"), "a file of a directory can be deleted");
    }

    #[test]
    fn the_volume_of_a_config_map_is_read_through_its_links() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("..2026_01_02");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("orders.yaml"), "x").unwrap();
        symlink("..2026_01_02", root.path().join("..data")).unwrap();
        symlink("..data/orders.yaml", root.path().join("orders.yaml")).unwrap();
        let files = Files::read(&[root.path().to_owned()]);
        assert_eq!(names(&files, root.path()), ["orders.yaml"]);
    }

    #[test]
    fn a_link_that_leads_back_is_followed_once() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.yaml"), "x").unwrap();
        symlink(root.path(), root.path().join("loop")).unwrap();
        assert_eq!(names(&Files::read(&[root.path().to_owned()]), root.path()), ["a.yaml"]);
    }

    #[test]
    fn a_mark_of_the_byte_order_is_no_part_of_the_text() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.yaml");
        fs::write(&path, "\u{feff}kind: x\n").unwrap();
        assert_eq!(Files::read(&[path]).0[0].1.as_deref(), Ok("kind: x\n"));
    }

    #[test]
    fn what_can_not_be_read_says_why() {
        let root = tempfile::tempdir().unwrap();
        let [missing, large, binary] =
            ["missing", "large.yaml", "binary.yaml"].map(|n| root.path().join(n));
        fs::write(&large, vec![b'#'; 1 + (1 << 20)]).unwrap();
        fs::write(&binary, b"\xff\xfe").unwrap();
        let files = Files::read(&[missing, large, binary]);
        let reasons: Vec<_> = files.0.into_iter().map(|(_, text)| text.unwrap_err()).collect();
        for (reason, word) in reasons.iter().zip(["No such file", "larger than 1 MiB", "UTF-8"]) {
            assert!(reason.contains(word), "{reason}");
        }
        assert_eq!(reasons.len(), 3);
    }
}
