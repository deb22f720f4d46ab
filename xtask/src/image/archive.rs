//! The archive around a layer: the image's configuration and the list that ties both to a name.

use std::fs::File;
use std::io::{self, BufWriter, Seek as _, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType};
use tempfile::NamedTempFile;

use super::Image;
use super::layer::{Layer, header};

/// Writes the archive of `image` with `layer` as its only layer.
pub(super) fn write(image: &Image, layer: &Layer, path: &Path) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut blob = tempfile::tempfile_in(folder)?;
    let digest = write_layer(layer, &blob)?;
    blob.rewind()?;
    let out = NamedTempFile::new_in(folder)?;
    write_archive(image, &digest, &mut blob, BufWriter::new(out.as_file()))?;
    persist(out, path)
}

fn persist(out: NamedTempFile, path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    out.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    out.persist(path)?;
    Ok(())
}

fn write_layer(layer: &Layer, blob: &File) -> Result<String> {
    let mut hashing = Hashing { inner: BufWriter::new(blob), hash: Sha256::new() };
    layer.write(&mut hashing)?;
    hashing.flush()?;
    Ok(hex(&hashing.hash.finalize()))
}

fn write_archive(image: &Image, digest: &str, blob: &mut File, out: impl Write) -> Result<()> {
    let config = serde_json::to_vec(&config(image, digest)?)?;
    let config_name = format!("{}.json", hex(&Sha256::digest(&config)));
    let layer_name = format!("{digest}/layer.tar");
    let manifest = json!([{
        "Config": config_name, "RepoTags": [image.reference], "Layers": [layer_name],
    }]);
    let mut tar = Builder::new(out);
    let size = blob.metadata()?.len();
    tar.append_data(&mut header(EntryType::Regular, size, 0o644), layer_name, blob)?;
    append_bytes(&mut tar, &config_name, &config)?;
    append_bytes(&mut tar, "manifest.json", &serde_json::to_vec(&manifest)?)?;
    tar.into_inner()?.flush()?;
    Ok(())
}

fn append_bytes(tar: &mut Builder<impl Write>, name: &str, bytes: &[u8]) -> Result<()> {
    let mut header = header(EntryType::Regular, bytes.len() as u64, 0o644);
    tar.append_data(&mut header, name, bytes)?;
    Ok(())
}

/// The image configuration of the OCI image specification.
fn config(image: &Image, digest: &str) -> Result<Value> {
    Ok(json!({
        "architecture": architecture()?,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Entrypoint": image.entrypoint,
            "User": image.user.as_deref().unwrap_or_default(),
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        "history": [],
    }))
}

/// This machine's architecture under the name that images use.
fn architecture() -> Result<&'static str> {
    let names = [("x86_64", "amd64"), ("aarch64", "arm64")];
    let found = names.iter().find(|(rust, _)| *rust == std::env::consts::ARCH);
    found.map(|(_, oci)| *oci).context("images are made on amd64 and arm64 only")
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Read as _;

    fn example() -> Image {
        let image =
            Image::new("localhost/example:1").unwrap().user("65532").entrypoint(["/app", "-v"]);
        image.link("/app", "/bin/app").unwrap()
    }

    fn files(archive: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(File::open(archive).unwrap());
        let read = |entry: io::Result<tar::Entry<'_, File>>| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().display().to_string(), content)
        };
        archive.entries().unwrap().map(read).collect()
    }

    #[test]
    fn the_manifest_ties_the_name_to_a_configuration_and_a_layer_with_the_right_digests() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("example.tar");
        example().write(&path).unwrap();
        let files = files(&path);
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "localhost/example:1");
        let config_name = manifest[0]["Config"].as_str().unwrap();
        assert_eq!(config_name, format!("{}.json", hex(&Sha256::digest(&files[config_name]))));
        let config: Value = serde_json::from_slice(&files[config_name]).unwrap();
        let layer = &files[manifest[0]["Layers"][0].as_str().unwrap()];
        let digest = format!("sha256:{}", hex(&Sha256::digest(layer)));
        assert_eq!(config["rootfs"]["diff_ids"][0], digest);
        assert_eq!(config["config"]["Entrypoint"], json!(["/app", "-v"]));
        assert_eq!(config["config"]["User"], "65532");
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = ["one.tar", "two.tar"].map(|name| dir.path().join(name));
        example().write(&one).unwrap();
        example().write(&two).unwrap();
        assert_eq!(std::fs::read(one).unwrap(), std::fs::read(two).unwrap());
    }

    #[test]
    fn an_image_that_cannot_be_made_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("example.tar");
        let gone = dir.path().join("gone");
        std::fs::write(&gone, "x").unwrap();
        let image = example().add(&gone, "/gone", None).unwrap();
        std::fs::remove_file(&gone).unwrap();
        assert!(image.write(&path).is_err());
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    }
}
