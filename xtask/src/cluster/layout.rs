//! Where one cluster keeps what it has, and the names it goes by on the machine.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::workspace;

/// Overrides the folder of the cluster; two folders are two clusters.
pub(crate) const DIR_VARIABLE: &str = "WEIR_CLUSTER_DIR";

/// Where network namespaces have their names.
pub(crate) const NAMESPACES: &str = "/run/netns";

/// A killed command lets go of its lock when the kernel has taken it apart.
pub(crate) const LOCK_LIMIT: Duration = Duration::from_secs(5);

/// One cluster's folder.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// The folder that the environment names, which is made if need be.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn from_environment() -> Result<Self> {
        Self::from_environment_or("cluster")
    }

    /// The folder that the environment names, or else `name` in the target folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn from_environment_or(name: &str) -> Result<Self> {
        let named = std::env::var_os(DIR_VARIABLE).filter(|value| !value.is_empty());
        let dir = named.map_or_else(|| workspace::target().join(name), PathBuf::from);
        std::fs::create_dir_all(&dir)
            .with_context(|| format!("could not make {}", dir.display()))?;
        Ok(Self { dir: dir.canonicalize()? })
    }

    /// Keeps a second `up` or `down` on the same folder away for as long as the result lives.
    ///
    /// # Errors
    /// When another process still holds it after `limit`.
    pub(crate) fn lock(&self, limit: Duration) -> Result<File> {
        let file = File::create(self.dir.join(".lock"))?;
        let deadline = Instant::now() + limit;
        while file.try_lock().is_err() {
            if Instant::now() >= deadline {
                bail!("another `cargo xtask cluster` command is changing {}", self.dir.display());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(file)
    }

    /// Makes the folders that every cluster has.
    ///
    /// # Errors
    /// When one cannot be made.
    pub(crate) fn make_folders(&self) -> Result<()> {
        for dir in [self.logs(), self.pids(), self.pki(), self.config(), self.data(), self.images()]
        {
            std::fs::create_dir_all(&dir)
                .with_context(|| format!("could not make {}", dir.display()))?;
        }
        Ok(())
    }

    /// The name of the cluster's network namespace, its cgroup and its folder in `/run`. It differs
    /// between folders, so that clusters do not meet.
    pub(crate) fn instance(&self) -> String {
        let hash = Sha256::digest(self.dir.as_os_str().as_encoded_bytes());
        let short: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("weir-{short}")
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Kubeconfig of the cluster's administrator.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }

    /// `KEY=VALUE` lines for those who use the cluster. It exists while the cluster is up.
    pub(crate) fn environment(&self) -> PathBuf {
        self.dir.join("env")
    }

    /// One log for each component. They outlive the cluster, until the next one starts.
    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    pub(crate) fn log(&self, component: &str) -> PathBuf {
        self.logs().join(format!("{component}.log"))
    }

    pub(crate) fn pids(&self) -> PathBuf {
        self.dir.join("pids")
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.dir.join("pki")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("config")
    }

    /// What the components store.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// What a node sees as `/var/lib`, `/var/log` and `/run`.
    pub(crate) fn node(&self, name: &str) -> PathBuf {
        self.data().join(name)
    }

    /// What the daemons of a node are configured by.
    pub(crate) fn node_config(&self, name: &str) -> PathBuf {
        self.config().join(name)
    }

    /// Image archives that every start imports. They outlive the cluster.
    pub(crate) fn images(&self) -> PathBuf {
        self.dir.join("images")
    }

    /// Sockets: their paths may not be longer than 107 bytes, so they cannot lie in the cluster's folder.
    pub(crate) fn sockets(&self) -> PathBuf {
        Path::new("/run").join(self.instance())
    }

    /// The socket of a node's container runtime, as seen from outside the node.
    pub(crate) fn containerd_socket(&self, node: &str) -> PathBuf {
        self.sockets().join(node).join("containerd.sock")
    }

    /// The network namespace of the control plane and the first node, as `nsenter --net=` takes it.
    pub(crate) fn network_namespace(&self) -> PathBuf {
        Path::new(NAMESPACES).join(self.instance())
    }
}

#[cfg(test)]
impl Layout {
    pub(crate) fn in_folder(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_folders_are_two_instances_and_one_folder_always_the_same() {
        let of = |dir: &str| Layout::in_folder(Path::new(dir)).instance();
        assert_eq!(of("/a/cluster"), of("/a/cluster"));
        assert_ne!(of("/a/cluster"), of("/b/cluster"));
    }

    #[test]
    fn sockets_are_short_however_deep_the_folder_is() {
        let deep = Layout::in_folder(Path::new(&"/deep/er".repeat(40)));
        assert!(deep.containerd_socket("node0").as_os_str().len() < 108);
    }

    #[test]
    fn a_second_lock_on_the_same_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::in_folder(dir.path());
        let held = layout.lock(Duration::ZERO).unwrap();
        assert!(layout.lock(Duration::ZERO).is_err());
        drop(held);
        layout.lock(Duration::ZERO).unwrap();
    }
}
