//! Starts the nodes: for each a container runtime, kubelet and kube-proxy in namespaces of their own; and
//! CoreDNS.
//!
//! Laws: one process holds a node's pid namespace, and killing it kills every container; one mount
//! namespace holds all its mounts, which go with it. The machine's own settings are not written.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::cgroup;
use super::control_plane::{START_LIMIT, answers};
use super::network::{self, API_SERVICE_ADDRESS, NODE_ADDRESS};
use super::plan::{Node, Plan};
use super::process::Components;
use crate::command::{self, QUICK, tool};
use crate::image;

/// Folders of the machine that the node has its own of. What the node reads may not lie in them.
const REPLACED: [&str; 3] = ["/var/lib", "/var/log", "/run"];

/// Importing copies and unpacks; a gibibyte takes seconds.
const IMPORT_LIMIT: std::time::Duration = std::time::Duration::from_mins(5);

/// The file whose presence tells the node that the API server serves.
const API_IS_READY: &str = "api-server-is-ready";

/// Makes what must be there before any process starts: namespaces, cgroups and folders.
///
/// # Errors
/// When the machine does not allow it, or the cluster's folder or cache is where the node cannot see it.
pub(crate) fn prepare(plan: &Plan) -> Result<()> {
    check_visible(plan)?;
    let layout = &plan.layout;
    std::fs::create_dir_all(layout.sockets())?;
    for name in plan.nodes.iter().map(|node| node.name()) {
        let folder = layout.node(&name);
        for part in ["var-lib", "var-log", "run/containerd"] {
            std::fs::create_dir_all(folder.join(part))?;
        }
        std::os::unix::fs::symlink(folder.join("run/containerd"), layout.sockets().join(&name))?;
        cgroup::create(&format!("{}/{name}", layout.instance()))?;
    }
    network::create(layout, &plan.nodes)
}

/// Starts the container runtimes; the rest of each node waits for [`join`].
///
/// # Errors
/// When one cannot be started.
pub(crate) fn start(plan: &Plan, components: &mut Components<'_>) -> Result<()> {
    for node in &plan.nodes {
        components.start(&node.name(), init(plan, *node))?;
    }
    Ok(())
}

fn init(plan: &Plan, node: Node) -> Command {
    let (layout, name) = (&plan.layout, node.name());
    let mut init = network::at(layout, node, Path::new("unshare"));
    init.args(["--mount", "--pid", "--uts", "--fork", "--kill-child=KILL", "--mount-proc"]);
    init.args(["--propagation=private", "sh"]).arg(layout.config().join("node-init.sh"));
    for (name, path) in [
        ("NODE", layout.node(&name)),
        ("NODE_CONFIG", layout.node_config(&name)),
        ("CONFIG", layout.config()),
        ("LOGS", layout.logs()),
        ("BIN", plan.binaries.dir().to_owned()),
    ] {
        init.env(name, path);
    }
    init.env("NODE_NAME", &name).env("NODE_ADDRESS", node.address());
    init
}

/// Lets the kubelets and kube-proxies join the cluster, and starts its DNS server. To be called when the API
/// server serves.
///
/// # Errors
/// When the DNS server cannot be set up.
pub(crate) fn join(plan: &Plan, components: &mut Components<'_>) -> Result<()> {
    for node in &plan.nodes {
        std::fs::write(plan.layout.node(&node.name()).join(API_IS_READY), "")?;
    }
    let config = plan.layout.config();
    let mut apply = plan.kubectl();
    apply.args(["apply", "--filename"]).arg(config.join("coredns.rbac.yaml"));
    command::succeed(&mut apply, QUICK).context("could not grant the DNS server its rights")?;
    let mut coredns = plan.component("coredns");
    coredns.arg("-conf").arg(config.join("Corefile"));
    components.start("coredns", coredns)
}

/// Waits until the container runtimes answer.
///
/// # Errors
/// When one does not in time.
pub(crate) fn wait_for_runtimes(plan: &Plan, components: &mut Components<'_>) -> Result<()> {
    plan.nodes.iter().try_for_each(|node| {
        let (log, socket) =
            (node.daemon("containerd"), plan.layout.containerd_socket(&node.name()));
        components.wait_until("the container runtime answers", &log, START_LIMIT, || {
            let mut version = ctr(&socket, &plan.binaries.path("ctr"));
            command::output(version.arg("version"), QUICK)
                .is_ok_and(|output| output.status.success())
        })
    })
}

/// Waits until a node is Ready, and names and Services are reached from there.
///
/// # Errors
/// When it is not so in time.
pub(crate) fn wait_until_ready(
    plan: &Plan,
    node: Node,
    components: &mut Components<'_>,
) -> Result<()> {
    components.wait_until("the node is Ready", &node.daemon("kubelet"), START_LIMIT, || {
        let ready = "--output=jsonpath={.status.conditions[?(@.type=='Ready')].status}";
        answers(plan.kubectl().args(["get", "node", &node.name(), ready]), "True")
    })?;
    components.wait_until("cluster names are resolved", "coredns", START_LIMIT, || {
        let mut lookup = network::at(&plan.layout, node, Path::new("busybox"));
        lookup.args(["nslookup", "kubernetes.default.svc.cluster.local", NODE_ADDRESS]);
        command::output(&mut lookup, QUICK).is_ok_and(|output| output.status.success())
    })?;
    // A connection that is begun before kube-proxy has written its rules never gets anywhere.
    components.wait_until("Services are reached", &node.daemon("kube-proxy"), START_LIMIT, || {
        let mut request = network::at(&plan.layout, node, Path::new("curl"));
        request.args(["--silent", "--insecure", "--connect-timeout", "1", "--output", "/dev/null"]);
        request.arg(format!("https://{API_SERVICE_ADDRESS}/livez"));
        command::output(&mut request, QUICK).is_ok_and(|output| output.status.success())
    })
}

/// Imports into every node the archives of the cluster's image folder, among them the two that the cluster brings, and
/// `more`. Returns how many there were.
///
/// # Errors
/// When an image cannot be made or imported.
pub(crate) fn import_images(plan: &Plan, more: &[PathBuf]) -> Result<usize> {
    let folder = plan.layout.images();
    image::pause(&folder.join("pause.tar"))?;
    image::toolbox(&folder.join("toolbox.tar"))?;
    let mut archives: Vec<PathBuf> = archives_in(&folder)?;
    archives.extend(more.iter().cloned());
    for archive in &archives {
        for node in &plan.nodes {
            let socket = plan.layout.containerd_socket(&node.name());
            import(&socket, &plan.binaries.path("ctr"), archive)?;
        }
    }
    Ok(archives.len())
}

/// Imports one image archive into the node whose runtime listens on `socket`.
///
/// # Errors
/// When the archive cannot be read or the runtime refuses it.
pub(crate) fn import(socket: &Path, ctr_path: &Path, archive: &Path) -> Result<()> {
    ensure!(archive.is_file(), "image archive {} does not exist", archive.display());
    let mut import = ctr(socket, ctr_path);
    import.args(["--namespace=k8s.io", "images", "import"]).arg(archive);
    command::succeed(&mut import, IMPORT_LIMIT)
        .map(drop)
        .with_context(|| format!("could not import {}", archive.display()))
}

fn ctr(socket: &Path, path: &Path) -> Command {
    let mut command = tool(path);
    command.arg("--address").arg(socket);
    command
}

fn archives_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut archives = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tar") {
            archives.push(path);
        }
    }
    archives.sort();
    Ok(archives)
}

fn check_visible(plan: &Plan) -> Result<()> {
    for (path, variable) in [
        (plan.layout.dir(), super::layout::DIR_VARIABLE),
        (plan.binaries.dir(), super::cache::CACHE_VARIABLE),
    ] {
        let hidden = REPLACED.iter().any(|folder| path.starts_with(folder));
        ensure!(
            !hidden,
            "{} lies in {}, which the node has its own of: set {variable} to a folder elsewhere",
            path.display(),
            REPLACED.join(", ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::build::Binaries;
    use crate::cluster::layout::Layout;
    use crate::cluster::ports::Ports;

    #[test]
    fn a_folder_that_the_node_could_not_see_is_refused_with_the_variable_to_set() {
        let layout = Layout::in_folder(Path::new("/var/lib/builds/cluster"));
        let ports = Ports { api: 1, etcd: 2 };
        let binaries = Binaries::present().unwrap();
        let plan = Plan { layout, binaries, ports, nodes: Node::of(1) };
        let error = check_visible(&plan).unwrap_err().to_string();
        assert!(error.contains("WEIR_CLUSTER_DIR"), "{error}");
    }

    #[test]
    fn only_archives_are_imported_and_in_a_fixed_order() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.tar", "a.tar", "notes.txt"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let names = ["a.tar", "b.tar"].map(|name| dir.path().join(name));
        assert_eq!(archives_in(dir.path()).unwrap(), names);
    }
}
