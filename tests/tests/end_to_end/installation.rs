//! Weir as a user installs it, with Helm and the images of this workspace.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;
use weir_tests::cluster::Mode;
use weir_tests::{Cluster, Namespace, eventually};

use crate::objects::{RESTRICTED, ready_pods, text};

const NAMESPACE: &str = "weir-system";
const RELEASE: &str = "weir";
/// What the leader holds.
const LEASE: &str = "weir-leader";
const OTHER_RELEASE: &str = "another";
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/weir");

/// What `cargo xtask images` makes. They are on the node or nowhere.
const SETTINGS: [&str; 4] = [
    "image.tag=dev",
    "image.pullPolicy=Never",
    "sidecar.image.tag=dev",
    "sidecar.image.pullPolicy=Never",
];

/// The operator's pods.
const OPERATOR: &str = "app.kubernetes.io/component=operator";

/// How a line of the operator's log says that something is broken.
const ERROR: &str = r#""level":"ERROR""#;

/// A pod is up within seconds; a machine that compiles at the same time takes longer.
const UP: Duration = Duration::from_secs(60);

/// Within the cluster's network this takes less than a millisecond, once the network is there.
const REACH: Duration = Duration::from_secs(2);

/// An installed Weir.
pub(crate) struct Weir {
    pub(crate) cluster: Cluster,
    system: Namespace,
}

/// Installs Weir, runs `stories` and removes it. When they fail, the state of its namespace is shown.
pub(crate) async fn with_weir(stories: impl AsyncFnOnce(&Weir) -> Result<()>) -> Result<()> {
    let cluster = Cluster::connect().await?;
    check(&cluster).await?;
    let name = NAMESPACE.to_owned();
    let system = Namespace { kubectl: cluster.kubectl(&name)?, name, cluster: cluster.clone() };
    let weir = Weir { cluster, system };
    let outcome = async {
        weir.install().await?;
        stories(&weir).await?;
        weir.is_well().await
    };
    let outcome = outcome.await;
    if outcome.is_err() {
        eprintln!("{}", weir.system.diagnosis().await);
    }
    let removed = weir.helm(&["uninstall", RELEASE, "--wait"]).await;
    outcome?;
    removed?;
    // With them every pipeline would be gone.
    let kept = weir.system.kubectl.succeed(&["get", "crds", "--output=name"]).await?;
    ensure!(kept.contains("streampipelines.weir.dev"), "the definitions were not kept: {kept}");
    Ok(())
}

/// Says what is missing before anything is waited for.
async fn check(cluster: &Cluster) -> Result<()> {
    match cluster.mode {
        Mode::Node => {}
        Mode::ControlPlane => bail!(
            "these stories need pods, and this cluster has no node: run `cargo xtask cluster up \
             --require-node` as root on Linux"
        ),
        Mode::Existing => bail!(
            "these stories install Weir with images of this workspace, which is not to be done to \
             somebody else's cluster: unset WEIR_USE_EXISTING_CLUSTER"
        ),
    }
    let api = cluster.kubectl("default")?.get("service", "kubernetes").await?;
    let address = api.pointer("/spec/clusterIP").and_then(serde_json::Value::as_str);
    let address = address.context("the Service kubernetes has no address")?;
    eventually("Services are reached from here, as by `cargo xtask cluster exec`", UP, async || {
        let reached = timeout(REACH, TcpStream::connect((address, 443))).await;
        reached.context("no answer")?.map(drop).context("no connection")
    })
    .await
}

impl Weir {
    async fn install(&self) -> Result<()> {
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": NAMESPACE, "labels": { RESTRICTED.0: RESTRICTED.1 } },
        });
        let kubectl = &self.system.kubectl;
        kubectl.apply(&namespace.to_string(), &[]).await?.into_success(&["apply"])?;
        let timeout = format!("--timeout={}s", UP.as_secs());
        let mut arguments = vec!["install", RELEASE, CHART, "--wait", &timeout];
        SETTINGS.iter().for_each(|setting| arguments.extend(["--set", setting]));
        println!("{}", self.helm(&arguments).await?);
        kubectl.wait("deployment/weir", "condition=Available", UP).await?;
        println!("{}", self.helm(&["test", RELEASE, &timeout]).await?);
        Ok(())
    }

    /// The operator has neither restarted nor logged an error.
    async fn is_well(&self) -> Result<()> {
        let kubectl = &self.system.kubectl;
        for pod in ready_pods(kubectl, OPERATOR, 1).await? {
            let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
            ensure!(*restarts == 0, "the operator has restarted {restarts} times");
        }
        let log = kubectl.succeed(&["logs", "deployment/weir"]).await?;
        let errors: Vec<_> = log.lines().filter(|line| line.contains(ERROR)).collect();
        ensure!(errors.is_empty(), "the operator has logged {}", errors.join("\n"));
        Ok(())
    }

    /// Takes the operator away, and with it the webhook; returns when no request reaches it any more.
    pub(crate) async fn take_away(&self) -> Result<()> {
        self.is_well().await?;
        let kubectl = &self.system.kubectl;
        kubectl.succeed(&["scale", "deployment/weir", "--replicas=0"]).await?;
        eventually("the operator is gone", UP, async || {
            let pods = kubectl.succeed(&["get", "pods", "--output=name"]).await?;
            ensure!(pods.is_empty(), "{pods}");
            Ok(())
        })
        .await
    }

    /// Brings the operator back.
    pub(crate) async fn bring_back(&self) -> Result<()> {
        let kubectl = &self.system.kubectl;
        kubectl.succeed(&["scale", "deployment/weir", "--replicas=1"]).await?;
        kubectl.wait("deployment/weir", "condition=Available", UP).await.map(drop)
    }

    /// Upgrades the release to the settings of its installation and these.
    pub(crate) async fn upgrade(&self, settings: &[&str]) -> Result<()> {
        let timeout = format!("--timeout={}s", UP.as_secs());
        let mut arguments = vec!["upgrade", RELEASE, CHART, "--wait", &timeout];
        let settings = SETTINGS.iter().chain(settings);
        settings.for_each(|setting| arguments.extend(["--set", setting]));
        self.helm(&arguments).await.map(drop)
    }

    /// Goes back to the revision before.
    pub(crate) async fn roll_back(&self) -> Result<()> {
        let timeout = format!("--timeout={}s", UP.as_secs());
        self.helm(&["rollback", RELEASE, "--wait", &timeout]).await.map(drop)
    }

    /// Waits until the operator has so many pods, all of them ready.
    pub(crate) async fn has_replicas(&self, count: usize) -> Result<()> {
        ready_pods(&self.system.kubectl, OPERATOR, count).await.map(drop)
    }

    /// Which of the operator's pods leads, and how often that has changed.
    pub(crate) async fn leader(&self) -> Result<(String, u64)> {
        let lease = self.system.kubectl.get("lease", LEASE).await?;
        let holder = text(&lease, "/spec/holderIdentity")?.to_owned();
        Ok((holder, lease["spec"]["leaseTransitions"].as_u64().unwrap_or_default()))
    }

    /// Waits until the operator's one pod leads, another than before, to which the leadership was handed over once.
    pub(crate) async fn is_led_anew(&self, (before, changes): &(String, u64)) -> Result<()> {
        let pods = ready_pods(&self.system.kubectl, OPERATOR, 1).await?;
        let name = text(&pods[0], "/metadata/name")?;
        let restarts = &pods[0]["status"]["containerStatuses"][0]["restartCount"];
        ensure!(name != before && *restarts == 0, "{name} has restarted {restarts} times");
        eventually("the pod that is left leads", UP, async || {
            let (leader, found) = self.leader().await?;
            ensure!(leader == name && found == changes + 1, "{leader} leads after {found} changes");
            Ok(())
        })
        .await
    }

    /// Installs a release of its own in another namespace.
    pub(crate) async fn install_another(
        &self,
        namespace: &Namespace,
        settings: &[&str],
    ) -> Result<String> {
        let timeout = format!("--timeout={}s", UP.as_secs());
        let mut arguments = vec!["install", OTHER_RELEASE, CHART, "--wait", &timeout];
        let settings = SETTINGS.iter().chain(settings);
        settings.for_each(|setting| arguments.extend(["--set", setting]));
        self.helm_in(&namespace.name, &arguments).await
    }

    /// Removes it.
    pub(crate) async fn uninstall_another(&self, namespace: &Namespace) -> Result<()> {
        let uninstall = ["uninstall", OTHER_RELEASE, "--wait"];
        self.helm_in(&namespace.name, &uninstall).await.map(drop)
    }

    /// The operator has no permission in a namespace.
    pub(crate) async fn may_not_reconcile(&self, namespace: &Namespace) -> Result<()> {
        let account = format!("--as=system:serviceaccount:{NAMESPACE}:weir");
        let asked = ["auth", "can-i", "patch", "services", &account];
        let answer = namespace.kubectl.output(&asked).await?;
        ensure!(answer.stdout.trim() == "no", "{answer:?}");
        Ok(())
    }

    async fn helm(&self, arguments: &[&str]) -> Result<String> {
        self.helm_in(NAMESPACE, arguments).await
    }

    async fn helm_in(&self, namespace: &str, arguments: &[&str]) -> Result<String> {
        let mut helm = Command::new(self.cluster.helm()?);
        helm.arg("--namespace").arg(namespace).args(arguments);
        helm.env("KUBECONFIG", self.cluster.kubeconfig()?);
        helm.stdin(Stdio::null()).kill_on_drop(true);
        let ended = timeout(UP * 2, helm.output()).await;
        let line = arguments.join(" ");
        let ended = ended.with_context(|| format!("`helm {line}` does not end"))??;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        ensure!(ended.status.success(), "`helm {line}` failed: {}", text(&ended.stderr));
        Ok(text(&ended.stdout))
    }
}
