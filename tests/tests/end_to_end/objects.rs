//! Reads what stands on a resource, and waits for it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use weir_tests::{Kubectl, Namespace, eventually};

/// An image is on the node already, so that a pod takes seconds; this is for a machine that is busy.
pub(crate) const UP: Duration = Duration::from_secs(60);

/// The labels of a namespace that admits nothing but restricted pods (Pod Security Standards).
pub(crate) const RESTRICTED: (&str, &str) = ("pod-security.kubernetes.io/enforce", "restricted");

/// Makes a namespace admit nothing but restricted pods.
pub(crate) async fn restrict(namespace: &Namespace) -> Result<()> {
    let (key, value) = RESTRICTED;
    let label = format!("{key}={value}");
    namespace.kubectl.succeed(&["label", "namespace", &namespace.name, &label]).await.map(drop)
}

/// Applies a manifest of `tests/fixtures/end_to_end`.
pub(crate) async fn apply(kubectl: &Kubectl, manifest: &str) -> Result<()> {
    kubectl.apply(manifest, &[]).await?.into_success(&["apply"]).map(drop)
}

/// A condition as a reader sees it: its status, reason and message.
pub(crate) fn condition(object: &Value, kind: &str) -> Option<(String, String, String)> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == kind)?;
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    (found["observedGeneration"] == object["metadata"]["generation"])
        .then(|| (text("status"), text("reason"), text("message")))
}

/// Waits until a condition has this status and reason at the object's own generation, and returns its
/// message.
pub(crate) async fn await_condition(
    kubectl: &Kubectl,
    (kind, name): (&str, &str),
    wanted: (&str, &str, &str),
    limit: Duration,
) -> Result<String> {
    let (condition_type, status, reason) = wanted;
    let what = format!("{kind} {name} has {condition_type}={status} because of {reason}");
    eventually(&what, limit, async || {
        let object = kubectl.get(kind, name).await?;
        let found = condition(&object, condition_type)
            .with_context(|| format!("no such condition yet: {}", object["status"]))?;
        ensure!((found.0.as_str(), found.1.as_str()) == (status, reason), "{found:?}");
        Ok(found.2)
    })
    .await
}

/// The good and all events of an objective, as they stand on a StreamSLO.
pub(crate) fn counts(slo: &Value, objective: &str) -> Option<(u64, u64)> {
    let objectives = slo.pointer("/status/objectives")?.as_array()?;
    let found = objectives.iter().find(|found| found["name"] == objective)?;
    Some((found["good"].as_u64()?, found["total"].as_u64()?))
}

/// The text at a place in an object.
pub(crate) fn text<'a>(object: &'a Value, place: &str) -> Result<&'a str> {
    object.pointer(place).and_then(Value::as_str).with_context(|| format!("no {place} in {object}"))
}

/// Waits until so many pods with a label are ready, and returns them by their names.
pub(crate) async fn ready_pods(kubectl: &Kubectl, label: &str, count: usize) -> Result<Vec<Value>> {
    eventually(&format!("{count} pods {label} are ready"), UP, async || {
        let selector = format!("--selector={label}");
        let text = kubectl.succeed(&["get", "pods", &selector, "--output=json"]).await?;
        let list: Value = serde_json::from_str(&text)?;
        let mut pods = list["items"].as_array().cloned().unwrap_or_default();
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        ensure!(pods.len() == count && ready == count, "{ready} of {}", pods.len());
        pods.sort_by_key(|pod| pod["metadata"]["name"].to_string());
        Ok(pods)
    })
    .await
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    conditions.is_some_and(|conditions| conditions.iter().any(ready))
}

/// Prints what a user sees, under the command that shows it.
pub(crate) async fn show(kubectl: &Kubectl, arguments: &[&str]) -> Result<String> {
    let shown = kubectl.succeed(arguments).await?;
    println!("$ kubectl {}\n{shown}", arguments.join(" "));
    Ok(shown)
}
