//! Pipelines and SLOs by the hundred, what the operator makes of them, and whether it has.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use weir_tests::Namespace;

/// What a user applies.
const KINDS: [(&str, &str); 2] =
    [("StreamPipeline", "streampipelines"), ("StreamSLO", "streamslos")];

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// How many requests this program has under way.
const AT_ONCE: usize = 16;

/// For what takes seconds on an idle machine.
const LIMIT: Duration = Duration::from_secs(300);

/// Applies `count` pipelines, each fed at this rate, and an SLO of each.
pub(crate) async fn apply(namespace: &Namespace, count: usize, rate: usize) -> Result<()> {
    let pipelines = namespace.custom("StreamPipeline", "streampipelines");
    let slos = namespace.custom("StreamSLO", "streamslos");
    let both = (0..count).flat_map(|n| {
        let name = format!("stream-{n:03}");
        let pipeline = object("StreamPipeline", &name, &json!({
            "placement": { "gateway": { "replicas": 1 } },
            "sources": [{ "name": "demo", "generator": { "rate": rate } }],
        }));
        let slo = object("StreamSLO", &name, &json!({
            "pipelineRef": { "name": name },
            "timeWindow": { "duration": "28d" },
            "objectives": [{ "name": "speed", "target": "99", "latency": { "threshold": "50ms" } }],
        }));
        [(&pipelines, pipeline), (&slos, slo)]
    });
    stream::iter(both)
        .map(async |(api, object): (&Api<DynamicObject>, Value)| {
            let name = object["metadata"]["name"].as_str().context("no name")?.to_owned();
            api.patch(&name, &PatchParams::apply("weir-bench").force(), &Patch::Apply(object))
                .await?;
            anyhow::Ok(())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1",
        "kind": kind,
        "metadata": { "name": name },
        "spec": spec,
    })
}

/// Waits until every pipeline and every SLO has a status of its newest generation. It looks seldom: to list
/// hundreds of objects costs the API server more than what is measured.
pub(crate) async fn until_reconciled(namespace: &Namespace, count: usize) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    for (kind, plural) in KINDS {
        let api = namespace.custom(kind, plural);
        loop {
            let found = api.list(&ListParams::default()).await?.items;
            let done = found.iter().filter(|object| is_reconciled(object)).count();
            if done == count {
                break;
            }
            ensure!(Instant::now() < deadline, "{done} of {count} {plural} after {LIMIT:?}");
            sleep(PAUSE).await;
        }
    }
    Ok(())
}

fn is_reconciled(object: &DynamicObject) -> bool {
    let observed = object.data.pointer("/status/observedGeneration").and_then(Value::as_i64);
    let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
    observed.is_some()
        && observed == object.metadata.generation
        && conditions.is_some_and(|conditions| conditions.iter().any(|c| c["type"] == "Ready"))
}

/// The version of every object that the operator writes, by kind and name.
pub(crate) async fn versions(namespace: &Namespace) -> Result<BTreeMap<String, String>> {
    let mut versions = BTreeMap::new();
    for (kind, plural) in KINDS {
        let found = namespace.custom(kind, plural).list(&ListParams::default()).await?.items;
        let found = found.iter().map(|o| (format!("{kind}/{}", o.name_any()), version(o)));
        versions.extend(found);
    }
    for (name, object) in children(namespace).await? {
        versions.insert(name, object["metadata"]["resourceVersion"].to_string());
    }
    Ok(versions)
}

/// The uids of all pipelines and SLOs.
pub(crate) async fn uids(namespace: &Namespace) -> Result<Vec<String>> {
    let mut uids = Vec::new();
    for (kind, plural) in KINDS {
        let found = namespace.custom(kind, plural).list(&ListParams::default()).await?.items;
        uids.extend(found.into_iter().filter_map(|object| object.metadata.uid));
    }
    Ok(uids)
}

fn version(object: &DynamicObject) -> String {
    object.resource_version().unwrap_or_default()
}

/// What the operator has made, as it stands in the API, by kind and name.
pub(crate) async fn children(namespace: &Namespace) -> Result<BTreeMap<String, Value>> {
    let mut found = of_kind::<ConfigMap>(namespace).await?;
    found.extend(of_kind::<Service>(namespace).await?);
    found.extend(of_kind::<Deployment>(namespace).await?);
    Ok(found)
}

async fn of_kind<K>(namespace: &Namespace) -> Result<BTreeMap<String, Value>>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Serialize,
{
    let made = ListParams::default().labels("app.kubernetes.io/managed-by=weir-operator");
    let found = namespace.api::<K>().list(&made).await?.items;
    let named = found.into_iter().map(|object| {
        let name = format!("{}/{}", K::kind(&()), object.name_any());
        anyhow::Ok((name, serde_json::to_value(object)?))
    });
    named.collect()
}
