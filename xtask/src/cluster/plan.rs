//! What one `up` has decided before it starts anything.

use std::process::Command;

use super::build::Binaries;
use super::layout::Layout;
use super::network;
use super::ports::Ports;
use crate::command::tool;

/// A cluster to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) layout: Layout,
    pub(crate) binaries: Binaries,
    pub(crate) ports: Ports,
    /// Where pods run. With none there is no network namespace, and an API alone.
    pub(crate) nodes: Vec<Node>,
}

/// A node, by its place among the others. The control plane lives in the first one's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node(u8);

impl Plan {
    pub(crate) const fn has_nodes(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// Where the API server answers, inside the first node's network and outside alike.
    pub(crate) fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.api)
    }

    /// Where the API server answers the nodes.
    pub(crate) fn server_for_nodes(&self) -> String {
        format!("https://{}:{}", network::NODE_ADDRESS, self.ports.api)
    }

    /// A component's command, in the network it belongs to.
    pub(crate) fn component(&self, program: &str) -> Command {
        let path = self.binaries.path(program);
        if self.has_nodes() { network::inside(&self.layout, &path) } else { tool(path) }
    }

    /// `kubectl` as the administrator.
    pub(crate) fn kubectl(&self) -> Command {
        let mut command = tool(self.binaries.path("kubectl"));
        command.arg("--kubeconfig").arg(self.layout.kubeconfig()).arg("--request-timeout=10s");
        command
    }
}

impl Node {
    /// As many nodes.
    pub(crate) fn of(count: u8) -> Vec<Self> {
        (0..count).map(Self).collect()
    }

    pub(crate) const fn is_first(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn name(self) -> String {
        format!("node{}", self.0)
    }

    /// The name of one of its daemons, and of that one's log.
    pub(crate) fn daemon(self, program: &str) -> String {
        format!("{program}-{}", self.name())
    }

    pub(crate) fn address(self) -> String {
        let Self(place) = self;
        format!("10.250.0.{}", u16::from(place) + 1)
    }

    /// The addresses of its pods, a part of [`network::POD_RANGE`].
    pub(crate) fn pod_range(self) -> String {
        format!("10.244.{}.0/24", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_differ_in_all_they_have_and_the_first_is_where_the_control_plane_is() {
        let nodes = Node::of(2);
        assert_eq!(nodes[0].address(), network::NODE_ADDRESS);
        assert_eq!(nodes[1].address(), "10.250.0.2");
        assert_ne!(nodes[0].pod_range(), nodes[1].pod_range());
        assert_eq!(nodes[1].daemon("kubelet"), "kubelet-node1");
        assert!(nodes[0].is_first() && !nodes[1].is_first());
    }
}
