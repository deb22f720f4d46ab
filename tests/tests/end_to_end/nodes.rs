//! Pods of every node reach those of every other one, the cluster's names and the API server: without that,
//! no other story on two nodes means anything.

use anyhow::{Result, ensure};
use weir_tests::{Cluster, with_namespace};

use crate::objects::{apply, ready_pods, restrict, text};

const POD: &str = include_str!("../../fixtures/end_to_end/visitor.yaml");

/// These stories need somewhere to go.
pub(crate) async fn are_two(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.kubectl("default")?;
    let nodes = kubectl.succeed(&["get", "nodes", "--output=name"]).await?;
    let count = nodes.lines().count();
    ensure!(count >= 2, "{count} nodes: start the cluster by `cargo xtask cluster up --nodes 2`");
    Ok(())
}

pub(crate) async fn story() -> Result<()> {
    with_namespace("nodes", async |space| {
        restrict(&space).await?;
        let names = space.kubectl.succeed(&["get", "nodes", "--output=name"]).await?;
        let nodes: Vec<_> = names.lines().filter_map(|name| name.strip_prefix("node/")).collect();
        for node in &nodes {
            apply(&space.kubectl, &POD.replace("NODE", node)).await?;
        }
        let pods = ready_pods(&space.kubectl, "app=visitor", nodes.len()).await?;
        for pod in &pods {
            let mut visits = vec!["https://kubernetes.default.svc/livez".to_owned()];
            for other in &pods {
                let address = text(other, "/status/podIP")?;
                // Large enough that packets of every size go that way.
                visits.push(format!("http://{address}:8080/busybox"));
            }
            let curl =
                "curl --silent --show-error --fail --insecure --max-time 5 --output /dev/null";
            let curls: Vec<_> = visits.iter().map(|url| format!("{curl} {url}")).collect();
            let name = text(pod, "/metadata/name")?;
            let exec = ["exec", name, "--", "/bin/sh", "-c", &curls.join(" && ")];
            let visited = space.kubectl.output(&exec).await?;
            ensure!(visited.success, "{name} does not reach one of {visits:?}: {}", visited.stderr);
        }
        Ok(())
    })
    .await
}
