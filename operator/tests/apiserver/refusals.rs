//! What can't be done, and how it is said.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceSpec};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, Config, ResourceExt};
use prometheus_client::registry::Registry;
use serde_json::json;
use weir_crds::names::SIDECAR_CONTAINER;
use weir_operator::preflight;
use weir_tests::{Namespace, eventually, with_namespace};

use crate::fixture::{
    Controller, LIMIT, change, condition, context, create_pipeline, gateway, install_definitions,
    options, pipelines, there, told,
};

fn foreign_service() -> Service {
    serde_json::from_value(json!({
        "metadata": { "name": "orders" },
        "spec": { "ports": [{ "port": 80 }], "selector": { "app": "mine" } },
    }))
    .unwrap()
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_service_of_somebody_else_is_left_alone_and_the_pipeline_says_so() -> Result<()> {
    with_namespace("taken", async |namespace| {
        let services = namespace.api::<Service>();
        let before = services.create(&PostParams::default(), &foreign_service()).await?;
        let controller = Controller::start(&namespace).await?;
        create_pipeline(&namespace, "orders", gateway(1)).await?;
        let ready = condition(&namespace, "orders", "Ready", "False", "NameTaken").await?;
        ensure!(ready.message.starts_with("Service orders was not made"), "{ready:?}");
        told(&namespace, "NameTaken", "").await?;
        ensure!(services.get("orders").await?.resource_version() == before.resource_version());
        let config_map = namespace.api::<ConfigMap>().get_opt("orders-weir").await?;
        ensure!(config_map.is_none(), "half of a rejected pipeline was made");
        // The remedy helps.
        services.delete("orders", &DeleteParams::default()).await?;
        change(&namespace, "orders", json!({ "metadata": { "labels": { "again": "1" } } })).await?;
        condition(&namespace, "orders", "Ready", "False", "NoReplicaReady").await?;
        controller.stop().await
    })
    .await
}

/// Who edits by hand.
fn by(manager: &str) -> PatchParams {
    PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() }
}

/// What puts another port in the place of one.
fn moved(path: &str) -> Result<Patch<()>> {
    let other = json!([{ "op": "replace", "path": path, "value": 8080 }]);
    Ok(Patch::Json(serde_json::from_value(other)?))
}

/// Waits until the Service asks again for what it did before.
async fn put_right(services: &Api<Service>, before: Option<&ServiceSpec>) -> Result<()> {
    eventually("the Service is put right", LIMIT, async || {
        let found = services.get("orders").await?;
        ensure!(found.spec.as_ref() == before, "{found:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn what_somebody_edits_is_put_right_and_told_with_who_and_what_to_edit_instead() -> Result<()>
{
    with_namespace("edited", async |namespace| {
        let controller = Controller::start(&namespace).await?;
        create_pipeline(&namespace, "orders", gateway(1)).await?;
        condition(&namespace, "orders", "Ready", "False", "NoReplicaReady").await?;
        let deployments = namespace.api::<Deployment>();
        let edit = Patch::Merge(json!({ "spec": { "replicas": 5 } }));
        for _ in 0..2 {
            deployments.patch("orders", &by("kubectl-edit"), &edit).await?;
            eventually("the replicas are put right", LIMIT, async || {
                let replicas = deployments.get("orders").await?.spec.replicas;
                ensure!(replicas == Some(1), "{replicas:?}");
                Ok(())
            })
            .await?;
        }
        let edited = "Deployment orders: kubectl-edit changed .spec.replicas, which was put right: change \
                      spec.placement.gateway of the StreamPipeline instead";
        told(&namespace, "ChangeUndone", edited).await?;
        eventually("it is counted", LIMIT, async || {
            let contested =
                condition(&namespace, "orders", "Contested", "True", "ChangeUndone").await?;
            ensure!(contested.message.contains(" 2 times ("), "{contested:?}");
            Ok(())
        })
        .await?;
        // Of what is taken out nobody is noted.
        let services = namespace.api::<Service>();
        let before = services.get("orders").await?.spec;
        let out = Patch::Merge(json!({ "spec": { "selector": null } }));
        services.patch("orders", &by("kubectl-edit"), &out).await?;
        put_right(&services, before.as_ref()).await?;
        told(&namespace, "ChangeUndone", "Service orders: somebody changed what").await?;
        let config_maps = namespace.api::<ConfigMap>();
        there::<ConfigMap>(&namespace, "orders-weir").await?;
        config_maps.delete("orders-weir", &DeleteParams::default()).await?;
        told(&namespace, "ChangeUndone", "ConfigMap orders-weir: somebody deleted it").await?;
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn what_somebody_puts_in_the_place_of_a_port_goes_though_both_can_not_stand() -> Result<()> {
    with_namespace("port", async |namespace| {
        let controller = Controller::start(&namespace).await?;
        create_pipeline(&namespace, "orders", gateway(1)).await?;
        condition(&namespace, "orders", "Ready", "False", "NoReplicaReady").await?;
        let (services, deployments) = (namespace.api::<Service>(), namespace.api::<Deployment>());
        let before = services.get("orders").await?.spec;
        services.patch("orders", &by("kubectl-edit"), &moved("/spec/ports/0/port")?).await?;
        put_right(&services, before.as_ref()).await?;
        let template =
            || async { Ok::<_, anyhow::Error>(deployments.get("orders").await?.spec.template) };
        let before = template().await?;
        let path = "/spec/template/spec/containers/0/ports/0/containerPort";
        deployments.patch("orders", &by("kubectl-edit"), &moved(path)?).await?;
        eventually("the container's port is put right", LIMIT, async || {
            let found = template().await?;
            ensure!(found == before, "{found:?}");
            Ok(())
        })
        .await?;
        eventually("it is as if it had been applied", LIMIT, async || {
            let found =
                deployments.get("orders").await?.metadata.managed_fields.unwrap_or_default();
            let names = found.into_iter().filter_map(|entry| entry.manager);
            let own: Vec<_> = names.filter(|name| name.starts_with("weir-operator")).collect();
            ensure!(own == ["weir-operator"], "{own:?}");
            Ok(())
        })
        .await?;
        let budgets = namespace.api::<PodDisruptionBudget>();
        let budget = budgets.get("orders").await?.spec;
        let other = json!({ "spec": { "maxUnavailable": null, "minAvailable": 1 } });
        budgets.patch("orders", &by("kubectl-edit"), &Patch::Merge(other)).await?;
        let config_maps = namespace.api::<ConfigMap>();
        let frozen =
            Patch::Merge(json!({ "immutable": true, "data": { "pipeline.yaml": "wrong" } }));
        let data = config_maps.get("orders-weir").await?.data;
        config_maps.patch("orders-weir", &by("kubectl-edit"), &frozen).await?;
        eventually("the budget and the ConfigMap are put right", LIMIT, async || {
            let (budget_now, found) =
                (budgets.get("orders").await?.spec, config_maps.get("orders-weir").await?);
            ensure!(budget_now == budget, "{budget_now:?}");
            ensure!(found.data == data && found.immutable.is_none(), "{found:?}");
            Ok(())
        })
        .await?;
        told(&namespace, "ChangeUndone", "Service orders: somebody changed what").await?;
        told(&namespace, "ChangeUndone", "Deployment orders: somebody changed what").await?;
        controller.stop().await
    })
    .await
}

/// What `kubectl set env` adds to a Deployment.
fn variable() -> serde_json::Value {
    let env = json!([{ "name": "FOO", "value": "bar" }]);
    let containers = json!([{ "name": SIDECAR_CONTAINER, "env": env }]);
    json!({ "spec": { "template": { "spec": { "containers": containers } } } })
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn what_others_may_write_and_what_the_pipeline_itself_changes_is_no_contest() -> Result<()> {
    with_namespace("uncontested", async |namespace| {
        let controller = Controller::start(&namespace).await?;
        create_pipeline(&namespace, "orders", gateway(1)).await?;
        let services = namespace.api::<Service>();
        let before: Service = there(&namespace, "orders").await?;
        let mark = Patch::Merge(json!({ "metadata": { "labels": { "team": "a" } } }));
        services.patch("orders", &by("kubectl-label"), &mark).await?;
        let restart = json!({ "spec": { "template": { "metadata": {
            "annotations": { "kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z" },
        } } } });
        there::<Deployment>(&namespace, "orders").await?;
        let deployments = namespace.api::<Deployment>();
        deployments.patch("orders", &by("kubectl-rollout"), &Patch::Merge(restart)).await?;
        let added = Patch::Strategic(variable());
        deployments.patch("orders", &by("kubectl-set"), &added).await?;
        let scale = json!({ "spec": { "placement": { "gateway": { "replicas": 2 } } } });
        change(&namespace, "orders", scale).await?;
        eventually("there are two", LIMIT, async || {
            let replicas = deployments.get("orders").await?.spec.replicas;
            ensure!(replicas == Some(2), "{replicas:?}");
            Ok(())
        })
        .await?;
        condition(&namespace, "orders", "Ready", "False", "NoReplicaReady").await?;
        let pod = deployments.get("orders").await?.spec.template.spec.context("no pod")?;
        let env = pod.containers[0].env.as_deref().unwrap_or_default();
        ensure!(env.iter().any(|variable| variable.name == "FOO"), "{env:?}");
        let found = services.get("orders").await?;
        ensure!(found.labels().get("team").is_some() && found.spec == before.spec, "{found:?}");
        let status = pipelines(&namespace).get("orders").await?.status.context("no status")?;
        let contested = status.conditions.iter().find(|found| found.type_ == "Contested");
        ensure!(contested.is_none(), "{contested:?}");
        controller.stop().await
    })
    .await
}

/// A client that may do what the rules say, and nothing else.
async fn limited(namespace: &Namespace, rules: serde_json::Value) -> Result<Client> {
    let admin = &namespace.cluster.client;
    let name = format!("weir-test-{}", namespace.name);
    let role: ClusterRole =
        serde_json::from_value(json!({ "metadata": { "name": name }, "rules": rules }))?;
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name }],
    }))?;
    Api::all(admin.clone()).create(&PostParams::default(), &role).await?;
    Api::all(admin.clone()).create(&PostParams::default(), &binding).await?;
    let kubeconfig = kube::config::Kubeconfig::read_from(namespace.cluster.kubeconfig()?)?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
    config.auth_info.impersonate = Some(name);
    Ok(Client::try_from(config)?)
}

async fn forget(namespace: &Namespace) -> Result<()> {
    let name = format!("weir-test-{}", namespace.name);
    let admin = &namespace.cluster.client;
    let params = DeleteParams::default();
    Api::<ClusterRoleBinding>::all(admin.clone()).delete(&name, &params).await?;
    Api::<ClusterRole>::all(admin.clone()).delete(&name, &params).await?;
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_missing_permission_to_write_stands_in_the_status() -> Result<()> {
    with_namespace("forbidden", async |namespace| {
        let client = limited(
            &namespace,
            json!([
                { "apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"] },
                { "apiGroups": ["weir.dev"], "resources": ["streampipelines/status"], "verbs": ["patch"] },
                { "apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "patch"] },
                { "apiGroups": ["weir.dev"], "resources": ["streampipelines/finalizers"], "verbs": ["update"] },
            ]),
        )
        .await?;
        let controller = Controller::start_as(&namespace, client, options(&namespace.name)).await?;
        create_pipeline(&namespace, "orders", gateway(1)).await?;
        let ready = condition(&namespace, "orders", "Ready", "False", "Forbidden").await?;
        ensure!(ready.message.contains("cannot patch resource \"services\""), "{ready:?}");
        ensure!(ready.message.ends_with("as the chart does"), "{ready:?}");
        controller.stop().await?;
        forget(&namespace).await
    })
    .await
}

/// Everything that the controller needs, with or without what a gateway's budget takes.
fn rules(budgets: bool) -> serde_json::Value {
    let verbs = json!(["get", "list", "watch", "create", "patch", "delete"]);
    let mut groups = vec!["", "apps", "networking.k8s.io", "events.k8s.io", "weir.dev"];
    if budgets {
        groups.push("policy");
    }
    json!([
        { "apiGroups": groups, "resources": ["*"], "verbs": verbs },
        { "apiGroups": ["policy"], "resources": ["*"], "verbs": ["get", "list", "watch"] },
        { "apiGroups": ["weir.dev"], "resources": ["streampipelines/finalizers"], "verbs": ["update"] },
    ])
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_permission_that_is_taken_away_at_run_time_is_missed_by_name_and_given_back_is_used()
-> Result<()> {
    with_namespace("revoked", async |namespace| {
        let client = limited(&namespace, rules(true)).await?;
        let controller = Controller::start_as(&namespace, client, options(&namespace.name)).await?;
        create_pipeline(&namespace, "orders", gateway(1)).await?;
        condition(&namespace, "orders", "Ready", "False", "NoReplicaReady").await?;
        grant(&namespace, rules(false)).await?;
        touch(&namespace, "1").await?;
        let ready = condition(&namespace, "orders", "Ready", "False", "Forbidden").await?;
        ensure!(
            ready.message.contains("cannot patch resource \"poddisruptionbudgets\""),
            "{ready:?}"
        );
        ensure!(ready.message.ends_with("as the chart does"), "{ready:?}");
        told(&namespace, "Forbidden", "").await?;
        grant(&namespace, rules(true)).await?;
        condition(&namespace, "orders", "Ready", "False", "NoReplicaReady").await?;
        controller.stop().await?;
        forget(&namespace).await
    })
    .await
}

/// Changes what the limited client may do.
async fn grant(namespace: &Namespace, rules: serde_json::Value) -> Result<()> {
    let roles: Api<ClusterRole> = Api::all(namespace.cluster.client.clone());
    let name = format!("weir-test-{}", namespace.name);
    let patch = Patch::Merge(json!({ "rules": rules }));
    roles.patch(&name, &PatchParams::default(), &patch).await?;
    Ok(())
}

async fn touch(namespace: &Namespace, value: &str) -> Result<()> {
    change(namespace, "orders", json!({ "metadata": { "labels": { "again": value } } })).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn missing_permissions_to_read_are_one_line_before_anything_starts() -> Result<()> {
    with_namespace("preflight", async |namespace| {
        install_definitions(&namespace.cluster).await?;
        let rules = json!([
            { "apiGroups": ["weir.dev"], "resources": ["*"], "verbs": ["list"] },
            { "apiGroups": ["", "apps"], "resources": ["pods", "deployments"], "verbs": ["list"] },
        ]);
        let options = options(&namespace.name);
        let limited = limited(&namespace, rules).await?;
        let limited = context(limited, options.clone(), &mut Registry::default());
        let line = preflight::check(&limited).await.err().context("it passed")?.to_string();
        for resource in ["configmaps", "services"] {
            ensure!(line.contains(&format!("cannot list resource \"{resource}\"")), "{line}");
        }
        ensure!(!line.contains("pods") && !line.contains('\n'), "{line}");
        let admin = namespace.cluster.client.clone();
        let admin = context(admin, options, &mut Registry::default());
        preflight::check(&admin).await?;
        forget(&namespace).await
    })
    .await
}
