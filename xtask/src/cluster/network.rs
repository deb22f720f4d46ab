//! The network namespace that a cluster with a node lives in.
//!
//! All that Kubernetes changes in a machine's network (addresses, routes, packet filters, settings) stays
//! in it, and goes with it. There is no way out of it, and the only ways in are `nsenter` and the
//! forwarders of [`forward`].

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::layout::Layout;
use crate::command::{self, QUICK, tool};

/// The node's address: on one end of a pair whose both ends are inside, because a kubelet refuses a
/// loopback address and not every kernel has dummy interfaces.
pub(crate) const NODE_ADDRESS: &str = "10.250.0.1";
pub(crate) const POD_RANGE: &str = "10.244.0.0/24";
pub(crate) const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The first address of [`SERVICE_RANGE`], where pods find the API server.
pub(crate) const API_SERVICE_ADDRESS: &str = "10.96.0.1";

/// A namespace's interfaces go some time after its last process.
const REMOVAL_LIMIT: Duration = Duration::from_secs(10);

/// Settings of the namespace. Packets between pods arrive and leave by different interfaces than the
/// routes of their addresses say once a Service's address was translated, so no reverse path filter.
const SETTINGS: [(&str, &str); 3] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
];

/// Makes the namespace with its interfaces, routes and settings.
///
/// # Errors
/// When the machine does not allow it.
pub(crate) fn create(layout: &Layout) -> Result<()> {
    let instance = layout.instance();
    ip(&["netns", "add", &instance]).context("could not make a network namespace")?;
    let node = format!("{NODE_ADDRESS}/24");
    for words in [
        vec!["link", "set", "lo", "up"],
        vec!["link", "add", "node0", "type", "veth", "peer", "name", "node1"],
        vec!["address", "add", &node, "dev", "node0"],
        vec!["link", "set", "node0", "up"],
        vec!["link", "set", "node1", "up"],
        // A Service's address needs a route before its packets get as far as being translated.
        vec!["route", "add", "default", "dev", "node0"],
    ] {
        ip(&[vec!["-n", &instance], words].concat())?;
    }
    for (name, value) in SETTINGS {
        let write = format!("if [ -e /proc/sys/{name} ]; then echo {value} > /proc/sys/{name}; fi");
        command::succeed(inside(layout, Path::new("sh")).args(["-c", &write]), QUICK)?;
    }
    Ok(())
}

/// A command that runs in the namespace. Not `ip netns exec`, which hides `/sys/fs/cgroup`.
pub(crate) fn inside(layout: &Layout, program: &Path) -> Command {
    let mut command = tool("nsenter");
    let namespace = layout.network_namespace();
    command.arg(format!("--net={}", namespace.display())).arg("--").arg(program);
    command
}

/// Removes the namespace, if it is there.
///
/// # Errors
/// When it is there and stays.
pub(crate) fn remove(layout: &Layout) -> Result<()> {
    let deadline = Instant::now() + REMOVAL_LIMIT;
    while layout.network_namespace().exists() {
        let deleted = ip(&["netns", "delete", &layout.instance()]);
        if Instant::now() >= deadline {
            deleted.context("could not remove the network namespace")?;
        }
    }
    Ok(())
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
    fn a_way_out_listens_inside_and_connects_to_the_machines_loopback() {
        let layout = Layout::in_folder(Path::new("/x"));
        let Forward { outside, inside } = forward_out(&layout, 9443);
        assert!(words(&outside).ends_with(" TCP:127.0.0.1:9443"));
        assert!(words(&inside).contains(" socat TCP-LISTEN:9443,bind=0.0.0.0,"));
    }
}
