//! The cgroup below which the node's pods run, in every hierarchy that the machine mounts.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The last process of a group may take this long to be gone after it was killed.
const REMOVAL_LIMIT: Duration = Duration::from_secs(30);

/// What the kubelet wants of a unified hierarchy, as far as the machine has it.
const CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"];

/// Makes the group `name`, which may be a path, in every hierarchy.
///
/// # Errors
/// When one is not writable.
pub(crate) fn create(name: &str) -> Result<()> {
    for Hierarchy { root, unified } in hierarchies()? {
        let mut group = root;
        for part in Path::new(name) {
            if unified {
                enable(&group);
            }
            group.push(part);
            std::fs::create_dir_all(&group)
                .with_context(|| format!("could not make {}", group.display()))?;
        }
        if unified {
            enable(&group);
        }
    }
    Ok(())
}

/// Removes the group `name` with all below it from every hierarchy.
///
/// # Errors
/// When processes stay in it.
pub(crate) fn remove(name: &str) -> Result<()> {
    let deadline = Instant::now() + REMOVAL_LIMIT;
    for Hierarchy { root, .. } in hierarchies()? {
        let group = root.join(name);
        while group.exists() {
            let removed = remove_tree(&group);
            if Instant::now() >= deadline {
                removed.with_context(|| format!("could not remove {}", group.display()))?;
                bail!("{} comes back", group.display());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

/// One mounted tree of groups.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    root: PathBuf,
    /// cgroup v2.
    unified: bool,
}

fn hierarchies() -> Result<Vec<Hierarchy>> {
    if !Path::new("/proc/self/mounts").exists() {
        return Ok(Vec::new());
    }
    Ok(parse(&std::fs::read_to_string("/proc/self/mounts")?))
}

/// Finds cgroup mounts in the format of `fstab(5)`.
fn parse(mounts: &str) -> Vec<Hierarchy> {
    let hierarchy = |line: &str| {
        let mut fields = line.split(' ');
        let (root, kind) = (fields.nth(1)?, fields.next()?);
        let unified = kind == "cgroup2";
        (unified || kind == "cgroup").then(|| Hierarchy { root: PathBuf::from(root), unified })
    };
    mounts.lines().filter_map(hierarchy).collect()
}

/// Passes controllers down to the groups below. A controller that is bound to an older hierarchy or not
/// delegated cannot be; the kubelet says so if it needs it.
fn enable(group: &Path) {
    for controller in CONTROLLERS {
        let _absent =
            std::fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// A group goes when it has no children and no processes; its files go with it.
fn remove_tree(group: &Path) -> std::io::Result<()> {
    for entry in group.read_dir()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    std::fs::remove_dir(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_hierarchy_are_found_among_other_mounts() {
        let mounts = "proc /proc proc rw 0 0\n\
                      tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let expected = [("/sys/fs/cgroup/memory", false), ("/sys/fs/cgroup/unified", true)];
        let expected = expected.map(|(root, unified)| Hierarchy { root: root.into(), unified });
        assert_eq!(parse(mounts), expected);
    }

    #[test]
    fn a_group_that_was_never_made_is_removed_already() {
        remove("weir-never-made").unwrap();
    }

    #[test]
    fn a_tree_of_groups_is_removed_from_below() {
        let dir = tempfile::tempdir().unwrap();
        let group = dir.path().join("weir");
        std::fs::create_dir_all(group.join("pods/one")).unwrap();
        remove_tree(&group).unwrap();
        assert!(!group.exists());
    }
}
