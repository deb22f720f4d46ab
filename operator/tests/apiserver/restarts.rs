//! Workloads whose pods lack something are restarted, where the pipeline asks for it, by their own rolling
//! update and not again and again.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Node as K8sNode, Pod, ResourceQuota};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use weir_tests::{Namespace, eventually};

use crate::fixture::{LIMIT, change, condition, create_pipeline, pipelines};
use crate::installation::{Replica, configure, free, injected_pod, is_injected, with_system};
use crate::workloads::{Node, api, create, manifest, pods_of, settled};

pub(crate) fn restarting() -> Value {
    json!({ "sidecar": {
        "selector": { "matchLabels": { "app": "shop" } },
        "restart": "OnChange",
    } })
}

/// The pods stand before the operator does, and so slip through.
async fn slipped(watched: &Namespace, workloads: &[(&str, &str)]) -> Result<()> {
    for (kind, name) in workloads {
        create(watched, manifest(kind, name, "10m")).await?;
    }
    for (kind, name) in workloads {
        settled(watched, kind, name).await?;
        ensure!(!pods_of(watched, name).await?.iter().any(is_injected), "{name} is injected");
    }
    Ok(())
}

/// The operator, which injects what is created from now on.
async fn start(watched: &Namespace, system: &Namespace) -> Result<Replica> {
    let webhook = free().await?;
    configure(watched, system, webhook.port()).await?;
    let replica = Replica::start(watched, system, "one", webhook).await?;
    replica.ready().await?;
    Ok(replica)
}

/// Waits until the condition Injected says this, whatever its status.
async fn says(namespace: &Namespace, words: &str) -> Result<()> {
    eventually(&format!("Injected says {words:?}"), LIMIT, async || {
        let status = pipelines(namespace).get("orders").await?.status.context("no status")?;
        let mut found = status.conditions.iter().filter(|found| found.type_ == "Injected");
        let found = found.next().context("no such condition")?;
        ensure!(found.message.contains(words), "{found:?}");
        Ok(())
    })
    .await
}

pub(crate) async fn generation(
    namespace: &Namespace,
    kind: &str,
    name: &str,
) -> Result<Option<i64>> {
    Ok(api(namespace, kind).get(name).await?.metadata.generation)
}

/// Waits until there is an Event about a workload.
async fn event(namespace: &Namespace, name: &str) -> Result<()> {
    let events = namespace.api::<Event>();
    eventually(&format!("an event tells of the restart of {name}"), LIMIT, async || {
        let params = ListParams::default().fields("reason=RestartedForSidecar");
        let found = events.list(&params).await?.items;
        let about = |event: &Event| event.regarding.as_ref().and_then(|about| about.name.clone());
        ensure!(found.iter().any(|event| about(event).as_deref() == Some(name)), "{found:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn workloads_whose_pods_slipped_through_are_rolled_over_once() -> Result<()> {
    with_system("restart", async |watched, system| {
        // A DaemonSet needs a node to make a pod for.
        let nodes: Api<K8sNode> = Api::all(watched.cluster.client.clone());
        let node = serde_json::from_value(json!({ "metadata": { "name": watched.name } }))?;
        nodes.create(&PostParams::default(), &node).await?;
        let told = rolled_over(&watched, &system).await;
        nodes.delete(&watched.name, &DeleteParams::default()).await?;
        told
    })
    .await
}

async fn rolled_over(watched: &Namespace, system: &Namespace) -> Result<()> {
    let workloads = [("Deployment", "web"), ("StatefulSet", "db"), ("DaemonSet", "agent")];
    let _node = Node::start(watched);
    slipped(watched, &workloads).await?;
    let replica = start(watched, system).await?;
    create_pipeline(watched, "orders", restarting()).await?;
    let found = condition(watched, "orders", "Injected", "True", "AllInjected").await?;
    ensure!(!found.message.contains("restart"), "{found:?}");
    for (kind, name) in workloads {
        event(watched, name).await?;
        let object = settled(watched, kind, name).await?;
        ensure!(pods_of(watched, name).await?.iter().all(is_injected), "{name} is not injected");
        ensure!(object["metadata"]["generation"] == 2, "{}", object["metadata"]);
        let line =
            format!("weir_operator_restarts_total{{kind=\"{kind}\",result=\"restarted\"}} 1");
        ensure!(replica.shows(&line).await?, "{line} is not shown");
    }
    let status = pipelines(watched).get("orders").await?.status.context("no status")?;
    let restarts = status.injection.context("no injection")?.restarts;
    let ids: Vec<_> =
        restarts.iter().map(|restart| (&*restart.workload, restart.attempts)).collect();
    ensure!(
        ids == [("daemonset/agent", 1), ("deployment/web", 1), ("statefulset/db", 1)],
        "{restarts:?}"
    );
    replica.stop().await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_paused_deployment_is_left_alone_until_it_is_resumed() -> Result<()> {
    with_system("paused", async |watched, system| {
        let _node = Node::start(&watched);
        slipped(&watched, &[("Deployment", "web")]).await?;
        let pause = |paused: bool| Patch::Merge(json!({ "spec": { "paused": paused } }));
        let deployments = api(&watched, "Deployment");
        deployments.patch("web", &PatchParams::default(), &pause(true)).await?;
        let replica = start(&watched, &system).await?;
        create_pipeline(&watched, "orders", restarting()).await?;
        let command = format!("kubectl rollout resume deployment/web -n {}", watched.name);
        says(&watched, &format!("is paused, and so left alone: {command}")).await?;
        ensure!(generation(&watched, "Deployment", "web").await? == Some(2));
        deployments.patch("web", &PatchParams::default(), &pause(false)).await?;
        // Nothing that the operator watches changes by that, so it is told.
        settled(&watched, "Deployment", "web").await?;
        change(&watched, "orders", json!({ "metadata": { "labels": { "again": "1" } } })).await?;
        condition(&watched, "orders", "Injected", "True", "AllInjected").await?;
        replica.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_workload_whose_new_pods_would_be_refused_is_not_touched() -> Result<()> {
    with_system("trial", async |watched, system| {
        let _node = Node::start(&watched);
        slipped(&watched, &[("Deployment", "web")]).await?;
        // Room for the pods as they are, and for none with a sidecar.
        quota(&watched, "25m").await?;
        let replica = start(&watched, &system).await?;
        create_pipeline(&watched, "orders", restarting()).await?;
        says(&watched, "deployment/web is not restarted, because a trial failed").await?;
        says(&watched, "exceeded quota").await?;
        ensure!(generation(&watched, "Deployment", "web").await? == Some(1));
        ensure!(pods_of(&watched, "web").await?.len() == 2);
        let (_, metrics) = replica.get("/metrics").await?;
        let counted = "weir_operator_restarts_total{kind=\"Deployment\",result=\"trial_failed\"}";
        ensure!(metrics.contains(counted), "{metrics}");
        // The remedy helps.
        quota(&watched, "1").await?;
        change(&watched, "orders", json!({ "metadata": { "labels": { "again": "1" } } })).await?;
        condition(&watched, "orders", "Injected", "True", "AllInjected").await?;
        replica.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn an_operator_that_may_restart_nothing_says_so_with_the_command() -> Result<()> {
    with_system("restless", async |watched, system| {
        let _node = Node::start(&watched);
        slipped(&watched, &[("Deployment", "web")]).await?;
        let webhook = free().await?;
        configure(&watched, &system, webhook.port()).await?;
        let without = ["--restarts=false".to_owned()];
        let replica = Replica::start_with(&watched, &system, "one", webhook, &without).await?;
        replica.ready().await?;
        create_pipeline(&watched, "orders", restarting()).await?;
        says(&watched, "this operator restarts nothing").await?;
        let command = format!("kubectl rollout restart deployment/web -n {}", watched.name);
        says(&watched, &command).await?;
        ensure!(generation(&watched, "Deployment", "web").await? == Some(1));
        replica.stop().await
    })
    .await
}

/// Lets the pods of a namespace ask for so much of a CPU in all, and waits until the API server knows.
pub(crate) async fn quota(namespace: &Namespace, cpu: &str) -> Result<()> {
    let quotas = namespace.api::<ResourceQuota>();
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "cpu" },
        "spec": { "hard": { "requests.cpu": cpu } },
    });
    let params = PatchParams::apply("weir-tests").force();
    quotas.patch("cpu", &params, &Patch::Apply(&quota)).await?;
    eventually("the quota is counted", LIMIT, async || {
        let found = serde_json::to_value(quotas.get("cpu").await?)?;
        ensure!(found["status"]["hard"]["requests.cpu"] == cpu, "{found}");
        ensure!(found["status"]["used"]["requests.cpu"].is_string(), "{found}");
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn without_the_wish_nothing_is_restarted_and_the_command_stands_there() -> Result<()> {
    with_system("never", async |watched, system| {
        let _node = Node::start(&watched);
        slipped(&watched, &[("Deployment", "web")]).await?;
        let replica = start(&watched, &system).await?;
        create_pipeline(&watched, "orders", crate::fixture::sidecar()).await?;
        let found =
            condition(&watched, "orders", "Injected", "False", "PodsWithoutSidecar").await?;
        let command = format!("kubectl rollout restart deployment/web -n {}", watched.name);
        ensure!(found.message.ends_with(&command), "{found:?}");
        ensure!(generation(&watched, "Deployment", "web").await? == Some(1));
        // The wish is taken up at once.
        change(&watched, "orders", json!({ "spec": { "placement": restarting() } })).await?;
        condition(&watched, "orders", "Injected", "True", "AllInjected").await?;
        ensure!(generation(&watched, "Deployment", "web").await? == Some(2));
        replica.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_secret_that_the_pipeline_has_come_to_name_is_mounted_by_a_restart() -> Result<()> {
    with_system("outdated", async |watched, system| {
        let _node = Node::start(&watched);
        let replica = start(&watched, &system).await?;
        create_pipeline(&watched, "orders", restarting()).await?;
        // The webhook learns of the pipeline in its own time; what slips through is repaired.
        create(&watched, manifest("Deployment", "web", "10m")).await?;
        condition(&watched, "orders", "Injected", "True", "AllInjected").await?;
        let tls = json!({ "spec": { "endpoints": { "tls": { "secretName": "tls" } } } });
        change(&watched, "orders", tls).await?;
        eventually("the pods mount the Secret", LIMIT, async || {
            for pod in pods_of(&watched, "web").await? {
                let pod = serde_json::to_value(&pod)?;
                let mounts = pod["spec"]["initContainers"][0]["volumeMounts"].to_string();
                ensure!(mounts.contains("/etc/weir/secrets/tls"), "{mounts}");
            }
            Ok(())
        })
        .await?;
        condition(&watched, "orders", "Injected", "True", "AllInjected").await?;
        replica.stop().await
    })
    .await
}

/// What the pods ask for and request no node has, so that nothing becomes of their rollout.
#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn pods_that_no_node_has_room_for_are_made_anew_once_the_pipeline_asks_for_less() -> Result<()>
{
    with_system("crowded", async |watched, system| {
        let replica = start(&watched, &system).await?;
        let mut placement = restarting();
        let large = json!({ "memory": "100Gi" });
        placement["sidecar"]["resources"] = json!({ "requests": large, "limits": large });
        create_pipeline(&watched, "orders", placement).await?;
        injected_pod(&watched).await?;
        let pods = watched.api::<Pod>();
        pods.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        create(&watched, manifest("Deployment", "web", "10m")).await?;
        let made = eventually("there are pods", LIMIT, async || {
            let made = pods_of(&watched, "web").await?;
            ensure!(made.len() == 2 && made.iter().all(is_injected), "{}", made.len());
            Ok(made)
        })
        .await?;
        let unscheduled = json!({ "status": { "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient memory.",
        }] } });
        for pod in &made {
            let unscheduled = Patch::Merge(&unscheduled);
            pods.patch_status(&pod.name_any(), &PatchParams::default(), &unscheduled).await?;
        }
        let less = json!({ "spec": { "placement": { "sidecar": { "resources": null } } } });
        change(&watched, "orders", less).await?;
        eventually("a pod is made that asks for less", LIMIT, async || {
            let requests =
                pods_of(&watched, "web").await?.iter().map(requested).collect::<Vec<_>>();
            ensure!(requests.iter().any(|memory| memory == "64Mi"), "{requests:?}");
            Ok(())
        })
        .await?;
        ensure!(generation(&watched, "Deployment", "web").await? == Some(2));
        says(&watched, "requests as small as 20m of CPU and 64Mi of memory").await?;
        replica.stop().await
    })
    .await
}

/// What the sidecar of a pod requests of memory.
fn requested(pod: &Pod) -> String {
    let inits = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let resources = inits.filter_map(|container| container.resources.as_ref());
    let mut requests = resources.filter_map(|resources| resources.requests.as_ref());
    requests
        .find_map(|requests| requests.get("memory"))
        .map(|found| found.0.clone())
        .unwrap_or_default()
}
