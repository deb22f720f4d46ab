//! How a pipeline is exposed, and what the status says of it.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use weir_operator::context::Options;
use weir_operator::routes::HTTPRoute;
use weir_tests::{Namespace, eventually, with_namespace};

use crate::account;
use crate::fixture::{
    Controller, LIMIT, change, condition, create_pipeline_with, gateway, gone, install_definitions,
    options, pipelines, sidecar, there,
};

async fn sse(namespace: &Namespace) -> Result<String> {
    let status = pipelines(namespace).get("orders").await?.status.context("no status")?;
    status.endpoints.and_then(|endpoints| endpoints.sse).context("no URL")
}

async fn found_at(namespace: &Namespace, url: &str) -> Result<()> {
    eventually(&format!("the status shows {url}"), LIMIT, async || {
        let found = sse(namespace).await?;
        ensure!(found == url, "{found}");
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn an_operator_that_may_expose_nothing_rejects_what_asks_for_it() -> Result<()> {
    with_namespace("hidden", async |namespace| {
        install_definitions(&namespace.cluster).await?;
        let values = ["webhook.enabled=false", "exposure.enabled=false"].map(str::to_owned);
        let watched = std::slice::from_ref(&namespace.name);
        let client = account::of_chart(&namespace, watched, &values, &[]).await?;
        let options = Options { exposure: false, ..options(&namespace.name) };
        let controller = Controller::start_as(&namespace, client, options).await?;
        let asking = json!({ "exposure": { "networkPolicy": {} } });
        create_pipeline_with(&namespace, "orders", gateway(1), asking).await?;
        let found = condition(&namespace, "orders", "Ready", "False", "ExposureOff").await?;
        ensure!(found.message.contains("remove spec.exposure.networkPolicy, or"), "{found:?}");
        change(&namespace, "orders", json!({ "spec": { "exposure": null } })).await?;
        condition(&namespace, "orders", "Ready", "False", "NoReplicaReady").await?;
        // One that is there is changed all the same.
        let exposure = json!({ "ingress": { "host": "orders.test" }, "networkPolicy": {} });
        let delivery = json!({ "maxConnections": 7 });
        let asking = json!({ "spec": { "exposure": exposure, "delivery": delivery } });
        change(&namespace, "orders", asking).await?;
        let found = condition(&namespace, "orders", "Exposed", "False", "ExposureOff").await?;
        let fields = "remove spec.exposure.ingress and spec.exposure.networkPolicy, or";
        ensure!(found.message.contains(fields), "{found:?}");
        condition(&namespace, "orders", "UpToDate", "Unknown", "NoReplicaReady").await?;
        let told: ConfigMap = there(&namespace, "orders-weir").await?;
        let manifests = told.data.unwrap_or_default();
        ensure!(manifests["pipeline.yaml"].contains("maxConnections"), "{manifests:?}");
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn an_ingress_and_a_policy_come_are_put_right_and_go() -> Result<()> {
    with_namespace("ingress", async |namespace| {
        let controller = Controller::start(&namespace).await?;
        let exposure = json!({ "exposure": {
            "ingress": { "className": "nginx", "host": "orders.test", "tls": {} },
            "networkPolicy": { "scrapers": [{ "namespace": "monitoring" }] },
        } });
        create_pipeline_with(&namespace, "orders", gateway(1), exposure).await?;
        let pending =
            condition(&namespace, "orders", "Exposed", "Unknown", "IngressPending").await?;
        ensure!(pending.message.contains("IngressClass nginx"), "{pending:?}");
        found_at(&namespace, "https://orders.test/orders/sse").await?;
        let ingresses = namespace.api::<Ingress>();
        let taken = json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } });
        let taken = Patch::Merge(json!({ "status": taken }));
        ingresses.patch_status("orders", &PatchParams::default(), &taken).await?;
        condition(&namespace, "orders", "Exposed", "True", "IngressAdmitted").await?;
        // What somebody edits by hand is put right.
        let policies = namespace.api::<NetworkPolicy>();
        let before: NetworkPolicy = there(&namespace, "orders").await?;
        let open = Patch::Merge(json!({ "spec": { "ingress": [{}] } }));
        policies.patch("orders", &PatchParams::default(), &open).await?;
        eventually("the policy is put right", LIMIT, async || {
            ensure!(policies.get("orders").await?.spec == before.spec, "still open");
            Ok(())
        })
        .await?;
        let key = "nginx.ingress.kubernetes.io/proxy-read-timeout";
        let short = Patch::Merge(json!({ "metadata": { "annotations": { key: "5" } } }));
        ingresses.patch("orders", &PatchParams::default(), &short).await?;
        eventually("the Ingress is put right", LIMIT, async || {
            let found = ingresses.get("orders").await?.annotations().get(key).cloned();
            ensure!(found.as_deref() == Some("3600"), "{found:?}");
            Ok(())
        })
        .await?;
        change(&namespace, "orders", json!({ "spec": { "exposure": null } })).await?;
        gone::<Ingress>(&namespace, "orders").await?;
        gone::<NetworkPolicy>(&namespace, "orders").await?;
        found_at(&namespace, &format!("http://orders.{}.svc:7070/orders/sse", namespace.name))
            .await?;
        controller.stop().await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_load_balancer_is_shown_once_it_has_an_address() -> Result<()> {
    with_namespace("balancer", async |namespace| {
        let controller = Controller::start(&namespace).await?;
        let service = json!({ "type": "LoadBalancer", "annotations": { "a.test/b": "c" } });
        let exposure = json!({ "exposure": { "service": service } });
        create_pipeline_with(&namespace, "orders", sidecar(), exposure).await?;
        condition(&namespace, "orders", "Exposed", "Unknown", "LoadBalancerPending").await?;
        let address = json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.7" }] } });
        let address = Patch::Merge(json!({ "status": address }));
        let services = namespace.api::<Service>();
        services.patch_status("orders", &PatchParams::default(), &address).await?;
        condition(&namespace, "orders", "Exposed", "True", "LoadBalancerReady").await?;
        found_at(&namespace, "http://192.0.2.7:7070/orders/sse").await?;
        let inside = json!({ "spec": { "exposure": null } });
        change(&namespace, "orders", inside).await?;
        eventually("the Service is inside again", LIMIT, async || {
            let service = services.get("orders").await?;
            let kind = service.spec.as_ref().and_then(|spec| spec.type_.clone());
            ensure!(kind.as_deref() == Some("ClusterIP"), "{kind:?}");
            ensure!(!service.annotations().contains_key("a.test/b"), "{service:?}");
            Ok(())
        })
        .await?;
        controller.stop().await
    })
    .await
}

/// The least of the Gateway API's definition that its clients can't tell from the real one here.
fn definition() -> Result<CustomResourceDefinition> {
    let schema = json!({
        "type": "object",
        "properties": {
            "spec": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
            "status": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
        },
    });
    Ok(serde_json::from_value(json!({
        "metadata": {
            "name": DEFINITION,
            // Without it the API server refuses definitions of a group of Kubernetes' own.
            "annotations": { "api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api/pull/891" },
        },
        "spec": {
            "group": "gateway.networking.k8s.io",
            "names": { "kind": "HTTPRoute", "plural": "httproutes", "singular": "httproute" },
            "scope": "Namespaced",
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": schema }, "subresources": { "status": {} },
            }],
        },
    }))?)
}

const DEFINITION: &str = "httproutes.gateway.networking.k8s.io";

async fn without_routes(definitions: &Api<CustomResourceDefinition>) -> Result<()> {
    let _ = definitions.delete(DEFINITION, &DeleteParams::default()).await;
    eventually("the definition is gone", LIMIT, async || {
        ensure!(definitions.get_opt(DEFINITION).await?.is_none(), "still there");
        Ok(())
    })
    .await
}

/// What a Gateway says of the route.
fn verdict(status: &str, generation: Option<i64>) -> Value {
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": status, "reason": "Verdict", "message": "as the test says",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": generation,
        })
    };
    json!({ "status": { "parents": [{
        "parentRef": { "name": "public" },
        "controllerName": "test/controller",
        "conditions": [condition("Accepted"), condition("ResolvedRefs")],
    }] } })
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn a_route_waits_for_the_gateway_api_and_then_for_its_gateway() -> Result<()> {
    with_namespace("route", async |namespace| {
        let definitions: Api<CustomResourceDefinition> = Api::all(namespace.cluster.client.clone());
        without_routes(&definitions).await?;
        let controller = Controller::start(&namespace).await?;
        let route = json!({ "parentRefs": [{ "name": "public" }], "hostnames": ["orders.test"] });
        let exposure = json!({ "exposure": { "httpRoute": route } });
        create_pipeline_with(&namespace, "orders", gateway(1), exposure.clone()).await?;
        let missing =
            condition(&namespace, "orders", "Exposed", "False", "GatewayApiMissing").await?;
        ensure!(missing.message.contains("install the Gateway API's definitions"), "{missing:?}");
        // The rest is not held up by it.
        there::<Service>(&namespace, "orders").await?;
        let params = PatchParams::apply("weir-tests").force();
        definitions.patch(DEFINITION, &params, &Patch::Apply(&definition()?)).await?;
        let made: HTTPRoute = there(&namespace, "orders").await?;
        let timeouts = made.spec.rules[0].timeouts.as_ref().context("no timeouts")?;
        ensure!(timeouts.request.as_deref() == Some("0s"), "{timeouts:?}");
        condition(&namespace, "orders", "Exposed", "Unknown", "RoutePending").await?;
        found_at(&namespace, "https://orders.test/orders/sse").await?;
        let routes = namespace.api::<HTTPRoute>();
        // It is not watched, so what somebody changes is put right when the pipeline is looked at again.
        let elsewhere = Patch::Merge(json!({ "spec": { "hostnames": ["elsewhere.test"] } }));
        routes.patch("orders", &PatchParams::default(), &elsewhere).await?;
        let made = eventually("the route is put right", LIMIT, async || {
            let found = routes.get("orders").await?;
            ensure!(found.spec == made.spec, "{:?}", found.spec);
            Ok(found)
        })
        .await?;
        for (status, said, reason) in [
            ("True", "True", "RouteAccepted"),
            ("Unknown", "Unknown", "RoutePending"),
            ("False", "False", "RouteRefused"),
        ] {
            let verdict = Patch::Merge(verdict(status, made.metadata.generation));
            routes.patch_status("orders", &PatchParams::default(), &verdict).await?;
            crate::replicas::touch(&namespace).await?;
            condition(&namespace, "orders", "Exposed", said, reason).await?;
        }
        // One that is asked for no longer is removed.
        let without = json!({ "spec": { "exposure": null } });
        change(&namespace, "orders", without).await?;
        gone::<HTTPRoute>(&namespace, "orders").await?;
        change(&namespace, "orders", json!({ "spec": exposure })).await?;
        there::<HTTPRoute>(&namespace, "orders").await?;
        // What is removed under its feet is missing again, and holds nothing up.
        without_routes(&definitions).await?;
        condition(&namespace, "orders", "Exposed", "False", "GatewayApiMissing").await?;
        controller.stop().await
    })
    .await
}
