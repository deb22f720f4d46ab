//! What one `up` has decided before it starts anything.

use std::process::Command;

use super::build::Binaries;
use super::layout::Layout;
use super::network;
use super::ports::Ports;
use crate::command::tool;

/// The name of the only node.
pub(crate) const NODE_NAME: &str = "node0";

/// A cluster to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) layout: Layout,
    pub(crate) binaries: Binaries,
    pub(crate) ports: Ports,
    /// Whether it has a node, and therefore a network namespace.
    pub(crate) node: bool,
}

impl Plan {
    /// Where the API server answers, inside the namespace and outside alike.
    pub(crate) fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.api)
    }

    /// A component's command, in the network it belongs to.
    pub(crate) fn component(&self, program: &str) -> Command {
        let path = self.binaries.path(program);
        if self.node { network::inside(&self.layout, &path) } else { tool(path) }
    }

    /// `kubectl` as the administrator.
    pub(crate) fn kubectl(&self) -> Command {
        let mut command = tool(self.binaries.path("kubectl"));
        command.arg("--kubeconfig").arg(self.layout.kubeconfig()).arg("--request-timeout=10s");
        command
    }
}
