//! `cargo xtask image`: makes a container image archive from files of this machine, without a registry,
//! a daemon or a base image.
//!
//! The archive has the layout of `docker save`, which `ctr images import`, `docker load`, `podman load`
//! and `kind load image-archive` all take. The same input gives the same bytes: entries are sorted, and
//! owners and times are fixed.

mod archive;
mod bundled;
mod layer;
mod libraries;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

pub(crate) use bundled::{PAUSE, TOOLBOX, pause, toolbox};
use layer::{Layer, Node};

/// The user that images run as unless they say otherwise, as in the distroless images: it satisfies the
/// restricted Pod Security level, which wants a number.
pub(crate) const NONROOT: &str = "65532:65532";

/// Where TLS libraries look for the public certificate authorities.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// An image to be: files of this machine and how to start them.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    reference: String,
    layer: Layer,
    programs: Vec<PathBuf>,
    entrypoint: Vec<String>,
    user: Option<String>,
}

impl Image {
    /// An image with nothing in it, for a static program.
    ///
    /// # Errors
    /// When `reference` is not of the form `NAME:TAG`.
    pub(crate) fn scratch(reference: &str) -> Result<Self> {
        let name_and_tag = reference.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'));
        ensure!(
            name_and_tag.is_some_and(|(name, tag)| !name.is_empty() && !tag.is_empty()),
            "image name {reference:?} needs a tag, as in localhost/app:1"
        );
        Ok(Self {
            reference: reference.to_owned(),
            layer: Layer::default(),
            programs: Vec::new(),
            entrypoint: Vec::new(),
            user: None,
        })
    }

    /// An image with what most programs expect: users (root and nonroot, 65532), a `/tmp`, the order of
    /// name look-ups, and this machine's certificate authorities where it has them.
    ///
    /// # Errors
    /// As [`Image::scratch`].
    pub(crate) fn new(reference: &str) -> Result<Self> {
        let mut image = Self::scratch(reference)?;
        let texts = [
            (
                "/etc/passwd",
                "root:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65532:nonroot:/home/nonroot:/bin/sh\n",
            ),
            ("/etc/group", "root:x:0:\nnonroot:x:65532:\n"),
            ("/etc/nsswitch.conf", "hosts: files dns\n"),
        ];
        for (path, text) in texts {
            image.layer.put(path, Node::text(text))?;
        }
        image.layer.put("/tmp", Node::Dir { mode: 0o1777 })?;
        if Path::new(CERTIFICATES).is_file() {
            image.layer.put(CERTIFICATES, Node::file(CERTIFICATES, 0o644))?;
        }
        Ok(image)
    }

    /// Adds a file, or a folder with all that is below it. Without a `mode` the source's own counts.
    ///
    /// # Errors
    /// When the source cannot be read or the destination is not absolute.
    pub(crate) fn add(
        mut self,
        source: &Path,
        destination: &str,
        mode: Option<u32>,
    ) -> Result<Self> {
        self.layer.add(source, destination, mode)?;
        Ok(self)
    }

    /// Adds a symbolic link at `path`.
    ///
    /// # Errors
    /// When `path` is not absolute.
    pub(crate) fn link(mut self, path: &str, target: &str) -> Result<Self> {
        self.layer.put(path, Node::Link { target: target.to_owned() })?;
        Ok(self)
    }

    /// Adds the shared libraries of a program of this machine, at the paths it loads them from.
    #[must_use]
    pub(crate) fn with_libraries_of(mut self, program: &Path) -> Self {
        self.programs.push(program.to_owned());
        self
    }

    /// Sets the command that a container starts, to which its `args` are appended.
    #[must_use]
    pub(crate) fn entrypoint<S: Into<String>>(
        mut self,
        words: impl IntoIterator<Item = S>,
    ) -> Self {
        self.entrypoint = words.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the user, as `UID` or `UID:GID`; root otherwise.
    #[must_use]
    pub(crate) fn user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// Writes the archive, by way of a temporary file, so that `path` never holds half an image.
    ///
    /// # Errors
    /// When a source or a library is missing or `path` cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut layer = self.layer.clone();
        for program in &self.programs {
            for library in libraries::of(program)? {
                layer.add(&library, &library.to_string_lossy(), Some(0o755))?;
            }
        }
        archive::write(self, &layer, path).with_context(|| {
            format!("could not write image {} to {}", self.reference, path.display())
        })
    }
}

/// The arguments of `cargo xtask image`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Name of the image, such as localhost/app:1
    reference: String,
    /// Archive to write
    out: PathBuf,
    /// File or folder to put in, as SRC:DST or SRC:DST:MODE with an octal mode
    #[arg(long = "add", value_name = "SRC:DST[:MODE]")]
    additions: Vec<String>,
    /// Command to start, as a JSON list of words
    #[arg(long, value_name = "JSON", default_value = "[]")]
    entrypoint: String,
    /// UID or UID:GID to run as
    #[arg(long, default_value = NONROOT)]
    user: String,
    /// Program of this machine whose shared libraries are put in
    #[arg(long = "with-libs", value_name = "BINARY")]
    programs: Vec<PathBuf>,
}

/// `cargo xtask image`: writes the image that `arguments` describe.
///
/// # Errors
/// When an argument is malformed, and as [`Image::write`].
pub(crate) fn command(arguments: &Arguments) -> Result<()> {
    let Arguments { reference, out, additions, entrypoint, user, programs } = arguments;
    let words: Vec<String> = serde_json::from_str(entrypoint)
        .with_context(|| format!("--entrypoint {entrypoint:?} is not a JSON list of strings"))?;
    let mut image = Image::new(reference)?.entrypoint(words).user(user);
    for addition in additions {
        let (source, destination, mode) = parse_addition(addition)?;
        image = image.add(source, destination, mode)?;
    }
    for program in programs {
        image = image.with_libraries_of(program);
    }
    image.write(out)
}

fn parse_addition(addition: &str) -> Result<(&Path, &str, Option<u32>)> {
    let mut parts = addition.splitn(3, ':');
    let (source, destination) = parts
        .next()
        .zip(parts.next())
        .with_context(|| format!("--add {addition:?} is not SRC:DST or SRC:DST:MODE"))?;
    let mode = parts.next().map(|mode| u32::from_str_radix(mode, 8)).transpose();
    let mode = mode.with_context(|| format!("--add {addition:?}: the mode is not octal"))?;
    Ok((Path::new(source), destination, mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_addition_has_a_source_a_destination_and_perhaps_a_mode() {
        assert_eq!(parse_addition("a:/b").unwrap(), (Path::new("a"), "/b", None));
        assert_eq!(parse_addition("a:/b:750").unwrap(), (Path::new("a"), "/b", Some(0o750)));
        assert!(parse_addition("a").is_err());
        assert!(parse_addition("a:/b:rwx").unwrap_err().to_string().contains("not octal"));
    }

    #[test]
    fn a_name_needs_a_tag() {
        for bad in ["localhost/app", "localhost:5000/app", "app:", ":1"] {
            assert!(Image::scratch(bad).is_err(), "{bad}");
        }
        assert!(Image::scratch("localhost:5000/app:1").is_ok());
    }
}
