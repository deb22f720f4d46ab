//! `cargo xtask cluster down`: ends a cluster and removes all it left on the machine.
//!
//! It works from what the machine shows, not from what a start wrote down, so that it clears away also
//! what a killed start left.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::layout::{LOCK_LIMIT, Layout};
use super::{cgroup, network, process};
use crate::command::{self, QUICK, tool};

/// `cargo xtask cluster down`.
///
/// # Errors
/// When something stays behind.
pub(crate) fn command() -> Result<()> {
    let layout = Layout::from_environment()?;
    run(&layout)?;
    println!("nothing of a cluster is left running in {}", layout.dir().display());
    Ok(())
}

/// The same, for the cluster of `layout`.
///
/// # Errors
/// As [`command`].
pub(crate) fn run(layout: &Layout) -> Result<()> {
    let _lock = layout.lock(LOCK_LIMIT)?;
    clear(layout)
}

/// Leaves of the cluster in `layout` only its logs and its image archives.
///
/// # Errors
/// When a process, namespace, cgroup, mount or file cannot be removed.
pub(crate) fn clear(layout: &Layout) -> Result<()> {
    // First what announces it.
    for file in [layout.environment(), layout.kubeconfig()] {
        remove(&file)?;
    }
    process::end_all(layout)?;
    // A group is empty only when the last container is gone; files may be removed after that.
    cgroup::remove(&layout.instance())?;
    network::remove(layout)?;
    unmount_below(layout.dir())?;
    for folder in [layout.sockets(), layout.pids(), layout.pki(), layout.config(), layout.data()] {
        remove(&folder)?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    let Ok(metadata) = path.symlink_metadata() else {
        return Ok(());
    };
    let removed =
        if metadata.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    removed.with_context(|| format!("could not remove {}", path.display()))
}

/// The node's mounts go with its namespace; this is for one that was made elsewhere.
fn unmount_below(dir: &Path) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for mount in below(&mounts, dir) {
        command::succeed(tool("umount").arg("--lazy").arg(mount), QUICK)?;
    }
    Ok(())
}

/// Mount points below `dir`, the innermost first, as the kernel lists them in the order they were made.
fn below(mounts: &str, dir: &Path) -> Vec<PathBuf> {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    let mut below: Vec<_> = points.filter(|point| point.starts_with(dir) && point != dir).collect();
    below.reverse();
    below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_below_the_folder_go_from_the_inside_and_others_stay() {
        let mounts = "a /c/data x\nb /c/data/deep x\nc /cc x\nd /c x\n";
        assert_eq!(below(mounts, Path::new("/c")), ["/c/data/deep", "/c/data"].map(PathBuf::from));
    }

    #[test]
    fn logs_and_images_stay_and_clearing_twice_is_as_good_as_once() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::in_folder(dir.path());
        layout.make_folders().unwrap();
        std::fs::write(layout.log("etcd"), "x").unwrap();
        std::fs::write(layout.kubeconfig(), "x").unwrap();
        clear(&layout).unwrap();
        clear(&layout).unwrap();
        assert!(layout.log("etcd").exists() && layout.images().exists());
        assert!(!layout.kubeconfig().exists() && !layout.data().exists());
    }
}
