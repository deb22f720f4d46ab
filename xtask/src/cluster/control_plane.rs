//! Starts etcd, the API server and the controllers.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::network::{NODE_ADDRESS, SERVICE_RANGE};
use super::plan::Plan;
use super::process::Components;
use crate::command;

/// Three to five seconds on an idle machine; compilers may be running beside it.
pub(crate) const START_LIMIT: Duration = Duration::from_mins(2);

/// Starts etcd and the API server, which waits for etcd by itself.
///
/// # Errors
/// When one cannot be started.
pub(crate) fn start(plan: &Plan, components: &mut Components<'_>) -> Result<()> {
    components.start("etcd", etcd(plan))?;
    components.start("kube-apiserver", api_server(plan))
}

/// Waits until the API server serves.
///
/// # Errors
/// When it does not in time, or etcd or it ends.
pub(crate) fn wait_for_api(plan: &Plan, components: &mut Components<'_>) -> Result<()> {
    components.wait_until("/readyz is ok", "kube-apiserver", START_LIMIT, || {
        answers(plan.kubectl().args(["get", "--raw", "/readyz"]), "ok")
    })
}

/// Starts the controllers, and with a node the scheduler. Only once the API server serves: they would
/// wait longer between their attempts than it needs.
///
/// # Errors
/// When one cannot be started.
pub(crate) fn start_controllers(plan: &Plan, components: &mut Components<'_>) -> Result<()> {
    components.start("kube-controller-manager", controller_manager(plan))?;
    if plan.has_nodes() {
        components.start("kube-scheduler", scheduler(plan))?;
    }
    Ok(())
}

/// Waits until a pod could be created: until then the API server refuses every one.
///
/// # Errors
/// When it is not so in time, or a component ends.
pub(crate) fn wait_for_controllers(plan: &Plan, components: &mut Components<'_>) -> Result<()> {
    let component = "kube-controller-manager";
    components.wait_until("the default ServiceAccount exists", component, START_LIMIT, || {
        let mut kubectl = plan.kubectl();
        kubectl.args(["--namespace=default", "get", "serviceaccount/default", "--output=name"]);
        answers(&mut kubectl, "serviceaccount/default")
    })
}

/// Whether a command succeeds and prints `expected`. A failure counts as "not yet".
pub(crate) fn answers(command: &mut Command, expected: &str) -> bool {
    command::output(command, command::QUICK)
        .is_ok_and(|output| output.status.success() && output.stdout.trim() == expected)
}

fn etcd(plan: &Plan) -> Command {
    let client = format!("http://127.0.0.1:{}", plan.ports.etcd);
    let mut command = plan.component("etcd");
    command.arg(format!("--data-dir={}", plan.layout.data().join("etcd").display()));
    command.arg(format!("--listen-client-urls={client}"));
    command.arg(format!("--advertise-client-urls={client}"));
    // It has no peers; zero is any free port.
    command.arg("--listen-peer-urls=http://127.0.0.1:0");
    // What is stored is thrown away with the cluster.
    command.args(["--unsafe-no-fsync", "--log-level=warn"]);
    command
}

fn api_server(plan: &Plan) -> Command {
    let mut command = plan.component("kube-apiserver");
    command.arg(format!("--etcd-servers=http://127.0.0.1:{}", plan.ports.etcd));
    command.arg(format!("--secure-port={}", plan.ports.api));
    command.args(api_server_addresses(plan.has_nodes()));
    for (flag, file) in [
        ("tls-cert-file", "kube-apiserver.crt"),
        ("tls-private-key-file", "kube-apiserver.key"),
        ("client-ca-file", "ca.crt"),
        ("kubelet-certificate-authority", "ca.crt"),
        ("kubelet-client-certificate", "kubelet-client.crt"),
        ("kubelet-client-key", "kubelet-client.key"),
        ("service-account-key-file", "service-accounts.pub"),
        ("service-account-signing-key-file", "service-accounts.key"),
    ] {
        command.arg(format!("--{flag}={}", pki(plan, file).display()));
    }
    command.arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local");
    command.arg(format!("--service-cluster-ip-range={SERVICE_RANGE}"));
    command.args([
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--kubelet-preferred-address-types=InternalIP",
        "--allow-privileged=true",
    ]);
    command
}

/// Without a node nobody but this machine calls, and there is no address that the `kubernetes` Service
/// could name. With one, pods come by way of the node's address.
fn api_server_addresses(node: bool) -> Vec<String> {
    if node {
        return vec![
            "--bind-address=0.0.0.0".into(),
            format!("--advertise-address={NODE_ADDRESS}"),
        ];
    }
    let alone = [
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
    ];
    alone.map(str::to_owned).to_vec()
}

fn controller_manager(plan: &Plan) -> Command {
    let mut command = controller(plan, "kube-controller-manager");
    for (flag, file) in [
        ("root-ca-file", "ca.crt"),
        ("cluster-signing-cert-file", "ca.crt"),
        ("cluster-signing-key-file", "ca.key"),
        ("service-account-private-key-file", "service-accounts.key"),
    ] {
        command.arg(format!("--{flag}={}", pki(plan, file).display()));
    }
    command.arg("--use-service-account-credentials=true");
    command
}

fn scheduler(plan: &Plan) -> Command {
    controller(plan, "kube-scheduler")
}

fn controller(plan: &Plan, program: &str) -> Command {
    let kubeconfig = plan.layout.config().join(format!("{program}.kubeconfig"));
    let mut command = plan.component(program);
    command.arg(format!("--kubeconfig={}", kubeconfig.display()));
    // The default of 20 requests a second alone would double the time until the first pod can run.
    command.args(["--leader-elect=false", "--kube-api-qps=500", "--kube-api-burst=1000"]);
    // Nobody asks for its metrics, and a port less cannot collide.
    command.arg("--secure-port=0");
    command
}

fn pki(plan: &Plan, file: &str) -> PathBuf {
    plan.layout.pki().join(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::build::Binaries;
    use crate::cluster::layout::Layout;
    use crate::cluster::plan::Node;
    use crate::cluster::ports::Ports;

    fn plan(nodes: u8) -> Plan {
        let layout = Layout::in_folder(std::path::Path::new("/c"));
        let ports = Ports { api: 17400, etcd: 17401 };
        Plan { layout, binaries: Binaries::present().unwrap(), ports, nodes: Node::of(nodes) }
    }

    fn words(command: &Command) -> Vec<String> {
        command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn without_a_node_everything_listens_on_loopback_and_nothing_enters_a_namespace() {
        let words = words(&api_server(&plan(0)));
        assert!(words.contains(&"--bind-address=127.0.0.1".to_owned()), "{words:?}");
        assert!(words.contains(&"--secure-port=17400".to_owned()), "{words:?}");
        assert!(!words.iter().any(|word| word.starts_with("--net=")), "{words:?}");
    }

    #[test]
    fn with_a_node_the_api_server_is_inside_and_found_under_the_nodes_address() {
        let words = words(&api_server(&plan(1)));
        assert!(words[0].starts_with("--net=/run/netns/weir-"), "{words:?}");
        assert!(words.contains(&format!("--advertise-address={NODE_ADDRESS}")), "{words:?}");
    }

    #[test]
    fn the_api_server_finds_etcd_where_it_listens() {
        let plan = plan(0);
        let has = |words: Vec<String>, word: &str| words.iter().any(|w| w == word);
        assert!(has(words(&etcd(&plan)), "--listen-client-urls=http://127.0.0.1:17401"));
        assert!(has(words(&api_server(&plan)), "--etcd-servers=http://127.0.0.1:17401"));
    }

    #[test]
    fn an_answer_that_is_not_expected_counts_as_not_yet() {
        assert!(answers(command::tool("echo").arg("ok"), "ok"));
        assert!(!answers(command::tool("echo").arg("starting"), "ok"));
        assert!(!answers(&mut command::tool("/nowhere/at/all"), "ok"));
    }
}
