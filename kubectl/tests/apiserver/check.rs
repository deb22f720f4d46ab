//! `check`, against installations that are sound and ones that are not.

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kubectl_weir::Ended;
use serde_json::{Value, json};
use weir_tests::{Namespace, definitions, eventually, with_namespace};

use crate::fixture::{LIMIT, command, condition, gateway, pipeline};

/// The findings by subject.
async fn findings(namespace: &Namespace) -> Result<(Ended, Vec<Value>)> {
    let operator = format!("--operator-namespace={}", namespace.name);
    let said = command(namespace, &["check", &operator, "--output=json"]).await?;
    let document: Value = serde_json::from_str(&said.out)?;
    ensure!(document["sound"] == (said.ended == Ended::Well), "{document}");
    Ok((said.ended, document["findings"].as_array().cloned().context("no findings")?))
}

fn about<'a>(findings: &'a [Value], subject: &str) -> Result<&'a Value> {
    let mut found = findings.iter().filter(|finding| {
        finding["subject"].as_str().is_some_and(|text| text.starts_with(subject))
    });
    found.next().with_context(|| format!("nothing about {subject}: {findings:?}"))
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn where_nothing_is_installed_but_the_definitions_that_is_said() -> Result<()> {
    with_namespace("check-empty", async |shop| {
        definitions::install(&shop.cluster).await?;
        let (ended, findings) = findings(&shop).await?;
        ensure!(ended == Ended::Unsound, "{findings:?}");
        ensure!(about(&findings, "API server")?["verdict"] == "ok", "{findings:?}");
        for name in ["streampipelines", "streamslos"] {
            let definition = about(&findings, &format!("definition {name}"))?;
            ensure!(definition["verdict"] == "ok", "{definition}");
        }
        let operator = about(&findings, "operator")?;
        ensure!(operator["verdict"] == "problem" && operator["remedy"].is_string(), "{operator}");
        ensure!(about(&findings, "your permissions")?["verdict"] == "ok", "{findings:?}");
        Ok(())
    })
    .await
}

/// What the chart installs, as far as it is looked at. There is no node, so no replica comes up.
async fn install(system: &Namespace) -> Result<()> {
    let webhook = [&format!("--webhook-config={}", system.name), "--webhook-service=weir"];
    install_with(system, &webhook).await
}

/// The same with these arguments of the operator.
async fn install_with(system: &Namespace, arguments: &[&str]) -> Result<()> {
    let arguments = [&["run", "--lease=weir-leader"], arguments].concat();
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": { "name": "weir", "labels": { "app.kubernetes.io/part-of": "weir" } },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": { "app": "weir" } },
            "template": {
                "metadata": { "labels": { "app": "weir" } },
                "spec": { "containers": [{
                    "name": "operator", "image": "r.test/operator:1",
                    "args": arguments,
                    "env": [{ "name": "WEIR_SIDECAR_IMAGE", "value": "r.test/sidecar:1" }],
                }] },
            },
        },
    }))?;
    let lease: Lease = serde_json::from_value(json!({
        "metadata": { "name": "weir-leader" },
        "spec": { "holderIdentity": "weir-1", "leaseDurationSeconds": 3600,
                  "renewTime": format!("{:.6}", Timestamp::now()) },
    }))?;
    let service: Service = serde_json::from_value(
        json!({ "metadata": { "name": "weir" }, "spec": { "ports": [{ "port": 443 }] } }),
    )?;
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": { "name": "weir-1", "labels": { "kubernetes.io/service-name": "weir" } },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": ["10.1.2.3"], "conditions": { "ready": true } }],
        "ports": [],
    }))?;
    let params = PostParams::default();
    system.api().create(&params, &deployment).await?;
    system.api().create(&params, &lease).await?;
    system.api().create(&params, &service).await?;
    system.api().create(&params, &slice).await?;
    Ok(())
}

fn configurations(namespace: &Namespace) -> Api<MutatingWebhookConfiguration> {
    Api::all(namespace.cluster.client.clone())
}

/// A webhook that nothing ever asks, because it is for a namespace that isn't there.
async fn configure(system: &Namespace) -> Result<()> {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&rcgen::KeyPair::generate()?)?.pem();
    let configuration: MutatingWebhookConfiguration = serde_json::from_value(json!({
        "metadata": { "name": system.name },
        "webhooks": [{
            "name": "injection.weir.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Ignore",
            "clientConfig": {
                "service": { "name": "weir", "namespace": system.name, "path": "/inject" },
                "caBundle": k8s_openapi::ByteString(authority.into_bytes()),
            },
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "nowhere" } },
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                        "resources": ["pods"] }],
        }],
    }))?;
    configurations(system).create(&PostParams::default(), &configuration).await?;
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn each_part_of_an_installation_is_looked_at() -> Result<()> {
    with_namespace("check", async |system| {
        definitions::install(&system.cluster).await?;
        install(&system).await?;
        let (_, before) = findings(&system).await?;
        let webhook = about(&before, "webhook of")?;
        ensure!(webhook["verdict"] == "problem", "{webhook}");
        ensure!(
            webhook["message"].as_str().is_some_and(|text| text.contains("no MutatingWebhook")),
            "{webhook}"
        );

        configure(&system).await?;
        let ill = json!({ "conditions": [condition("Ready", "False", "do this")] });
        pipeline(&system, "orders", gateway(), ill).await?;
        let after = findings(&system).await;
        configurations(&system).delete(&system.name, &DeleteParams::default()).await?;
        let (ended, after) = after?;
        ensure!(ended == Ended::Unsound, "{after:?}");
        let operator = about(&after, "operator ")?;
        ensure!(operator["message"] == "0 of 1 replicas are available", "{operator}");
        for subject in ["leader of", "webhook of"] {
            let finding = about(&after, subject)?;
            ensure!(finding["verdict"] == "ok", "{finding}");
        }
        let orders = about(&after, "pipelines ")?;
        ensure!(orders["verdict"] == "problem", "{orders}");
        ensure!(
            orders["message"].as_str().is_some_and(|text| text.contains("do this")),
            "{orders}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn an_operator_that_injects_by_policies_is_looked_at() -> Result<()> {
    with_namespace("check-policies", async |system| {
        definitions::install(&system.cluster).await?;
        let (release, gone) = (system.name.clone(), format!("{}-gone", system.name));
        let policies = format!("--injection-policies={release}");
        let watched = format!("--watch-namespace={},{gone}", system.name);
        install_with(&system, &[&policies, &watched]).await?;
        // Its own namespace is never injected, so it watches another one, too, that is not there.
        let (_, found) = findings(&system).await?;
        let policies = about(&found, "policies of")?;
        ensure!(policies["message"] == "0 are in force", "{policies}");
        ensure!(about(&found, "webhook of").is_err(), "{found:?}");
        let watched: Vec<_> = found
            .iter()
            .filter(|finding| {
                finding["subject"].as_str().is_some_and(|it| it.starts_with("namespaces of"))
            })
            .collect();
        let said = |words: &str| {
            watched.iter().any(|it| it["message"].as_str().is_some_and(|it| it.contains(words)))
        };
        ensure!(said(&format!("{gone} is watched, and is not there")), "{watched:?}");
        ensure!(said(&format!("may not read {}", system.name)), "{watched:?}");
        Ok(())
    })
    .await
}

/// The plain manifests, which are made from the chart with all that it has.
const MANIFESTS: &str = include_str!("../../../deploy/weir.yaml");

/// The rules of a role of the chart.
fn rules(kind: &str, name: &str) -> Result<Value> {
    for text in MANIFESTS.split("\n---\n") {
        let object: Value = serde_yaml::from_str(text)?;
        if object["kind"] == kind && object["metadata"]["name"] == name {
            return Ok(object["rules"].clone());
        }
    }
    anyhow::bail!("no {kind} {name}")
}

/// Grants the operator of `install` what a role of the chart does, in the namespace.
async fn grant(system: &Namespace, name: &str, rules: &Value) -> Result<()> {
    let metadata = json!({ "name": name });
    let role: Role = serde_json::from_value(json!({ "metadata": metadata, "rules": rules }))?;
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": metadata,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
        "subjects": [{ "kind": "ServiceAccount", "name": "default", "namespace": system.name }],
    }))?;
    let params = PostParams::default();
    system.api().create(&params, &role).await?;
    system.api().create(&params, &binding).await?;
    Ok(())
}

/// Waits until the permissions of the operator are judged so, and words of it are said.
async fn judged(system: &Namespace, verdict: &str, words: &str) -> Result<()> {
    eventually(&format!("{verdict}: {words}"), LIMIT, async || {
        let (_, found) = findings(system).await?;
        let is_meant = |finding: &&Value| {
            let text = |key: &str| finding[key].as_str().unwrap_or_default();
            text("subject").starts_with("permissions of")
                && text("verdict") == verdict
                && text("message").contains(words)
        };
        found.iter().find(is_meant).with_context(|| format!("{found:?}"))?;
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_right_that_is_taken_away_while_the_operator_runs_is_named() -> Result<()> {
    with_namespace("check-rights", async |system| {
        definitions::install(&system.cluster).await?;
        install_with(&system, &[&format!("--watch-namespace={}", system.name)]).await?;
        grant(&system, "reconciler", &rules("ClusterRole", "weir-system-weir")?).await?;
        grant(&system, "own", &rules("Role", "weir")?).await?;
        let own = format!("in its own namespace {}", system.name);
        judged(&system, "ok", &format!("in {} are all", system.name)).await?;
        judged(&system, "ok", &format!("{own} are all")).await?;

        let bindings: Api<RoleBinding> = system.api();
        bindings.delete("reconciler", &DeleteParams::default()).await?;
        let nothing = format!("it may do nothing of what it needs in {}", system.name);
        judged(&system, "problem", &nothing).await?;
        judged(&system, "ok", &format!("{own} are all")).await?;
        // A role that was cut, not taken away.
        let roles: Api<Role> = system.api();
        let rules = json!([{ "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"] }]);
        let cut = Patch::Merge(json!({ "rules": rules }));
        roles.patch("own", &PatchParams::default(), &cut).await?;
        let lacking = "it may not get leases.coordination.k8s.io weir-leader, nor update leases.";
        judged(&system, "problem", lacking).await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_pipeline_in_a_namespace_that_no_operator_watches_says_so() -> Result<()> {
    with_namespace("check-unwatched", async |system| {
        definitions::install(&system.cluster).await?;
        install_with(&system, &["--watch-namespace=elsewhere"]).await?;
        pipeline(&system, "orders", gateway(), json!({})).await?;
        let (_, found) = findings(&system).await?;
        let orders = about(&found, "pipelines ")?;
        let said = format!("watches the namespace {}: ", system.name);
        ensure!(orders["message"].as_str().is_some_and(|it| it.contains(&said)), "{orders}");
        ensure!(orders["remedy"].as_str().is_some_and(|it| it.contains("watchNamespaces")));
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn somebody_else_sees_what_they_may_see() -> Result<()> {
    with_namespace("check-as", async |shop| {
        pipeline(&shop, "orders", gateway(), json!({})).await?;
        let said = command(&shop, &["status", "--output=yaml"]).await?;
        let document: Value = serde_yaml::from_str(&said.out)?;
        ensure!(document["pipelines"][0]["name"] == "orders", "{}", said.out);
        let error = command(&shop, &["status", "--as=nobody"]).await.err();
        let error = format!("{error:?}");
        ensure!(error.contains("nobody") && error.contains("cannot list"), "{error}");
        let masters = ["status", "--as=nobody", "--as-group=system:masters"];
        ensure!(command(&shop, &masters).await?.out.contains("orders"));
        Ok(())
    })
    .await
}
