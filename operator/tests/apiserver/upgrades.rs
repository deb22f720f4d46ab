//! An upgrade of the operator leaves data planes as they are until somebody asks for it.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use weir_operator::upgrade::Upgrades;
use weir_tests::{Namespace, eventually, with_namespace};

use crate::fixture::{
    Controller, LIMIT, change, condition, create_pipeline, create_pipeline_with, gateway, options,
    pipelines, there,
};
use crate::installation::{Replica, configure, free, injected_pod, with_system};
use crate::restarts::{generation, restarting};
use crate::workloads::{Node, create, manifest, pods_of, settled};

fn image(tag: u8) -> String {
    format!("registry.test/weir-sidecar:{tag}")
}

/// The operator of a release, which is told from others by its image.
async fn release(namespace: &Namespace, tag: u8) -> Result<Controller> {
    release_with(namespace, tag, Upgrades::OnRequest).await
}

async fn release_with(namespace: &Namespace, tag: u8, upgrades: Upgrades) -> Result<Controller> {
    let mut options = options(&namespace.name);
    options.sidecar_image = image(tag);
    options.upgrades = upgrades;
    let client = crate::account::of_chart_in(namespace).await?;
    Controller::start_as(namespace, client, options).await
}

/// Waits until the operator says that the pipeline is held back. Answers the command that asks for the upgrade.
async fn offered(namespace: &Namespace, tag: u8) -> Result<String> {
    let found = eventually(&format!("the upgrade to {tag} is offered"), LIMIT, async || {
        let found =
            condition(namespace, "orders", "UpToDate", "Unknown", "UpgradeAvailable").await?;
        ensure!(found.message.contains(&format!("({})", image(tag))), "{found:?}");
        Ok(found.message)
    })
    .await?;
    let (_, command) = found.split_once("asked for: kubectl ").context(found.clone())?;
    Ok(command.to_owned())
}

/// Does what the condition says.
async fn ask(namespace: &Namespace, command: &str) -> Result<()> {
    let words: Vec<&str> = command.split(' ').collect();
    namespace.kubectl.succeed(&words).await.map(drop)
}

async fn deployment(namespace: &Namespace) -> Result<Value> {
    Ok(serde_json::to_value(namespace.api::<Deployment>().get("orders").await?)?)
}

fn image_of(workload: &Value) -> &Value {
    &workload["spec"]["template"]["spec"]["containers"][0]["image"]
}

/// Waits until the gateway's pods are to have this image.
async fn has_image(namespace: &Namespace, tag: u8) -> Result<Value> {
    eventually(&format!("the gateway has the image {tag}"), LIMIT, async || {
        let found = deployment(namespace).await?;
        ensure!(*image_of(&found) == image(tag), "{}", image_of(&found));
        Ok(found)
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_gateway_stays_as_it_is_until_its_upgrade_is_asked_for() -> Result<()> {
    with_namespace("upgrade", async |namespace| {
        let controller = release(&namespace, 1).await?;
        create_pipeline(&namespace, "orders", gateway(1)).await?;
        let before = has_image(&namespace, 1).await?;
        condition(&namespace, "orders", "UpToDate", "Unknown", "NoReplicaReady").await?;
        controller.stop().await?;
        let controller = release(&namespace, 2).await?;
        let command = offered(&namespace, 2).await?;
        let kept = deployment(&namespace).await?;
        ensure!(kept["metadata"]["generation"] == before["metadata"]["generation"], "{kept}");
        ask(&namespace, &command).await?;
        has_image(&namespace, 2).await?;
        condition(&namespace, "orders", "UpToDate", "Unknown", "NoReplicaReady").await?;
        controller.stop().await?;
        // What was asked for is not asked for ever.
        let controller = release(&namespace, 3).await?;
        offered(&namespace, 3).await?;
        has_image(&namespace, 2).await?;
        controller.stop().await?;
        // Whoever installs the operator can ask for all of them.
        let controller = release_with(&namespace, 3, Upgrades::Always).await?;
        has_image(&namespace, 3).await?;
        controller.stop().await
    })
    .await
}

/// A gateway of the first release, and the operator of the second, which holds it back.
async fn held_back(namespace: &Namespace) -> Result<Controller> {
    let controller = release(namespace, 1).await?;
    create_pipeline(namespace, "orders", gateway(1)).await?;
    has_image(namespace, 1).await?;
    controller.stop().await?;
    let controller = release(namespace, 2).await?;
    offered(namespace, 2).await?;
    Ok(controller)
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn what_somebody_changes_of_a_gateway_that_is_held_back_is_put_right() -> Result<()> {
    with_namespace("held-drift", async |namespace| {
        let controller = held_back(&namespace).await?;
        let deployments = namespace.api::<Deployment>();
        let change = json!({ "spec": { "template": { "spec": {
            "containers": [{ "name": "weir-sidecar", "image": "drifted.test/sidecar:9" }],
            "terminationGracePeriodSeconds": 1,
        } } } });
        let patch = Patch::Strategic(change);
        deployments.patch("orders", &PatchParams::default(), &patch).await?;
        let found = has_image(&namespace, 1).await?;
        let grace = &found["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
        ensure!(*grace == 30, "{grace}");
        // So is what is no part of the template.
        let patch = Patch::Merge(json!({ "spec": { "replicas": 5 } }));
        deployments.patch("orders", &PatchParams::default(), &patch).await?;
        eventually("there is to be one replica", LIMIT, async || {
            let found = deployment(&namespace).await?;
            ensure!(found["spec"]["replicas"] == 1, "{}", found["spec"]["replicas"]);
            Ok(())
        })
        .await?;
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn what_somebody_writes_into_the_note_of_a_gateway_is_not_believed() -> Result<()> {
    with_namespace("forged", async |namespace| {
        let controller = release(&namespace, 1).await?;
        create_pipeline(&namespace, "orders", gateway(1)).await?;
        has_image(&namespace, 1).await?;
        condition(&namespace, "orders", "UpToDate", "Unknown", "NoReplicaReady").await?;
        let deployments = namespace.api::<Deployment>();
        let before = deployment(&namespace).await?;
        let key = "weir.dev/pod-template";
        let note = before["metadata"]["annotations"][key].as_str().context("no note")?;
        let forged = note.replace(&image(1), "forged.test/sidecar:9");
        ensure!(forged != note, "{note}");
        // First the note alone, and then with the template that it claims to have been given.
        let noted = json!({ "metadata": { "annotations": { key: forged } } });
        let mut both = noted.clone();
        both["spec"] = json!({ "template": { "spec": {
            "containers": [{ "name": "weir-sidecar", "image": "forged.test/sidecar:9" }],
        } } });
        for change in [noted, both] {
            let patch = Patch::Strategic(change);
            deployments.patch("orders", &PatchParams::default(), &patch).await?;
            eventually("note and template are put right", LIMIT, async || {
                let found = deployment(&namespace).await?;
                ensure!(*image_of(&found) == image(1), "{}", image_of(&found));
                let noted = &found["metadata"]["annotations"][key];
                ensure!(*noted == *note, "{noted}");
                Ok(())
            })
            .await?;
        }
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_change_of_the_spec_takes_the_release_along_where_it_makes_new_pods() -> Result<()> {
    with_namespace("along", async |namespace| {
        let controller = held_back(&namespace).await?;
        let generation = deployment(&namespace).await?["metadata"]["generation"].clone();
        // A new configuration reaches the pods that there are.
        let delivery = json!({ "spec": { "delivery": { "maxConnections": 7 } } });
        change(&namespace, "orders", delivery).await?;
        eventually("the pods are given the configuration", LIMIT, async || {
            let found: ConfigMap = there(&namespace, "orders-weir").await?;
            let manifests = serde_json::to_string(&found.data)?;
            ensure!(manifests.contains("maxConnections: 7"), "{manifests}");
            Ok(())
        })
        .await?;
        offered(&namespace, 2).await?;
        let kept = deployment(&namespace).await?;
        ensure!(*image_of(&kept) == image(1) && kept["metadata"]["generation"] == generation);
        // And what is a matter of pods makes new ones.
        let pod = json!({ "spec": { "placement": { "gateway": { "pod": {
            "nodeSelector": { "disk": "fast" },
        } } } } });
        change(&namespace, "orders", pod).await?;
        let found = has_image(&namespace, 2).await?;
        let selector = &found["spec"]["template"]["spec"]["nodeSelector"];
        ensure!(selector["disk"] == "fast", "{selector}");
        condition(&namespace, "orders", "UpToDate", "Unknown", "NoReplicaReady").await?;
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_gateway_with_volumes_stays_as_it_is_too() -> Result<()> {
    with_namespace("upgrade-set", async |namespace| {
        let controller = release(&namespace, 1).await?;
        let placement = json!({ "gateway": { "volume": {} } });
        let log = json!({ "log": {
            "storage": { "disk": { "size": "16Mi" } }, "retention": { "maxBytes": "8Mi" },
        } });
        create_pipeline_with(&namespace, "orders", placement, log).await?;
        let before: StatefulSet = there(&namespace, "orders").await?;
        controller.stop().await?;
        let controller = release(&namespace, 2).await?;
        let command = offered(&namespace, 2).await?;
        let kept: StatefulSet = there(&namespace, "orders").await?;
        ensure!(kept.metadata.generation == before.metadata.generation, "{kept:?}");
        ask(&namespace, &command).await?;
        eventually("the StatefulSet has the image", LIMIT, async || {
            let found = there::<StatefulSet>(&namespace, "orders").await?;
            let found = serde_json::to_value(found)?;
            ensure!(*image_of(&found) == image(2), "{}", image_of(&found));
            Ok(())
        })
        .await?;
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn injected_pods_stay_as_they_are_until_their_upgrade_is_asked_for() -> Result<()> {
    with_system("upgrade-pods", async |watched, system| {
        let _node = Node::start(&watched);
        let webhook = free().await?;
        configure(&watched, &system, webhook.port()).await?;
        let replica = Replica::start_with_image(&watched, &system, webhook, &image(1)).await?;
        replica.ready().await?;
        create_pipeline(&watched, "orders", restarting()).await?;
        // A workload whose pods had slipped through would be restarted for that, and then not again so soon.
        injected_pod(&watched).await?;
        let all = ListParams::default();
        watched
            .api::<Pod>()
            .delete_collection(&DeleteParams::default().grace_period(0), &all)
            .await?;
        create(&watched, manifest("Deployment", "web", "10m")).await?;
        condition(&watched, "orders", "Injected", "True", "AllInjected").await?;
        settled(&watched, "Deployment", "web").await?;
        sidecars_are(&watched, 1).await?;
        let before = generation(&watched, "Deployment", "web").await?;
        replica.stop().await?;
        let replica = Replica::start_with_image(&watched, &system, webhook, &image(2)).await?;
        replica.ready().await?;
        let found = condition(&watched, "orders", "Injected", "True", "SidecarsOutdated").await?;
        let (_, command) = found.message.split_once("asked to: kubectl ").context("no command")?;
        let kept = generation(&watched, "Deployment", "web").await?;
        ensure!(kept == before, "{before:?} became {kept:?}");
        ask(&watched, command).await?;
        condition(&watched, "orders", "Injected", "True", "AllInjected").await?;
        sidecars_are(&watched, 2).await?;
        let status = pipelines(&watched).get("orders").await?.status.context("no status")?;
        let outdated = status.injection.context("no injection")?.outdated;
        ensure!(outdated == 0, "{outdated}");
        replica.stop().await
    })
    .await
}

/// Waits until every pod of the application carries the sidecar of this image.
async fn sidecars_are(namespace: &Namespace, tag: u8) -> Result<()> {
    eventually(&format!("the pods carry the sidecar {tag}"), LIMIT, async || {
        for pod in pods_of(namespace, "web").await? {
            let pod = serde_json::to_value(&pod)?;
            let found = &pod["spec"]["initContainers"][0]["image"];
            ensure!(*found == image(tag), "{found}");
        }
        Ok(())
    })
    .await
}
