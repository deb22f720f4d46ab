//! Finds the pods in a file of manifests.

use serde::Deserialize;
use serde_json::Value;

/// What is, or makes, pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    /// Kind and name, for a person.
    pub(super) what: String,
    /// Where the pod, or its template, stands in the document (RFC 6901).
    pub(super) place: String,
    /// The namespace of the pods.
    pub(super) namespace: String,
}

/// The documents of a file; those that are empty are left out.
pub(super) fn documents(text: &str) -> Result<Vec<Value>, serde_yaml::Error> {
    let documents = serde_yaml::Deserializer::from_str(text).map(Value::deserialize);
    let documents: Result<Vec<_>, _> = documents.collect();
    Ok(documents?.into_iter().filter(|document| !document.is_null()).collect())
}

/// What is, or makes, pods in a document; a List may hold several.
pub(super) fn templates(document: &Value, namespace: &str) -> Vec<Template> {
    let mut found = Vec::new();
    collect(document, "", namespace, &mut found);
    found
}

fn collect(object: &Value, place: &str, namespace: &str, found: &mut Vec<Template>) {
    let kind = text(object, "/kind");
    if kind == "List" {
        let items = object.get("items").and_then(Value::as_array).into_iter().flatten();
        for (index, item) in items.enumerate() {
            collect(item, &format!("{place}/items/{index}"), namespace, found);
        }
        return;
    }
    let Some(inner) = pod_of(kind) else { return };
    let own = Some(text(object, "/metadata/namespace")).filter(|own| !own.is_empty());
    found.push(Template {
        what: title(object),
        place: format!("{place}{inner}"),
        namespace: own.unwrap_or(namespace).to_owned(),
    });
}

/// Where an object of a kind has its pod, or the template of its pods.
fn pod_of(kind: &str) -> Option<&'static str> {
    match kind {
        "Pod" => Some(""),
        "Deployment"
        | "StatefulSet"
        | "DaemonSet"
        | "ReplicaSet"
        | "ReplicationController"
        | "Job" => Some("/spec/template"),
        "CronJob" => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// Kind and name of an object, for a person.
pub(super) fn title(object: &Value) -> String {
    let (kind, name) = (text(object, "/kind"), text(object, "/metadata/name"));
    format!("{} {name}", if kind.is_empty() { "object" } else { kind }).trim_end().to_owned()
}

fn text<'a>(object: &'a Value, place: &str) -> &'a str {
    object.pointer(place).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
# A comment alone is no document.
---
kind: Deployment
metadata: {name: web, namespace: shop}
spec: {template: {metadata: {labels: {app: web}}}}
---
kind: List
items:
  - {kind: Service, metadata: {name: web}}
  - {kind: CronJob, metadata: {name: nightly}}
---
kind: Pod
metadata: {name: alone}
";

    #[test]
    fn every_pod_is_found_where_it_stands() {
        let documents = documents(FILE).unwrap();
        assert_eq!(documents.len(), 3);
        let found: Vec<_> =
            documents.iter().flat_map(|document| templates(document, "x")).collect();
        let found: Vec<_> = found
            .iter()
            .map(|found| (found.what.as_str(), found.place.as_str(), found.namespace.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("Deployment web", "/spec/template", "shop"),
                ("CronJob nightly", "/items/1/spec/jobTemplate/spec/template", "x"),
                ("Pod alone", "", "x"),
            ]
        );
    }

    #[test]
    fn what_is_no_yaml_is_an_error() {
        assert!(documents("a: [").is_err());
        assert!(documents("").unwrap().is_empty());
    }
}
