//! Writes the configuration files of a cluster's components.

use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::fs::statfs;

use super::network::{API_SERVICE_ADDRESS, NODE_ADDRESS, POD_RANGE};
use super::pki::{Authority, Identity, write_private};
use super::plan::{NODE_NAME, Plan};
use super::template::render;
use crate::{command, image};

const KUBECONFIG: &str = include_str!("../../../tests/cluster/config/kubeconfig.yaml");

/// Templates of a node's files, by the name they get.
const NODE_FILES: [(&str, &str); 5] = [
    ("containerd.toml", include_str!("../../../tests/cluster/config/containerd.toml")),
    ("kubelet.yaml", include_str!("../../../tests/cluster/config/kubelet.yaml")),
    ("kube-proxy.yaml", include_str!("../../../tests/cluster/config/kube-proxy.yaml")),
    ("Corefile", include_str!("../../../tests/cluster/config/Corefile")),
    ("cni/pods.conflist", include_str!("../../../tests/cluster/config/pods.conflist")),
];

/// Files that a node takes as they are.
const NODE_VERBATIM: [(&str, &str); 3] = [
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
const NODE_CLIENTS: [(&str, &str, Option<&str>); 4] = [
    ("kube-scheduler", "system:kube-scheduler", None),
    ("kubelet", "system:node:node0", Some("system:nodes")),
    ("kube-proxy", "system:kube-proxy", None),
    ("coredns", "weir-test:coredns", None),
];

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
    write_private(plan.layout.kubeconfig(), &kubeconfig(plan, &authority, "admin", &admin)?)?;
    write_clients(plan, &authority, &CONTROL_PLANE_CLIENTS)?;
    if plan.node {
        write_clients(plan, &authority, &NODE_CLIENTS)?;
        write_node_files(plan)?;
    }
    Ok(())
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
    let kubelet = authority.server(NODE_NAME, &[NODE_NAME, NODE_ADDRESS])?;
    authority.write("kubelet-server", &kubelet)?;
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
        write_private(path, &kubeconfig(plan, authority, name, &identity)?)?;
    }
    Ok(())
}

fn kubeconfig(
    plan: &Plan,
    authority: &Authority,
    user: &str,
    identity: &Identity,
) -> Result<String> {
    let Identity { certificate, key } = identity;
    render(
        KUBECONFIG,
        &[
            ("SERVER", &plan.server()),
            ("CA", &BASE64.encode(&authority.certificate)),
            ("USER", user),
            ("CERTIFICATE", &BASE64.encode(certificate)),
            ("KEY", &BASE64.encode(key)),
        ],
    )
}

fn write_node_files(plan: &Plan) -> Result<()> {
    let config = plan.layout.config();
    for folder in ["cni", "kernel"] {
        std::fs::create_dir_all(config.join(folder))?;
    }
    let runc = command::find("runc").context("runc is missing: run `cargo xtask setup`")?;
    for (name, template) in NODE_FILES {
        std::fs::write(config.join(name), node_file(plan, template, &runc)?)?;
    }
    for (name, content) in NODE_VERBATIM {
        std::fs::write(config.join(name), content)?;
    }
    for (name, value) in KERNEL {
        std::fs::write(config.join("kernel").join(name), format!("{value}\n"))?;
    }
    Ok(())
}

fn node_file(plan: &Plan, template: &str, runc: &Path) -> Result<String> {
    let text = |path: &Path| path.display().to_string();
    render(
        template,
        &[
            ("NODE_ADDRESS", NODE_ADDRESS),
            ("NODE_NAME", NODE_NAME),
            ("POD_RANGE", POD_RANGE),
            ("PAUSE_IMAGE", image::PAUSE),
            ("INSTANCE", &plan.layout.instance()),
            ("CONFIG", &text(&plan.layout.config())),
            ("PKI", &text(&plan.layout.pki())),
            ("CNI_PLUGINS", &text(plan.binaries.dir())),
            ("SHIM", &text(&plan.binaries.path("containerd-shim-runc-v2"))),
            ("RUNC", &text(runc)),
            ("SNAPSHOTTER", snapshotter(&plan.layout.data())?),
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

    fn plan(dir: &Path, node: bool) -> Plan {
        let layout = Layout::in_folder(dir);
        layout.make_folders().unwrap();
        let ports = Ports { api: 17400, etcd: 17401 };
        Plan { layout, binaries: Binaries::present().unwrap(), ports, node }
    }

    #[test]
    fn a_control_plane_alone_gets_no_files_of_a_node() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(dir.path(), false);
        write(&plan).unwrap();
        assert!(plan.layout.config().join("kube-controller-manager.kubeconfig").exists());
        assert!(!plan.layout.config().join("kubelet.kubeconfig").exists());
        let kubeconfig = std::fs::read_to_string(plan.layout.kubeconfig()).unwrap();
        assert!(kubeconfig.contains("server: \"https://127.0.0.1:17400\""), "{kubeconfig}");
    }

    #[test]
    fn every_template_of_a_node_has_only_names_with_values() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(dir.path(), true);
        for (name, template) in NODE_FILES {
            let text = node_file(&plan, template, Path::new("/usr/sbin/runc")).unwrap();
            assert!(!text.is_empty() && !text.contains("${"), "{name}: {text}");
        }
    }

    #[test]
    fn the_kubelets_user_is_the_one_that_the_node_authorizer_knows() {
        let kubelet = NODE_CLIENTS.iter().find(|(name, _, _)| *name == "kubelet").unwrap();
        assert_eq!(kubelet.1, format!("system:node:{NODE_NAME}"));
    }
}
