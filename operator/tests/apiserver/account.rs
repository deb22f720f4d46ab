//! The account that the chart gives an operator: the roles that it renders, put into the cluster, and a client that
//! may do nothing else. So a verb that is missing in the chart fails a test.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use weir_tests::{Namespace, eventually};

use crate::chart;
use crate::fixture::LIMIT;

/// The account of an operator that is installed in `system` with these values, and watches these namespaces. What the
/// chart names in `resourceNames` is called otherwise here, as `renamed` says.
pub(crate) async fn of_chart(
    system: &Namespace,
    watched: &[String],
    values: &[String],
    renamed: &[(String, String)],
) -> Result<Client> {
    for mut object in rendered(system, watched, values).await? {
        rename(&mut object, renamed);
        apply(&system.cluster.client, object).await?;
    }
    let client = client(system).await?;
    for namespace in watched {
        may(&client, Some(namespace), "list", ("weir.dev", "streampipelines")).await?;
    }
    may(&client, Some(&system.name), "create", ("coordination.k8s.io", "leases")).await?;
    if !values.iter().any(|value| value == "webhook.enabled=false") {
        let policies = ("admissionregistration.k8s.io", "mutatingadmissionpolicies");
        may(&client, None, "list", policies).await?;
    }
    Ok(client)
}

/// The account of an operator that watches this namespace, and injects no pods.
pub(crate) async fn of_chart_in(namespace: &Namespace) -> Result<Client> {
    let values = ["webhook.enabled=false".to_owned()];
    of_chart(namespace, std::slice::from_ref(&namespace.name), &values, &[]).await
}

/// Removes what is in no namespace.
pub(crate) async fn remove(system: &Namespace) {
    let name = format!("{}-weir-injection", system.name);
    let client = || system.cluster.client.clone();
    let params = DeleteParams::background();
    let _ = Api::<ClusterRoleBinding>::all(client()).delete(&name, &params).await;
    let _ = Api::<ClusterRole>::all(client()).delete(&name, &params).await;
}

/// The roles and bindings of the chart.
async fn rendered(system: &Namespace, watched: &[String], values: &[String]) -> Result<Vec<Value>> {
    let watched = format!("watchNamespaces={{{}}}", watched.join(","));
    let mut all = vec!["rbac.aggregate=false", watched.as_str()];
    all.extend(values.iter().map(String::as_str));
    let made = chart::render(&system.cluster, &system.name, &all).await?;
    let mut objects = made.map_err(anyhow::Error::msg)?;
    objects.retain(|object| object["apiVersion"] == "rbac.authorization.k8s.io/v1");
    ensure!(!objects.is_empty(), "no roles");
    Ok(objects)
}

fn rename(object: &mut Value, renamed: &[(String, String)]) {
    let rules = object.get_mut("rules").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten() {
        let names = rule.get_mut("resourceNames").and_then(Value::as_array_mut);
        for name in names.into_iter().flatten() {
            if let Some((_, other)) = renamed.iter().find(|(found, _)| *name == **found) {
                *name = json!(other);
            }
        }
    }
}

async fn apply(client: &Client, object: Value) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(object)?;
    let kind = object.types.as_ref().context("no kind")?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(kind)?);
    let api: Api<DynamicObject> = match object.namespace() {
        Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let params = PatchParams::apply("weir-tests").force();
    api.patch(&object.name_any(), &params, &Patch::Apply(&object)).await?;
    Ok(())
}

async fn client(system: &Namespace) -> Result<Client> {
    let kubeconfig = kube::config::Kubeconfig::read_from(system.cluster.kubeconfig()?)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
    config.auth_info.impersonate = Some(format!("system:serviceaccount:{}:weir", system.name));
    Ok(Client::try_from(config)?)
}

/// Waits until the API server has heard of a permission.
async fn may(
    client: &Client,
    namespace: Option<&str>,
    verb: &str,
    (group, resource): (&str, &str),
) -> Result<()> {
    let attributes = ResourceAttributes {
        namespace: namespace.map(str::to_owned),
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(attributes),
        ..SelfSubjectAccessReviewSpec::default()
    };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    eventually(&format!("the operator may {verb} {resource}"), LIMIT, async || {
        let answer = reviews.create(&PostParams::default(), &review).await?;
        ensure!(answer.status.is_some_and(|status| status.allowed), "not yet");
        Ok(())
    })
    .await
}
