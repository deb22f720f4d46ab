//! Reads how much memory is used, and how much may be: from the kernel's files, a few hundred bytes each.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where control groups of version 2 are mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// How much memory is used, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// What is used and can't be taken back at once.
    pub used: u64,
    /// How much may be used; `None` where that is not bounded.
    pub limit: Option<u64>,
}

/// The control group of this process, or the nearest above it, that has a limit.
pub(super) fn own_cgroup() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    limited(Path::new(ROOT), own)
}

fn limited(root: &Path, own: &str) -> Option<PathBuf> {
    let own = root.join(own.trim_start_matches('/'));
    let mut inside = own.ancestors().take_while(|directory| directory.starts_with(root));
    inside.find(|directory| limit(directory).is_some()).map(Path::to_owned)
}

/// How much a control group uses.
pub(super) fn of_cgroup(directory: &Path) -> Option<Reading> {
    let current = number(&fs::read_to_string(directory.join("memory.current")).ok()?)?;
    let used = current.saturating_sub(file_cache(directory));
    Some(Reading { used, limit: limit(directory) })
}

fn limit(directory: &Path) -> Option<u64> {
    // Where there is none it says "max".
    number(&fs::read_to_string(directory.join("memory.max")).ok()?)
}

/// What of it is pages of files, which the kernel gives up before it kills anybody.
fn file_cache(directory: &Path) -> u64 {
    let statistics = fs::read_to_string(directory.join("memory.stat")).unwrap_or_default();
    let named = statistics.lines().filter_map(|line| line.split_once(' '));
    let cache = named.filter(|(name, _)| matches!(*name, "inactive_file" | "active_file"));
    cache.filter_map(|(_, value)| number(value)).sum()
}

/// How much of this process is in memory.
pub(super) fn of_process(limit: Option<u64>) -> Option<Reading> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes = number(resident.trim().trim_end_matches("kB"))?;
    Some(Reading { used: kibibytes * 1_024, limit })
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, name: &str, text: &str) {
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join(name), text).unwrap();
    }

    #[test]
    fn the_cache_of_files_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        assert_eq!(of_cgroup(directory), None);
        write(directory, "memory.current", "1000\n");
        assert_eq!(of_cgroup(directory), Some(Reading { used: 1_000, limit: None }));
        write(directory, "memory.max", "2000\n");
        write(directory, "memory.stat", "anon 100\nfile 800\ninactive_file 500\nactive_file 200\n");
        assert_eq!(of_cgroup(directory), Some(Reading { used: 300, limit: Some(2_000) }));
        write(directory, "memory.max", "max\n");
        assert_eq!(of_cgroup(directory), Some(Reading { used: 300, limit: None }));
    }

    #[test]
    fn the_nearest_limit_counts_and_none_outside_of_the_root() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        write(directory.path(), "memory.max", "1");
        write(&root.join("pod"), "memory.max", "2000");
        write(&root.join("pod/container/inner"), "memory.max", "max");
        assert_eq!(limited(&root, "/pod/container/inner"), Some(root.join("pod")));
        assert_eq!(limited(&root, "/"), None);
        assert_eq!(limited(&root, "/other"), None);
        write(&root, "memory.max", "5");
        assert_eq!(limited(&root, "/"), Some(root));
    }
}
