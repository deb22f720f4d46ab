//! The images that the test cluster itself brings: a pod's sandbox and a box of tools for test pods.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Image;
use crate::{command, workspace};

/// The image of every pod's sandbox; the container runtime's configuration names it.
pub(crate) const PAUSE: &str = "localhost/pause:1";
/// A shell, the usual commands, a small HTTP server (`httpd`, `nc`) and curl.
pub(crate) const TOOLBOX: &str = "localhost/toolbox:1";

/// Compiles the pause program and writes its image to `path`.
///
/// # Errors
/// When the C compiler or the static C library is missing.
pub(crate) fn pause(path: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("pause");
    let mut cc = command::tool("cc");
    cc.args(["-Os", "-s", "-static", "-Wall", "-Wextra", "-o"]).arg(&program);
    cc.arg(workspace::root().join("tests/cluster/pause.c"));
    command::succeed(&mut cc, command::QUICK).context("could not compile the pause program")?;
    let image = Image::scratch(PAUSE)?.entrypoint(["/pause"]).user(super::NONROOT);
    image.add(&program, "/pause", Some(0o755))?.write(path)
}

/// Writes the toolbox image to `path`, from this machine's busybox and curl.
///
/// # Errors
/// When either is not installed.
pub(crate) fn toolbox(path: &Path) -> Result<()> {
    let (busybox, curl) = (program("busybox")?, program("curl")?);
    let mut image = Image::new(TOOLBOX)?
        .add(&busybox, "/bin/busybox", Some(0o755))?
        .add(&curl, "/usr/bin/curl", Some(0o755))?
        .with_libraries_of(&busybox)
        .with_libraries_of(&curl);
    for applet in applets(&busybox)?.lines().filter(|applet| *applet != "busybox") {
        image = image.link(&format!("/bin/{applet}"), "busybox")?;
    }
    image.write(path)
}

fn applets(busybox: &Path) -> Result<String> {
    command::succeed(command::tool(busybox).arg("--list"), command::QUICK)
}

fn program(name: &str) -> Result<PathBuf> {
    command::find(name).with_context(|| format!("{name} is missing: run `cargo xtask setup`"))
}
