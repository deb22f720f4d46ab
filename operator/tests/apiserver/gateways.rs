//! What a gateway's manifest says about its workload, and what stands in the cluster for it.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, PropagationPolicy};
use serde_json::{Value, json};
use weir_tests::{Namespace, eventually, with_namespace};

use crate::fixture::{
    Controller, LIMIT, change, condition, create_pipeline, create_pipeline_with, gateway, gone,
    pipelines, restrict, there,
};
use crate::replicas::touch;

/// The claim of the first replica.
const CLAIM: &str = "weir-data-orders-0";

/// A gateway that says all that one can, in words that Kubernetes would choose otherwise.
fn particular() -> Value {
    json!({ "gateway": {
        "replicas": 2,
        "resources": {
            "requests": { "cpu": "0.5", "memory": "1024Mi" },
            "limits": { "cpu": "1.500", "memory": "2048Mi" },
        },
        "pod": {
            "nodeSelector": { "disk": "fast" },
            "tolerations": [{ "key": "edge", "operator": "Exists", "effect": "NoSchedule" }],
            "topologySpread": [{ "topologyKey": "rack" }],
            "labels": { "team": "shop" },
            "annotations": { "a.test/b": "c" },
        },
    } })
}

/// What a write that changes nothing leaves alone: its generation, and when we last wrote it.
fn written(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> String {
    let managers = metadata.managed_fields.iter().flatten();
    let ours = managers.filter(|entry| entry.manager.as_deref() == Some("weir-operator"));
    let times: Vec<_> = ours.map(|entry| format!("{:?}", entry.time)).collect();
    format!("{:?} {:?} {times:?}", metadata.uid, metadata.generation)
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn the_pods_are_as_the_manifest_says() -> Result<()> {
    with_namespace("particular", async |namespace| {
        restrict(&namespace).await?;
        let controller = Controller::start(&namespace).await?;
        create_pipeline(&namespace, "orders", particular()).await?;
        let deployment: Deployment = there(&namespace, "orders").await?;
        let template = serde_json::to_value(&deployment.spec.template)?;
        let container = &template["spec"]["containers"][0];
        let expected = json!({
            "requests": { "cpu": "500m", "memory": "1Gi" },
            "limits": { "cpu": "1500m", "memory": "2Gi" },
        });
        ensure!(container["resources"] == expected, "{}", container["resources"]);
        ensure!(template["metadata"]["labels"]["team"] == "shop", "{template}");
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn nothing_of_a_gateway_is_written_twice() -> Result<()> {
    with_namespace("twice", async |namespace| {
        let controller = Controller::start(&namespace).await?;
        let exposure = json!({ "exposure": {
            "service": { "type": "LoadBalancer", "annotations": { "a.test/b": "c" } },
            "ingress": { "host": "orders.test", "tls": { "secretName": "cert" } },
            "networkPolicy": { "subscribers": [{ "cidr": "10.0.0.0/8" }], "scrapers": [] },
        } });
        create_pipeline_with(&namespace, "exposed", particular(), exposure).await?;
        create_on_volume(&namespace, "Retain").await?;
        condition(&namespace, "exposed", "Ready", "False", "NoReplicaReady").await?;
        condition(&namespace, "orders", "Ready", "False", "NoReplicaReady").await?;
        controller.stop().await?;
        let before = all_written(&namespace).await?;
        let controller = Controller::start(&namespace).await?;
        eventually("both pipelines have been reconciled again", LIMIT, async || {
            ensure!(controller.reconciled()? > 1, "not yet");
            Ok(())
        })
        .await?;
        let after = all_written(&namespace).await?;
        ensure!(before == after, "{before:#?} became {after:#?}");
        controller.stop().await
    })
    .await
}

/// What we wrote last of each object.
async fn all_written(namespace: &Namespace) -> Result<Vec<String>> {
    let exposed = [
        written(&there::<Deployment>(namespace, "exposed").await?.metadata),
        written(&there::<Service>(namespace, "exposed").await?.metadata),
        written(&there::<Ingress>(namespace, "exposed").await?.metadata),
        written(&there::<NetworkPolicy>(namespace, "exposed").await?.metadata),
        written(&there::<PodDisruptionBudget>(namespace, "exposed").await?.metadata),
    ];
    let kept = [written(&there::<StatefulSet>(namespace, "orders").await?.metadata)];
    Ok(exposed.into_iter().chain(kept).collect())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn kubectl_scale_sets_the_replicas_and_the_operator_respects_it() -> Result<()> {
    with_namespace("scale", async |namespace| {
        let controller = Controller::start(&namespace).await?;
        create_pipeline(&namespace, "orders", gateway(1)).await?;
        there::<Deployment>(&namespace, "orders").await?;
        namespace.kubectl.succeed(&["scale", "streampipeline/orders", "--replicas=3"]).await?;
        replicas(&namespace, 3).await?;
        let scale = eventually("the scale shows the pods", LIMIT, async || {
            let scale = pipelines(&namespace).get_scale("orders").await?;
            let found = scale.status.clone().context("no status")?;
            ensure!(found.replicas == 3, "{found:?}");
            Ok(scale)
        })
        .await?;
        let selector = scale.status.and_then(|status| status.selector).context("no selector")?;
        ensure!(selector == "app.kubernetes.io/component=gateway,weir.dev/pipeline=orders");
        ensure!(scale.spec.and_then(|spec| spec.replicas) == Some(3));
        // An apply of the manifest that says nothing of replicas leaves them to whoever has set them.
        touch(&namespace).await?;
        replicas(&namespace, 3).await?;
        // A number that stands on the Deployment alone is drift.
        let five = Patch::Merge(json!({ "spec": { "replicas": 5 } }));
        let deployments = namespace.api::<Deployment>();
        deployments.patch("orders", &PatchParams::default(), &five).await?;
        replicas(&namespace, 3).await?;
        controller.stop().await
    })
    .await
}

async fn replicas(namespace: &Namespace, wanted: i32) -> Result<()> {
    let deployments = namespace.api::<Deployment>();
    eventually(&format!("there are to be {wanted} replicas"), LIMIT, async || {
        let found = deployments.get("orders").await?.spec.replicas;
        ensure!(found == Some(wanted), "{found:?}");
        Ok(())
    })
    .await
}

fn on_volume(size: &str, when_deleted: &str) -> (Value, Value) {
    let placement = json!({ "gateway": { "volume": { "whenDeleted": when_deleted } } });
    let log = json!({
        "storage": { "disk": { "size": size } }, "retention": { "maxBytes": "8Mi" },
    });
    (placement, json!({ "log": log }))
}

async fn create_on_volume(namespace: &Namespace, when_deleted: &str) -> Result<()> {
    let (placement, log) = on_volume("16Mi", when_deleted);
    create_pipeline_with(namespace, "orders", placement, log).await.map(drop)
}

/// What somebody changes of the StatefulSet does not last.
async fn is_put_right(namespace: &Namespace) -> Result<()> {
    let sets = namespace.api::<StatefulSet>();
    let before = sets.get("orders").await?;
    let image =
        json!({ "containers": [{ "name": "weir-sidecar", "image": "other.test/image:1" }] });
    let spec = json!({ "replicas": 3, "template": { "spec": image } });
    let patch = Patch::Strategic(json!({ "spec": spec }));
    sets.patch("orders", &PatchParams::default(), &patch).await?;
    eventually("the StatefulSet is put right", LIMIT, async || {
        let found = sets.get("orders").await?;
        ensure!(found.spec == before.spec, "{:?}", found.spec);
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn volumes_outlive_their_pipeline_and_are_found_again() -> Result<()> {
    with_namespace("retained", async |namespace| {
        restrict(&namespace).await?;
        let controller = Controller::start(&namespace).await?;
        create_on_volume(&namespace, "Retain").await?;
        let claim: PersistentVolumeClaim = there(&namespace, CLAIM).await?;
        let requests =
            claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.clone());
        ensure!(requests.context("nothing is requested")?["storage"].0 == "18Mi");
        ensure!(claim.owner_references().is_empty(), "{:?}", claim.owner_references());
        there::<Pod>(&namespace, "orders-0").await?;
        gone::<Deployment>(&namespace, "orders").await?;
        is_put_right(&namespace).await?;
        pipelines(&namespace).delete("orders", &DeleteParams::background()).await?;
        gone::<StatefulSet>(&namespace, "orders").await?;
        gone::<Pod>(&namespace, "orders-0").await?;
        create_on_volume(&namespace, "Retain").await?;
        there::<Pod>(&namespace, "orders-0").await?;
        let again: PersistentVolumeClaim = there(&namespace, CLAIM).await?;
        ensure!(again.uid() == claim.uid(), "the claim was made anew");
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn volumes_go_with_their_pipeline_where_that_was_asked_for() -> Result<()> {
    with_namespace("deleted", async |namespace| {
        let controller = Controller::start(&namespace).await?;
        create_on_volume(&namespace, "Delete").await?;
        there::<PersistentVolumeClaim>(&namespace, CLAIM).await?;
        pipelines(&namespace).delete("orders", &DeleteParams::background()).await?;
        gone::<PersistentVolumeClaim>(&namespace, CLAIM).await?;
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn volumes_that_are_to_be_others_are_refused_until_the_remedy_is_taken() -> Result<()> {
    with_namespace("fixed", async |namespace| {
        let controller = Controller::start(&namespace).await?;
        create_on_volume(&namespace, "Retain").await?;
        let before: StatefulSet = there(&namespace, "orders").await?;
        let pod: Pod = there(&namespace, "orders-0").await?;
        let larger = json!({ "spec": on_volume("32Mi", "Retain").1 });
        change(&namespace, "orders", larger).await?;
        let ready = condition(&namespace, "orders", "Ready", "False", "VolumeFixed").await?;
        ensure!(ready.message.contains("from 18Mi to 36Mi"), "{ready:?}");
        let remedy = "kubectl delete statefulset orders --cascade=orphan";
        ensure!(ready.message.contains(remedy), "{ready:?}");
        let orphan = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Orphan),
            ..DeleteParams::default()
        };
        namespace.api::<StatefulSet>().delete("orders", &orphan).await?;
        eventually("the StatefulSet is made anew", LIMIT, async || {
            let after = namespace.api::<StatefulSet>().get("orders").await?;
            ensure!(after.uid() != before.uid(), "it is the old one");
            Ok(())
        })
        .await?;
        condition(&namespace, "orders", "Ready", "False", "NoReplicaReady").await?;
        let same: PersistentVolumeClaim = there(&namespace, CLAIM).await?;
        ensure!(same.owner_references().is_empty());
        ensure!(there::<Pod>(&namespace, "orders-0").await?.name_any() == pod.name_any());
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_gateway_moves_from_a_volume_to_none_and_back() -> Result<()> {
    with_namespace("moves", async |namespace| {
        let controller = Controller::start(&namespace).await?;
        create_on_volume(&namespace, "Delete").await?;
        there::<StatefulSet>(&namespace, "orders").await?;
        let without = json!({ "spec": { "placement": { "gateway": { "volume": null } } } });
        change(&namespace, "orders", without).await?;
        there::<Deployment>(&namespace, "orders").await?;
        gone::<StatefulSet>(&namespace, "orders").await?;
        gone::<PersistentVolumeClaim>(&namespace, CLAIM).await?;
        let with = json!({ "spec": { "placement": { "gateway": { "volume": {} } } } });
        change(&namespace, "orders", with).await?;
        there::<StatefulSet>(&namespace, "orders").await?;
        gone::<Deployment>(&namespace, "orders").await?;
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_quota_that_leaves_no_room_is_named_with_the_remedy() -> Result<()> {
    with_namespace("quota", async |namespace| {
        let quota: ResourceQuota = serde_json::from_value(json!({
            "metadata": { "name": "tight" }, "spec": { "hard": { "pods": "0" } },
        }))?;
        let quotas = namespace.api::<ResourceQuota>();
        quotas.create(&PostParams::default(), &quota).await?;
        eventually("the quota is known", LIMIT, async || {
            let known = quotas.get("tight").await?.status.and_then(|status| status.hard);
            ensure!(known.is_some(), "not yet");
            Ok(())
        })
        .await?;
        let controller = Controller::start(&namespace).await?;
        create_pipeline(&namespace, "orders", gateway(2)).await?;
        eventually("the quota is named", LIMIT, async || {
            let ready = condition(&namespace, "orders", "Ready", "False", "NoReplicaReady").await?;
            let said = "exceeded quota: tight";
            ensure!(ready.message.contains(said), "{ready:?}");
            ensure!(ready.message.contains("raise the namespace's ResourceQuota"), "{ready:?}");
            Ok(())
        })
        .await?;
        // The remedy helps.
        quotas.delete("tight", &DeleteParams::default()).await?;
        eventually("there are pods", LIMIT, async || {
            let status = pipelines(&namespace).get("orders").await?.status.context("no status")?;
            let current = status.replicas.context("no replicas")?.current;
            ensure!(current == 2, "{current}");
            Ok(())
        })
        .await?;
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_budget_that_somebody_changes_or_deletes_is_put_right() -> Result<()> {
    with_namespace("budget", async |namespace| {
        let controller = Controller::start(&namespace).await?;
        create_pipeline(&namespace, "orders", gateway(2)).await?;
        there::<PodDisruptionBudget>(&namespace, "orders").await?;
        let budgets = namespace.api::<PodDisruptionBudget>();
        let two = Patch::Merge(json!({ "spec": { "maxUnavailable": 2 } }));
        budgets.patch("orders", &PatchParams::default(), &two).await?;
        eventually("the budget is put right", LIMIT, async || {
            let spec = serde_json::to_value(budgets.get("orders").await?.spec)?;
            ensure!(spec["maxUnavailable"] == 1, "{spec}");
            Ok(())
        })
        .await?;
        budgets.delete("orders", &DeleteParams::default()).await?;
        there::<PodDisruptionBudget>(&namespace, "orders").await?;
        controller.stop().await
    })
    .await
}
