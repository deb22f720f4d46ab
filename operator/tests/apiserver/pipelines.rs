//! What stands in the cluster for a pipeline, and what becomes of it when the pipeline changes.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use weir_crds::manifest::Manifest;
use weir_crds::v1alpha1::{StreamPipelineSpec, StreamSLO};
use weir_tests::{Namespace, eventually, with_namespace};

use crate::fixture::{
    Controller, LIMIT, change, condition, create_pipeline, create_slo, gateway, gone, pipelines,
    restrict, sidecar, there,
};

/// Who wrote the object when, and what its spec is at: what a write that changes nothing leaves alone.
fn written(metadata: &ObjectMeta) -> (Option<i64>, Vec<String>) {
    let managers = metadata.managed_fields.iter().flatten();
    let ours = managers.filter(|entry| entry.manager.as_deref() == Some("weir-operator"));
    (metadata.generation, ours.map(|entry| format!("{:?}", entry.time)).collect())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_gateway_is_a_config_map_a_service_and_a_deployment_that_it_owns() -> Result<()> {
    with_namespace("gateway", async |namespace| {
        let controller = Controller::start(&namespace).await?;
        let pipeline = create_pipeline(&namespace, "orders", gateway(2)).await?;
        let config_map: ConfigMap = there(&namespace, "orders-weir").await?;
        let service: Service = there(&namespace, "orders").await?;
        let deployment: Deployment = there(&namespace, "orders").await?;
        for metadata in [&config_map.metadata, &service.metadata, &deployment.metadata] {
            let owners = metadata.owner_references.as_ref().context("no owner")?;
            ensure!(owners.len() == 1 && Some(&owners[0].uid) == pipeline.metadata.uid.as_ref());
        }
        let data = config_map.data.context("no data")?;
        let manifest: Manifest<StreamPipelineSpec> = serde_yaml::from_str(&data["pipeline.yaml"])?;
        // How many replicas there are is none of theirs.
        let mut spec = pipeline.spec.clone();
        spec.placement.gateway.as_mut().context("no gateway")?.replicas = 1;
        ensure!(manifest.spec == spec && manifest.metadata.uid == pipeline.metadata.uid);
        let ready = condition(&namespace, "orders", "Ready", "False", "NoReplicaReady").await?;
        ensure!(ready.message.starts_with("none of 2 replicas is ready"), "{ready:?}");
        condition(&namespace, "orders", "StreamComplete", "False", "LocalLogWithReplicas").await?;
        let status = pipelines(&namespace).get("orders").await?.status.context("no status")?;
        let url = format!("http://orders.{}.svc:7070/orders/sse", namespace.name);
        ensure!(status.endpoints.and_then(|endpoints| endpoints.sse) == Some(url));
        ensure!(status.replicas.context("no replicas")?.summary == "0/2");
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn the_pods_of_a_gateway_are_created_at_the_restricted_level() -> Result<()> {
    with_namespace("restricted", async |namespace| {
        restrict(&namespace).await?;
        let controller = Controller::start(&namespace).await?;
        create_pipeline(&namespace, "orders", gateway(2)).await?;
        let pods = namespace.api::<Pod>();
        eventually("both pods are created", LIMIT, async || {
            let found = pods.list(&ListParams::default()).await?.items.len();
            ensure!(found == 2, "{found} of 2");
            Ok(())
        })
        .await?;
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_controller_that_is_stopped_before_it_has_read_anything_ends() -> Result<()> {
    with_namespace("stop", async |namespace| Controller::start(&namespace).await?.stop().await)
        .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_deleted_pipeline_takes_everything_along() -> Result<()> {
    with_namespace("delete", async |namespace| {
        let controller = Controller::start(&namespace).await?;
        create_pipeline(&namespace, "orders", gateway(1)).await?;
        there::<Deployment>(&namespace, "orders").await?;
        pipelines(&namespace).delete("orders", &DeleteParams::background()).await?;
        gone::<Deployment>(&namespace, "orders").await?;
        gone::<Service>(&namespace, "orders").await?;
        gone::<ConfigMap>(&namespace, "orders-weir").await?;
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_changed_placement_removes_the_gateway_and_keeps_the_service() -> Result<()> {
    with_namespace("placement", async |namespace| {
        let controller = Controller::start(&namespace).await?;
        create_pipeline(&namespace, "orders", gateway(1)).await?;
        there::<Deployment>(&namespace, "orders").await?;
        let before: Service = there(&namespace, "orders").await?;
        let placement = json!({ "gateway": null, "sidecar": sidecar()["sidecar"] });
        change(&namespace, "orders", json!({ "spec": { "placement": placement } })).await?;
        gone::<Deployment>(&namespace, "orders").await?;
        let after: Service = there(&namespace, "orders").await?;
        ensure!(after.metadata.uid == before.metadata.uid, "the Service was made anew");
        let selector = after.spec.and_then(|spec| spec.selector).context("no selector")?;
        ensure!(selector.contains_key("pipeline.weir.dev/orders") && selector.len() == 2);
        condition(&namespace, "orders", "Injected", "Unknown", "NoPodSelected").await?;
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_reconcile_that_changes_nothing_writes_nothing() -> Result<()> {
    with_namespace("resync", async |namespace| {
        let controller = Controller::start(&namespace).await?;
        create_pipeline(&namespace, "orders", gateway(1)).await?;
        condition(&namespace, "orders", "Ready", "False", "NoReplicaReady").await?;
        // What the Deployment's controller tells later is something to write.
        counted(&namespace).await?;
        controller.stop().await?;
        let before = snapshot(&namespace).await?;
        let controller = Controller::start(&namespace).await?;
        eventually("the pipeline has been reconciled again", LIMIT, async || {
            ensure!(controller.reconciled()? > 0, "not yet");
            Ok(())
        })
        .await?;
        let after = snapshot(&namespace).await?;
        ensure!(after == before, "something was written: {before:?}, then {after:?}");
        controller.stop().await
    })
    .await
}

/// Waits until the gateway's pod stands in the status.
async fn counted(namespace: &Namespace) -> Result<()> {
    eventually("its pod is counted", LIMIT, async || {
        let status = pipelines(namespace).get("orders").await?.status;
        let current = status.and_then(|status| status.replicas).map(|replicas| replicas.current);
        ensure!(current == Some(1), "{current:?}");
        Ok(())
    })
    .await
}

type Snapshot = (Option<String>, Option<String>, Option<String>, (Option<i64>, Vec<String>));

async fn snapshot(namespace: &Namespace) -> Result<Snapshot> {
    let config_map = namespace.api::<ConfigMap>().get("orders-weir").await?;
    let service = namespace.api::<Service>().get("orders").await?;
    // Its status is written by the Deployment's own controller.
    let deployment = namespace.api::<Deployment>().get("orders").await?;
    let pipeline = pipelines(namespace).get("orders").await?;
    Ok((
        config_map.resource_version(),
        service.resource_version(),
        pipeline.resource_version(),
        written(&deployment.metadata),
    ))
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn what_somebody_else_changes_or_deletes_is_put_right() -> Result<()> {
    with_namespace("drift", async |namespace| {
        let controller = Controller::start(&namespace).await?;
        create_pipeline(&namespace, "orders", gateway(1)).await?;
        let before: Deployment = there(&namespace, "orders").await?;
        let deployments = namespace.api::<Deployment>();
        let patch = Patch::Merge(json!({ "spec": { "replicas": 5 } }));
        deployments.patch("orders", &PatchParams::default(), &patch).await?;
        eventually("the replicas are put right", LIMIT, async || {
            let replicas = deployments.get("orders").await?.spec.replicas;
            ensure!(replicas == Some(1), "{replicas:?}");
            Ok(())
        })
        .await?;
        namespace.api::<Service>().delete("orders", &DeleteParams::default()).await?;
        there::<Service>(&namespace, "orders").await?;
        // What replicas are to serve.
        let config_maps = namespace.api::<ConfigMap>();
        let manifests = config_maps.get("orders-weir").await?.data.context("no data")?;
        let key = manifests.keys().next().context("no manifest")?;
        let patch = Patch::Merge(json!({ "data": { key: "wrong" } }));
        config_maps.patch("orders-weir", &PatchParams::default(), &patch).await?;
        eventually("the manifest is put right", LIMIT, async || {
            let found = config_maps.get("orders-weir").await?.data.unwrap_or_default();
            ensure!(found == manifests, "{found:?}");
            Ok(())
        })
        .await?;
        ensure!(deployments.get("orders").await?.metadata.uid == before.metadata.uid);
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn what_belongs_to_a_pipeline_and_is_not_asked_for_goes_and_what_only_looks_like_it_stays()
-> Result<()> {
    with_namespace("orphans", async |namespace| {
        let controller = Controller::start(&namespace).await?;
        create_pipeline(&namespace, "orders", gateway(1)).await?;
        // Nothing is left to write then, and what turns up is removed all the same.
        counted(&namespace).await?;
        let own: ConfigMap = there(&namespace, "orders-weir").await?;
        let create = async |name: &str, change: &dyn Fn(&mut ObjectMeta)| -> Result<()> {
            let mut metadata = ObjectMeta {
                name: Some(name.to_owned()),
                labels: own.metadata.labels.clone(),
                owner_references: own.metadata.owner_references.clone(),
                ..ObjectMeta::default()
            };
            change(&mut metadata);
            let config_map = ConfigMap { metadata, ..ConfigMap::default() };
            namespace.api().create(&PostParams::default(), &config_map).await?;
            Ok(())
        };
        create("unlabelled", &|metadata| metadata.labels = None).await?;
        create("unowned", &|metadata| metadata.owner_references = None).await?;
        // The last, so that the others were seen when it is gone.
        create("orphan", &|_| {}).await?;
        gone::<ConfigMap>(&namespace, "orphan").await?;
        for name in ["unlabelled", "unowned", "orders-weir"] {
            let found = namespace.api::<ConfigMap>().get(name).await?;
            ensure!(found.metadata.deletion_timestamp.is_none(), "{name}");
        }
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn what_somebody_takes_the_owner_of_is_the_pipelines_again_and_goes_when_it_is_not_wanted()
-> Result<()> {
    with_namespace("bereft", async |namespace| {
        let controller = Controller::start(&namespace).await?;
        let pipeline = create_pipeline(&namespace, "orders", gateway(1)).await?;
        condition(&namespace, "orders", "Ready", "False", "NoReplicaReady").await?;
        let deployments = namespace.api::<Deployment>();
        let params = kube::api::PatchParams::default();
        let none = json!({ "metadata": { "ownerReferences": null } });
        let none = kube::api::Patch::Merge(none);
        deployments.patch("orders", &params, &none).await?;
        eventually("the Deployment is the pipeline's again", LIMIT, async || {
            let owners = deployments.get("orders").await?.metadata.owner_references;
            let owner = owners.iter().flatten().next().context("it is nobody's")?;
            ensure!(Some(&owner.uid) == pipeline.metadata.uid.as_ref(), "{owner:?}");
            Ok(())
        })
        .await?;
        controller.stop().await?;
        // An operator that has not seen it with its owner, and that does not want it.
        deployments.patch("orders", &params, &none).await?;
        let mut placement = sidecar();
        placement["gateway"] = Value::Null;
        change(&namespace, "orders", json!({ "spec": { "placement": placement } })).await?;
        let controller = Controller::start(&namespace).await?;
        gone::<Deployment>(&namespace, "orders").await?;
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_pipeline_that_is_made_anew_waits_for_what_its_predecessor_leaves() -> Result<()> {
    with_namespace("anew", async |namespace| {
        let controller = Controller::start(&namespace).await?;
        create_pipeline(&namespace, "orders", gateway(1)).await?;
        condition(&namespace, "orders", "Ready", "False", "NoReplicaReady").await?;
        let services = namespace.api::<Service>();
        let hold = async |finalizers: Value| {
            let patch =
                kube::api::Patch::Merge(json!({ "metadata": { "finalizers": finalizers } }));
            services.patch("orders", &kube::api::PatchParams::default(), &patch).await
        };
        hold(json!(["weir.dev/test"])).await?;
        pipelines(&namespace).delete("orders", &DeleteParams::background()).await?;
        eventually("the Service is on its way out", LIMIT, async || {
            let leaving = services.get("orders").await?.metadata.deletion_timestamp;
            ensure!(leaving.is_some(), "not yet");
            Ok(())
        })
        .await?;
        let anew = create_pipeline(&namespace, "orders", gateway(1)).await?;
        let taken = condition(&namespace, "orders", "Ready", "False", "NameTaken").await?;
        ensure!(taken.message.contains("Service orders"), "{taken:?}");
        hold(json!([])).await?;
        condition(&namespace, "orders", "Ready", "False", "NoReplicaReady").await?;
        let service: Service = there(&namespace, "orders").await?;
        let owners = service.metadata.owner_references.unwrap_or_default();
        ensure!(owners.first().map(|owner| &owner.uid) == anew.metadata.uid.as_ref(), "{owners:?}");
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn the_slos_of_a_pipeline_come_to_its_configuration_and_go() -> Result<()> {
    with_namespace("slos", async |namespace| {
        let controller = Controller::start(&namespace).await?;
        create_pipeline(&namespace, "orders", gateway(1)).await?;
        create_slo(&namespace, "speed", "orders").await?;
        create_slo(&namespace, "elsewhere", "other").await?;
        keys(&namespace, &["pipeline.yaml", "slo-speed.yaml"]).await?;
        namespace.api::<StreamSLO>().delete("speed", &DeleteParams::default()).await?;
        keys(&namespace, &["pipeline.yaml"]).await?;
        controller.stop().await
    })
    .await
}

async fn keys(namespace: &Namespace, wanted: &[&str]) -> Result<()> {
    let api = namespace.api::<ConfigMap>();
    eventually("the ConfigMap holds the manifests", LIMIT, async || {
        let data = api.get("orders-weir").await?.data.unwrap_or_default();
        ensure!(data.keys().eq(wanted), "{:?}", data.keys());
        Ok(())
    })
    .await
}
