//! The one layer of an image: a tree of files, written as a tar archive.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tar::{Builder, EntryType, Header};

/// Folders that nothing else describes: readable by any user a pod may run as.
const FOLDER_MODE: u32 = 0o755;

/// What stands at one path of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Dir { mode: u32 },
    File { source: PathBuf, mode: u32 },
    Bytes { content: Vec<u8>, mode: u32 },
    Link { target: String },
}

impl Node {
    pub(super) fn text(text: &str) -> Self {
        Self::Bytes { content: text.as_bytes().to_vec(), mode: 0o644 }
    }

    pub(super) fn file(source: impl Into<PathBuf>, mode: u32) -> Self {
        Self::File { source: source.into(), mode }
    }
}

/// Paths relative to the image's root, in an order in which a folder stands before what it holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    nodes: BTreeMap<PathBuf, Node>,
}

impl Layer {
    /// Puts `node` at `path`, in place of what was there, with the folders above it.
    pub(super) fn put(&mut self, path: &str, node: Node) -> Result<()> {
        let relative = relative(path)?;
        for parent in relative.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()) {
            let folder = Node::Dir { mode: FOLDER_MODE };
            self.nodes.entry(parent.to_owned()).or_insert(folder);
        }
        self.nodes.insert(relative, node);
        Ok(())
    }

    /// Puts a file of this machine, or a folder with all below it, at `path`. Symbolic links are followed.
    pub(super) fn add(&mut self, source: &Path, path: &str, mode: Option<u32>) -> Result<()> {
        let metadata = source
            .metadata()
            .with_context(|| format!("cannot put {} into the image", source.display()))?;
        let own = metadata.permissions().mode() & 0o7777;
        if !metadata.is_dir() {
            return self.put(path, Node::file(source, mode.unwrap_or(own)));
        }
        self.put(path, Node::Dir { mode: own })?;
        for entry in source.read_dir()? {
            let name = entry?.file_name();
            let below = Path::new(path).join(&name);
            self.add(&source.join(&name), &below.to_string_lossy(), mode)?;
        }
        Ok(())
    }

    /// Writes the tree as a tar archive.
    pub(super) fn write(&self, out: impl Write) -> Result<()> {
        let mut tar = Builder::new(out);
        for (path, node) in &self.nodes {
            append(&mut tar, path, node)
                .with_context(|| format!("could not add {}", path.display()))?;
        }
        tar.finish()?;
        Ok(())
    }
}

/// A header without anything of this machine or this moment.
pub(super) fn header(kind: EntryType, size: u64, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn append(tar: &mut Builder<impl Write>, path: &Path, node: &Node) -> Result<()> {
    match node {
        Node::Dir { mode } => {
            tar.append_data(&mut header(EntryType::Directory, 0, *mode), path, std::io::empty())?;
        }
        Node::File { source, mode } => {
            let file = File::open(source).with_context(|| source.display().to_string())?;
            let size = file.metadata()?.len();
            tar.append_data(&mut header(EntryType::Regular, size, *mode), path, file)?;
        }
        Node::Bytes { content, mode } => {
            let size = content.len() as u64;
            tar.append_data(
                &mut header(EntryType::Regular, size, *mode),
                path,
                content.as_slice(),
            )?;
        }
        Node::Link { target } => {
            tar.append_link(&mut header(EntryType::Symlink, 0, 0o777), path, target)?;
        }
    }
    Ok(())
}

fn relative(path: &str) -> Result<PathBuf> {
    let mut components = Path::new(path).components();
    let rooted = components.next() == Some(Component::RootDir);
    let rest = components.as_path();
    let plain = rest.components().all(|c| matches!(c, Component::Normal(_)));
    ensure!(
        rooted && plain && !rest.as_os_str().is_empty(),
        "{path:?} is not an absolute path of a file in the image"
    );
    Ok(rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn entries(layer: &Layer) -> Vec<(String, u32, u64)> {
        let mut bytes = Vec::new();
        layer.write(&mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let header = entry.header();
            assert_eq!(header.mtime().unwrap(), 0);
            let path = entry.path().unwrap().display().to_string();
            (path, header.mode().unwrap(), content.len() as u64)
        };
        archive.entries().unwrap().map(read).collect()
    }

    #[test]
    fn folders_stand_before_their_files_and_keep_their_modes() {
        let mut layer = Layer::default();
        layer.put("/tmp/a/b", Node::text("hello")).unwrap();
        layer.put("/tmp", Node::Dir { mode: 0o1777 }).unwrap();
        layer.put("/tmp/c", Node::text("x")).unwrap();
        let expected =
            [("tmp", 0o1777, 0), ("tmp/a", 0o755, 0), ("tmp/a/b", 0o644, 5), ("tmp/c", 0o644, 1)];
        assert_eq!(entries(&layer), expected.map(|(p, m, s)| (p.to_owned(), m, s)));
    }

    #[test]
    fn a_folder_is_added_with_all_below_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("sub/file"), "1234").unwrap();
        let mut layer = Layer::default();
        layer.add(dir.path(), "/srv", Some(0o600)).unwrap();
        let names: Vec<_> = entries(&layer).into_iter().map(|(path, _, _)| path).collect();
        assert_eq!(names, ["srv", "srv/sub", "srv/sub/file"]);
    }

    #[test]
    fn a_path_longer_than_a_tar_name_survives() {
        let long = format!("/{}/file", "directory/".repeat(20).trim_end_matches('/'));
        let mut layer = Layer::default();
        layer.put(&long, Node::text("x")).unwrap();
        assert_eq!(format!("/{}", entries(&layer).last().unwrap().0), long);
    }

    #[test]
    fn only_absolute_paths_without_dots_are_taken() {
        for bad in ["relative", "/", "/a/../b", ""] {
            assert!(Layer::default().put(bad, Node::text("")).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_missing_source_is_named() {
        let error = Layer::default().add(Path::new("/nowhere/at/all"), "/a", None).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
