//! Writes the configuration files of a cluster's components.

use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::fs::statfs;

use super::network::{API_SERVICE_ADDRESS, NODE_ADDRESS, POD_RANGE};
use super::pki::{Authority, Identity, write_private};
use super::plan::{Node, Plan};
use super::template::render;
use crate::{command, image};

const KUBECONFIG: &str = include_str!("../../../tests/cluster/config/kubeconfig.yaml");

/// Templates of a node's files, by the name they get.
const NODE_FILES: [(&str, &str); 4] = [
    ("containerd.toml", include_str!("../../../tests/cluster/config/containerd.toml")),
    ("kubelet.yaml", include_str!("../../../tests/cluster/config/kubelet.yaml")),
    ("kube-proxy.yaml", include_str!("../../../tests/cluster/config/kube-proxy.yaml")),
    ("cni/pods.conflist", include_str!("../../../tests/cluster/config/pods.conflist")),
];

/// The template of the DNS server's file.
const COREFILE: &str = include_str!("../../../tests/cluster/config/Corefile");

/// Files that a cluster with nodes takes as they are.
const VERBATIM: [(&str, &str); 3] = [
    ("coredns.rbac.yaml", include_str!("../../../tests/cluster/config/coredns.rbac.yaml")),
    ("node-init.sh", include_str!("../../../tests/cluster/config/node-init.sh")),
    ("resolv.conf", ""),
];

/// The kernel settings that a kubelet demands with `protectKernelDefaults`, from
/// `k8s.io/component-helpers/node/util/sysctl`.
const KERNEL: [(&str, &str); 6] = [
    ("vm.overcommit_memory", "1"),
    ("vm.panic_on_oom", "0"),
    ("kernel.panic", "10"),
    ("kernel.panic_on_oops", "1"),
    ("kernel.keys.root_maxkeys", "1000000"),
    ("kernel.keys.root_maxbytes", "25000000"),
];

/// Users of the API server besides the administrator: file, user name, group.
const CONTROL_PLANE_CLIENTS: [(&str, &str, Option<&str>); 1] =
    [("kube-controller-manager", "system:kube-controller-manager", None)];
const POD_CLIENTS: [(&str, &str, Option<&str>); 2] =
    [("kube-scheduler", "system:kube-scheduler", None), ("coredns", "weir-test:coredns", None)];

/// The `f_type` of overlayfs, from `magic.h`.
const OVERLAYFS: i128 = 0x794c_7630;

/// Makes all keys, certificates and files that `plan` needs.
///
/// # Errors
/// When one cannot be made or written.
pub(crate) fn write(plan: &Plan) -> Result<()> {
    let authority = Authority::new(&plan.layout)?;
    authority.write_token_keys()?;
    write_server_certificates(&authority)?;
    let admin = authority.client("weir-test:admin", Some("system:masters"))?;
    let server = plan.server();
    write_private(plan.layout.kubeconfig(), &kubeconfig(&server, &authority, "admin", &admin)?)?;
    write_clients(plan, &authority, &CONTROL_PLANE_CLIENTS)?;
    if plan.has_nodes() {
        write_clients(plan, &authority, &POD_CLIENTS)?;
        write_shared_files(plan)?;
    }
    plan.nodes.iter().try_for_each(|node| write_node(plan, &authority, *node))
}

fn write_server_certificates(authority: &Authority) -> Result<()> {
    let hosts = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "127.0.0.1",
        NODE_ADDRESS,
        API_SERVICE_ADDRESS,
    ];
    authority.write("kube-apiserver", &authority.server("kube-apiserver", &hosts)?)?;
    let client = authority.client("weir-test:kube-apiserver", Some("system:masters"))?;
    authority.write("kubelet-client", &client)
}

fn write_clients(
    plan: &Plan,
    authority: &Authority,
    clients: &[(&str, &str, Option<&str>)],
) -> Result<()> {
    for (name, user, group) in clients {
        let identity = authority.client(user, *group)?;
        let path = plan.layout.config().join(format!("{name}.kubeconfig"));
        write_private(path, &kubeconfig(&plan.server(), authority, name, &identity)?)?;
    }
    Ok(())
}

fn kubeconfig(
    server: &str,
    authority: &Authority,
    user: &str,
    identity: &Identity,
) -> Result<String> {
    let Identity { certificate, key } = identity;
    render(
        KUBECONFIG,
        &[
            ("SERVER", server),
            ("CA", &BASE64.encode(&authority.certificate)),
            ("USER", user),
            ("CERTIFICATE", &BASE64.encode(certificate)),
            ("KEY", &BASE64.encode(key)),
        ],
    )
}

/// What all nodes have in common.
fn write_shared_files(plan: &Plan) -> Result<()> {
    let config = plan.layout.config();
    std::fs::create_dir_all(config.join("kernel"))?;
    std::fs::write(config.join("Corefile"), corefile(&config)?)?;
    for (name, content) in VERBATIM {
        std::fs::write(config.join(name), content)?;
    }
    for (name, value) in KERNEL {
        std::fs::write(config.join("kernel").join(name), format!("{value}\n"))?;
    }
    Ok(())
}

fn corefile(config: &Path) -> Result<String> {
    let config = config.display().to_string();
    render(COREFILE, &[("DNS_ADDRESS", NODE_ADDRESS), ("CONFIG", &config)])
}

/// What one node has for itself: its identities, and the files of its daemons.
fn write_node(plan: &Plan, authority: &Authority, node: Node) -> Result<()> {
    let (name, config) = (node.name(), plan.layout.node_config(&node.name()));
    std::fs::create_dir_all(config.join("cni"))?;
    let server = authority.server(&name, &[&name, &node.address()])?;
    authority.write(&node.daemon("kubelet"), &server)?;
    for (program, user, group) in [
        // The node authorizer knows a kubelet by these two.
        ("kubelet", format!("system:node:{name}"), Some("system:nodes")),
        ("kube-proxy", "system:kube-proxy".to_owned(), None),
    ] {
        let identity = authority.client(&user, group)?;
        let content = kubeconfig(&plan.server_for_nodes(), authority, program, &identity)?;
        write_private(config.join(format!("{program}.kubeconfig")), &content)?;
    }
    let runc = command::find("runc").context("runc is missing: run `cargo xtask setup`")?;
    for (name, template) in NODE_FILES {
        std::fs::write(config.join(name), node_file(plan, node, template, &runc)?)?;
    }
    Ok(())
}

fn node_file(plan: &Plan, node: Node, template: &str, runc: &Path) -> Result<String> {
    let text = |path: &Path| path.display().to_string();
    let (layout, name) = (&plan.layout, node.name());
    render(
        template,
        &[
            ("NODE_ADDRESS", &node.address()),
            ("NODE_NAME", &name),
            ("NODE_PODS", &node.pod_range()),
            ("POD_RANGE", POD_RANGE),
            ("DNS_ADDRESS", NODE_ADDRESS),
            ("PAUSE_IMAGE", image::PAUSE),
            ("INSTANCE", &layout.instance()),
            ("CONFIG", &text(&layout.config())),
            ("NODE_CONFIG", &text(&layout.node_config(&name))),
            ("PKI", &text(&layout.pki())),
            ("CNI_PLUGINS", &text(plan.binaries.dir())),
            ("SHIM", &text(&plan.binaries.path("containerd-shim-runc-v2"))),
            ("RUNC", &text(runc)),
            ("SNAPSHOTTER", snapshotter(&layout.data())?),
        ],
    )
}

/// overlayfs cannot be stacked on itself, as it would be inside a container; copying works everywhere.
fn snapshotter(data: &Path) -> Result<&'static str> {
    let stacked = i128::from(statfs(data)?.f_type) == OVERLAYFS;
    Ok(if stacked { "native" } else { "overlayfs" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::build::Binaries;
    use crate::cluster::layout::Layout;
    use crate::cluster::ports::Ports;

    fn plan(dir: &Path, nodes: u8) -> Plan {
        let layout = Layout::in_folder(dir);
        layout.make_folders().unwrap();
        let ports = Ports { api: 17400, etcd: 17401 };
        Plan { layout, binaries: Binaries::present().unwrap(), ports, nodes: Node::of(nodes) }
    }

    #[test]
    fn a_control_plane_alone_gets_no_files_of_a_node() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(dir.path(), 0);
        write(&plan).unwrap();
        assert!(plan.layout.config().join("kube-controller-manager.kubeconfig").exists());
        assert!(!plan.layout.config().join("node0").exists());
        let kubeconfig = std::fs::read_to_string(plan.layout.kubeconfig()).unwrap();
        assert!(kubeconfig.contains("server: \"https://127.0.0.1:17400\""), "{kubeconfig}");
    }

    #[test]
    fn every_template_of_a_node_has_only_names_with_values() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(dir.path(), 1);
        assert!(!corefile(dir.path()).unwrap().contains("${"));
        for (name, template) in NODE_FILES {
            let runc = Path::new("/usr/sbin/runc");
            let text = node_file(&plan, plan.nodes[0], template, runc).unwrap();
            assert!(!text.is_empty() && !text.contains("${"), "{name}: {text}");
        }
    }

    #[test]
    fn a_second_node_has_files_of_its_own_and_reaches_the_api_under_its_address() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(dir.path(), 2);
        let authority = Authority::new(&plan.layout).unwrap();
        write_node(&plan, &authority, plan.nodes[1]).unwrap();
        let read =
            |name| std::fs::read_to_string(dir.path().join("config/node1").join(name)).unwrap();
        assert!(read("kubelet.kubeconfig").contains("https://10.250.0.1:17400"));
        let kubelet = read("kubelet.yaml");
        assert!(
            kubelet.contains("address: 10.250.0.2") && kubelet.contains("/node1\n"),
            "{kubelet}"
        );
        assert!(read("cni/pods.conflist").contains("10.244.1.0/24"));
        assert!(plan.layout.pki().join("kubelet-node1.crt").exists());
    }
}
