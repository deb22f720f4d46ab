//! What a cluster tells those who use it: `KEY=VALUE` lines in the file `env` of its folder.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::build::Binaries;
use super::layout::Layout;
use super::network::NODE_ADDRESS;
use super::plan::Plan;

/// How much of a cluster there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Pods run.
    Node,
    /// An API without nodes.
    ControlPlane,
    /// Somebody else's, which is never changed or ended.
    Existing,
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::ControlPlane => "control-plane",
            Self::Existing => "existing",
        }
    }
}

/// The lines of a running cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Environment {
    lines: Vec<(String, String)>,
}

impl Environment {
    /// What users of `plan` need.
    pub(crate) fn of(plan: &Plan) -> Self {
        let mode = if plan.has_nodes() { Mode::Node } else { Mode::ControlPlane };
        let mut environment = Self { lines: Vec::new() };
        environment.add("WEIR_CLUSTER_MODE", mode.word());
        environment.add_path("WEIR_CLUSTER_DIR", plan.layout.dir());
        environment.add_path("KUBECONFIG", &plan.layout.kubeconfig());
        environment.add_clients(&plan.binaries);
        if let Some(first) = plan.nodes.first() {
            environment.add_nodes(plan, &first.name());
        }
        environment
    }

    fn add_nodes(&mut self, plan: &Plan, first: &str) {
        self.add_path("CTR", &plan.binaries.path("ctr"));
        self.add_path("CONTAINERD_ADDRESS", &plan.layout.containerd_socket(first));
        self.add("CONTAINERD_NAMESPACE", "k8s.io");
        self.add_path("WEIR_CLUSTER_NETNS", &plan.layout.network_namespace());
        self.add("WEIR_CLUSTER_NODE", first);
        self.add("WEIR_CLUSTER_NODE_ADDRESS", NODE_ADDRESS);
        let names: Vec<_> = plan.nodes.iter().map(|node| node.name()).collect();
        self.add("WEIR_CLUSTER_NODES", &names.join(","));
    }

    /// The names of the cluster's own nodes.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &str> {
        self.get("WEIR_CLUSTER_NODES").into_iter().flat_map(|names| names.split(','))
    }

    /// What users of somebody else's cluster need.
    pub(crate) fn of_existing(layout: &Layout, kubeconfig: &str, kubectl: &Path) -> Result<Self> {
        let mut environment = Self { lines: Vec::new() };
        environment.add("WEIR_CLUSTER_MODE", Mode::Existing.word());
        environment.add_path("WEIR_CLUSTER_DIR", layout.dir());
        environment.add("KUBECONFIG", kubeconfig);
        environment.add_path("KUBECTL", kubectl);
        let helm = Binaries::present()?.find("helm").or_else(|| crate::command::find("helm"));
        if let Some(helm) = helm {
            environment.add_path("HELM", &helm);
        }
        Ok(environment)
    }

    /// Reads the lines of the cluster in `layout`.
    ///
    /// # Errors
    /// When there is none, with the command that starts one.
    pub(crate) fn read(layout: &Layout) -> Result<Self> {
        let path = layout.environment();
        let dir = layout.dir().display();
        ensure!(path.exists(), "no cluster is up in {dir}: run `cargo xtask cluster up`");
        let text = std::fs::read_to_string(&path)?;
        let split = |line: &str| line.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
        Ok(Self { lines: text.lines().filter_map(split).collect() })
    }

    /// Writes the lines, which announces that the cluster is up.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, layout: &Layout) -> Result<()> {
        let text: String =
            self.lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        Ok(std::fs::write(layout.environment(), text)?)
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.lines.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// The value of a key that every cluster has.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn require(&self, key: &str) -> Result<&str> {
        self.get(key).with_context(|| format!("this cluster has no {key}"))
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    fn add_clients(&mut self, binaries: &Binaries) {
        for (key, program) in [("KUBECTL", "kubectl"), ("HELM", "helm")] {
            if let Some(path) = binaries.find(program) {
                self.add_path(key, &path);
            }
        }
    }

    fn add_path(&mut self, key: &str, path: &Path) {
        self.add(key, &path.display().to_string());
    }

    fn add(&mut self, key: &str, value: &str) {
        self.lines.push((key.to_owned(), value.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::plan::Node;
    use crate::cluster::ports::Ports;

    fn environment(dir: &Path, nodes: u8) -> (Layout, Environment) {
        let layout = Layout::in_folder(dir);
        let ports = Ports { api: 17400, etcd: 17401 };
        let binaries = Binaries::present().unwrap();
        let plan = Plan { layout: layout.clone(), binaries, ports, nodes: Node::of(nodes) };
        (layout, Environment::of(&plan))
    }

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, environment) = environment(dir.path(), 2);
        environment.write(&layout).unwrap();
        assert_eq!(Environment::read(&layout).unwrap(), environment);
        assert_eq!(environment.get("WEIR_CLUSTER_MODE"), Some("node"));
        assert!(environment.nodes().eq(["node0", "node1"]));
    }

    #[test]
    fn without_a_node_there_is_no_runtime_and_no_namespace() {
        let (_, environment) = environment(Path::new("/c"), 0);
        assert_eq!(environment.get("CTR"), None);
        assert_eq!(environment.nodes().count(), 0);
        assert_eq!(environment.get("WEIR_CLUSTER_NETNS"), None);
        assert_eq!(environment.get("KUBECONFIG"), Some("/c/admin.kubeconfig"));
    }

    #[test]
    fn a_folder_without_a_cluster_says_how_to_start_one() {
        let dir = tempfile::tempdir().unwrap();
        let error = Environment::read(&Layout::in_folder(dir.path())).unwrap_err();
        assert!(error.to_string().contains("cargo xtask cluster up"), "{error}");
    }
}
