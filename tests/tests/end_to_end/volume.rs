//! A log on a persistent volume outlives the process that writes it, and the pod.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use weir_tests::{Cluster, Kubectl, eventually, with_namespace};

use crate::feed::{Audience, Feed};
use crate::objects::{UP, is_ready, text};

const MANIFEST: &str = include_str!("../../fixtures/end_to_end/volume.yaml");
const AUDIENCE: Audience = Audience { subscribers: 10, per_second: 100, window: "1s" };

/// The pod of the one replica, whoever it is at the moment.
const POD: &str = "feed-0";
const PROGRAM: &str = "weir-sidecar";

pub(crate) async fn story() -> Result<()> {
    with_namespace("volume", async |namespace| {
        let volume = Volume::make(&namespace.cluster, &namespace.name).await?;
        let feed = Feed::of(&namespace, &MANIFEST.replace("CLASS", &volume.name), AUDIENCE).await?;
        let kubectl = &feed.kubectl;
        let first = kubectl.get("pod", POD).await?;
        kill(&first)?;
        let restarted = back(kubectl, |pod| {
            uid(pod) == uid(&first) && pod["status"]["containerStatuses"][0]["restartCount"] == 1
        });
        restarted.await.context("the process was killed")?;
        feed.publishes(AUDIENCE.per_second).await?;
        kubectl.succeed(&["delete", "pod", POD]).await?;
        let second =
            back(kubectl, |pod| uid(pod) != uid(&first)).await.context("the pod was deleted")?;
        let claim = kubectl.get("persistentvolumeclaim", &format!("weir-data-{POD}")).await?;
        ensure!(claim["spec"]["volumeName"] == volume.name, "another volume: {claim}");
        println!("a process killed and a pod deleted, on {}:", text(&second, "/spec/nodeName")?);
        let told = feed.close().await?;
        // Who is slow to come back the first time is away once.
        ensure!(told.times() >= AUDIENCE.subscribers, "away only {} times", told.times());
        volume.remove().await
    })
    .await
}

fn uid(pod: &Value) -> &Value {
    &pod["metadata"]["uid"]
}

/// Waits until the pod is ready again, and what it is to be.
async fn back(kubectl: &Kubectl, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    eventually("the replica is ready again", UP, async || {
        let pod = kubectl.get("pod", POD).await?;
        ensure!(is_ready(&pod) && wanted(&pod), "{}", pod["status"]);
        Ok(pod)
    })
    .await
}

/// Kills the process of a pod as the kernel does where memory has run out: it has no time to write anything. The
/// pods of every node are processes of this machine, and their control groups name them.
fn kill(pod: &Value) -> Result<()> {
    let uid = text(pod, "/metadata/uid")?;
    let is_wanted = |process: &Path| {
        let read = |file: &str| std::fs::read_to_string(process.join(file)).unwrap_or_default();
        read("comm").trim() == PROGRAM && read("cgroup").contains(uid)
    };
    let mut processes = Vec::new();
    for entry in Path::new("/proc").read_dir()? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let number = number.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        processes.extend(number.filter(|_| is_wanted(&path)));
    }
    ensure!(processes.len() == 1, "{PROGRAM} of pod {uid} is {processes:?}");
    let killed = Command::new("kill").arg("-KILL").args(&processes).status()?;
    ensure!(killed.success(), "{killed}");
    Ok(())
}

/// A PersistentVolume on the first node, for one claim: there is nothing in the cluster that makes any.
struct Volume {
    name: String,
    folder: PathBuf,
    kubectl: Kubectl,
}

impl Volume {
    async fn make(cluster: &Cluster, name: &str) -> Result<Self> {
        let home = cluster.variable("WEIR_CLUSTER_DIR").context("the cluster has no folder")?;
        let folder = Path::new(home).join("volumes").join(name);
        std::fs::create_dir_all(&folder)?;
        let node = cluster.variable("WEIR_CLUSTER_NODE").context("there is no node")?;
        let here = json!({
            "key": "kubernetes.io/hostname", "operator": "In", "values": [node],
        });
        let volume = json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": { "name": name },
            "spec": {
                "capacity": { "storage": "64Mi" },
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": name,
                "local": { "path": folder },
                "nodeAffinity": {
                    "required": { "nodeSelectorTerms": [{ "matchExpressions": [here] }] },
                },
            },
        });
        let kubectl = cluster.kubectl("default")?;
        kubectl.apply(&volume.to_string(), &[]).await?.into_success(&["apply"])?;
        Ok(Self { name: name.to_owned(), folder, kubectl })
    }

    /// Removes the volume; it goes once the namespace has, whose claim holds it.
    async fn remove(self) -> Result<()> {
        let Self { name, folder, kubectl } = self;
        kubectl.succeed(&["delete", "persistentvolume", &name, "--wait=false"]).await?;
        std::fs::remove_dir_all(&folder).context("the folder of the volume stays")
    }
}
