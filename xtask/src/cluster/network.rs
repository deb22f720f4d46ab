//! The network namespaces that a cluster with nodes lives in.
//!
//! All that Kubernetes changes in a machine's network (addresses, routes, packet filters, settings) stays
//! in them, and goes with them. The control plane and the first node share one; each further node has its
//! own, on the other end of a cable to the first, by way of which all its packets go. There is no way out of
//! the first one, and the only ways in are `nsenter` and the forwarders of [`forward_in`].

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::layout::{Layout, NAMESPACES};
use super::plan::Node;
use crate::command::{self, QUICK, tool};

/// The first node's address: on one end of a pair whose both ends are inside, because a kubelet refuses a
/// loopback address and not every kernel has dummy interfaces.
pub(crate) const NODE_ADDRESS: &str = "10.250.0.1";
/// The addresses of the pods of all nodes.
pub(crate) const POD_RANGE: &str = "10.244.0.0/16";
pub(crate) const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The first address of [`SERVICE_RANGE`], where pods find the API server.
pub(crate) const API_SERVICE_ADDRESS: &str = "10.96.0.1";

/// A namespace's interfaces go some time after its last process.
const REMOVAL_LIMIT: Duration = Duration::from_secs(10);

/// Settings of a namespace. Packets between pods arrive and leave by different interfaces than the
/// routes of their addresses say once a Service's address was translated, so no reverse path filter.
const SETTINGS: [(&str, &str); 3] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
];

/// Makes the namespaces of these nodes with their interfaces, routes and settings.
///
/// # Errors
/// When the machine does not allow it.
pub(crate) fn create(layout: &Layout, nodes: &[Node]) -> Result<()> {
    for node in nodes {
        let name = name(layout, *node);
        ip(&["netns", "add", &name]).context("could not make a network namespace")?;
        set_up(layout, *node)?;
        if node.is_first() {
            let address = format!("{NODE_ADDRESS}/24");
            configure(&name, "link add node0 type veth peer name node0-peer")?;
            configure(&name, &format!("address add {address} dev node0"))?;
            configure(&name, "link set node0 up")?;
            configure(&name, "link set node0-peer up")?;
            // A Service's address needs a route before its packets get as far as being translated.
            configure(&name, "route add default dev node0")?;
        } else {
            cable(&layout.instance(), *node, &name)?;
        }
    }
    Ok(())
}

fn set_up(layout: &Layout, node: Node) -> Result<()> {
    configure(&name(layout, node), "link set lo up")?;
    for (name, value) in SETTINGS {
        let write = format!("if [ -e /proc/sys/{name} ]; then echo {value} > /proc/sys/{name}; fi");
        command::succeed(at(layout, node, Path::new("sh")).args(["-c", &write]), QUICK)?;
    }
    Ok(())
}

/// Lays the cable between the first node's namespace `hub` and that of a further node. Each end has its
/// node's address, and a route to the other's, so that no two nodes need a network that they share.
fn cable(hub: &str, node: Node, name: &str) -> Result<()> {
    let (near, far) = (format!("to-{}", node.name()), node.name());
    let (address, pods) = (node.address(), node.pod_range());
    configure(hub, &format!("link add {near} type veth peer name {far} netns {name}"))?;
    configure(hub, &format!("address add {NODE_ADDRESS}/32 dev {near}"))?;
    configure(hub, &format!("link set {near} up"))?;
    configure(name, &format!("address add {address}/32 dev {far}"))?;
    configure(name, &format!("link set {far} up"))?;
    configure(hub, &format!("route add {address} dev {near}"))?;
    configure(hub, &format!("route add {pods} via {address} dev {near}"))?;
    configure(name, &format!("route add {NODE_ADDRESS} dev {far}"))?;
    configure(name, &format!("route add default via {NODE_ADDRESS} dev {far}"))
}

/// The name of a node's namespace. The first one's is that of the cluster.
fn name(layout: &Layout, node: Node) -> String {
    let instance = layout.instance();
    if node.is_first() { instance } else { format!("{instance}-{}", node.name()) }
}

/// A command that runs where the control plane is.
pub(crate) fn inside(layout: &Layout, program: &Path) -> Command {
    enter(&layout.network_namespace(), program)
}

/// A command that runs in a node's network.
pub(crate) fn at(layout: &Layout, node: Node, program: &Path) -> Command {
    enter(&Path::new(NAMESPACES).join(name(layout, node)), program)
}

/// Not `ip netns exec`, which hides `/sys/fs/cgroup`.
fn enter(namespace: &Path, program: &Path) -> Command {
    let mut command = tool("nsenter");
    command.arg(format!("--net={}", namespace.display())).arg("--").arg(program);
    command
}

/// Removes the namespaces of all nodes that there are.
///
/// # Errors
/// When one stays.
pub(crate) fn remove(layout: &Layout) -> Result<()> {
    let deadline = Instant::now() + REMOVAL_LIMIT;
    for namespace in namespaces(Path::new(NAMESPACES), &layout.instance()) {
        while namespace.exists() {
            let name = namespace.file_name().unwrap_or_default().to_string_lossy();
            let deleted = ip(&["netns", "delete", &name]);
            if Instant::now() >= deadline {
                deleted.context("could not remove a network namespace")?;
            }
        }
    }
    Ok(())
}

fn namespaces(folder: &Path, instance: &str) -> Vec<PathBuf> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    let own = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.strip_prefix(instance).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    entries.map(|entry| entry.path()).filter(own).collect()
}

/// A pair of processes that carry TCP connections across the namespace's border, by way of a socket in
/// the file system, which both sides see.
pub(crate) struct Forward {
    /// Run this one outside.
    pub(crate) outside: Command,
    /// Run this one inside.
    pub(crate) inside: Command,
}

/// Connections to the loopback port `port` of the machine end at the same port of the namespace.
pub(crate) fn forward_in(layout: &Layout, port: u16) -> Forward {
    let socket = socket(layout, &format!("in-{port}"));
    let mut outside = tool("socat");
    outside.arg(listen(port, "127.0.0.1")).arg(format!("UNIX-CONNECT:{socket}"));
    let mut inside = inside(layout, Path::new("socat"));
    inside.arg(format!("UNIX-LISTEN:{socket},fork,mode=600")).arg(connect(port));
    Forward { outside, inside }
}

/// Connections to port `port` of the node or of the namespace's loopback end at the same loopback port
/// of the machine. So the API server reaches a webhook, and a pod a receiver, that a test serves.
pub(crate) fn forward_out(layout: &Layout, port: u16) -> Forward {
    let socket = socket(layout, &format!("out-{port}"));
    let mut outside = tool("socat");
    outside.arg(format!("UNIX-LISTEN:{socket},fork,mode=600")).arg(connect(port));
    let mut inside = inside(layout, Path::new("socat"));
    inside.arg(listen(port, "0.0.0.0")).arg(format!("UNIX-CONNECT:{socket}"));
    Forward { outside, inside }
}

fn socket(layout: &Layout, name: &str) -> String {
    layout.sockets().join(name).display().to_string()
}

fn listen(port: u16, address: &str) -> String {
    // A burst of clients must not be refused while socat forks.
    format!("TCP-LISTEN:{port},bind={address},fork,reuseaddr,backlog=512")
}

fn connect(port: u16) -> String {
    format!("TCP:127.0.0.1:{port}")
}

/// Calls `ip` in a namespace.
fn configure(namespace: &str, words: &str) -> Result<()> {
    let words: Vec<_> = ["-n", namespace].into_iter().chain(words.split(' ')).collect();
    ip(&words)
}

fn ip(words: &[&str]) -> Result<()> {
    command::succeed(tool("ip").args(words), QUICK).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Command) -> String {
        let args = command.get_args().map(|arg| arg.to_string_lossy());
        std::iter::once(command.get_program().to_string_lossy())
            .chain(args)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn a_way_in_listens_outside_on_loopback_only() {
        let layout = Layout::in_folder(Path::new("/x"));
        let Forward { outside, inside } = forward_in(&layout, 17400);
        assert!(words(&outside).starts_with("socat TCP-LISTEN:17400,bind=127.0.0.1,"));
        assert!(words(&inside).starts_with("nsenter --net=/run/netns/weir-"));
        assert!(words(&inside).ends_with(",fork,mode=600 TCP:127.0.0.1:17400"));
    }

    #[test]
    fn namespaces_are_found_by_the_clusters_name_and_those_of_others_are_left() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["weir-1", "weir-1-node1", "weir-12", "other"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let mut found = namespaces(dir.path(), "weir-1");
        found.sort();
        assert_eq!(found, ["weir-1", "weir-1-node1"].map(|name| dir.path().join(name)));
    }

    #[test]
    fn a_way_out_listens_inside_and_connects_to_the_machines_loopback() {
        let layout = Layout::in_folder(Path::new("/x"));
        let Forward { outside, inside } = forward_out(&layout, 9443);
        assert!(words(&outside).ends_with(" TCP:127.0.0.1:9443"));
        assert!(words(&inside).contains(" socat TCP-LISTEN:9443,bind=0.0.0.0,"));
    }
}
