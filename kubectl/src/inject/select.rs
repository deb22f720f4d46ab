//! Says which pipelines select a pod, as the webhook does.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use serde_json::Value;
use weir_crds::names::label;
use weir_crds::v1alpha1::StreamPipeline;
use weir_crds::validate;
use weir_operator::injection::is_protected;

use crate::check::operator;

/// Why no pod of a namespace with these labels is injected by this operator, whatever the pod is like.
pub(super) fn off(
    namespace: &str,
    operator: Option<&Deployment>,
    labels: &BTreeMap<String, String>,
) -> Option<String> {
    let disabled = labels.get(label::INJECTION).is_some_and(|value| value == "disabled");
    if disabled {
        return Some(format!(
            "the namespace {namespace} is labelled {}=disabled",
            label::INJECTION
        ));
    }
    let operator = operator?;
    if !operator::injects(operator) {
        return Some(
            "the operator injects no pods: install the chart with webhook.enabled=true".to_owned(),
        );
    }
    operator::excluded(operator).iter().any(|excluded| excluded == namespace).then(|| {
        format!("no pod of the namespace {namespace} ever is (webhook.excludedNamespaces)")
    })
}

/// The pipelines that select the pod, or why it is left alone.
pub(super) fn selecting<'a>(
    pod: &Value,
    namespace: &str,
    pipelines: &'a [StreamPipeline],
    own: &str,
) -> Result<Vec<&'a StreamPipeline>, String> {
    if is_protected(namespace, own) {
        return Err(format!("no pod of the namespace {namespace} ever is"));
    }
    let labels = labels(pod);
    if labels.get(label::INJECTION).is_some_and(|value| value == "disabled") {
        return Err(format!("its label {} says disabled", label::INJECTION));
    }
    let selects = |pipeline: &&StreamPipeline| {
        let sidecar = pipeline.spec.placement.sidecar.as_ref();
        pipeline.metadata.namespace.as_deref() == Some(namespace)
            && pipeline.metadata.deletion_timestamp.is_none()
            && sidecar.is_some_and(|sidecar| sidecar.selector.matches(&labels))
    };
    let selecting: Vec<_> = pipelines.iter().filter(selects).collect();
    let broken = selecting.iter().find_map(|pipeline| {
        let name = pipeline.name_any();
        let violations = validate::pipeline(&name, &pipeline.spec);
        violations.first().map(|violation| format!("the pipeline {name} is not valid: {violation}"))
    });
    match (broken, selecting.is_empty()) {
        (Some(broken), _) => Err(broken),
        (None, true) => Err(format!(
            "no pipeline of the namespace {namespace} selects its labels ({})",
            shown(&labels)
        )),
        (None, false) => Ok(selecting),
    }
}

fn labels(pod: &Value) -> BTreeMap<String, String> {
    let labels = pod.pointer("/metadata/labels").and_then(Value::as_object);
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    labels.into_iter().flatten().filter_map(text).collect()
}

fn shown(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if pairs.is_empty() { "it has none".to_owned() } else { pairs.join(",") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pipelines() -> Vec<StreamPipeline> {
        let pipeline = |name: &str, placement: Value| {
            serde_json::from_value(json!({
                "apiVersion": "weir.dev/v1alpha1", "kind": "StreamPipeline",
                "metadata": { "name": name, "namespace": "shop" },
                "spec": { "placement": placement, "sources": [{ "name": "app", "http": {} }] },
            }))
            .unwrap()
        };
        let sidecar = json!({ "sidecar": { "selector": { "matchLabels": { "app": "web" } } } });
        vec![pipeline("orders", sidecar), pipeline("gate", json!({ "gateway": {} }))]
    }

    fn ask(labels: &Value, namespace: &str) -> Result<Vec<String>, String> {
        let (pod, pipelines) = (json!({ "metadata": { "labels": labels } }), pipelines());
        let selecting = selecting(&pod, namespace, &pipelines, "weir-system")?;
        Ok(selecting.iter().map(|found| found.name_any()).collect())
    }

    #[test]
    fn the_pipelines_of_the_namespace_that_select_the_labels_are_found() {
        assert_eq!(ask(&json!({ "app": "web" }), "shop").unwrap(), ["orders"]);
        let reason = ask(&json!({ "app": "web" }), "other").unwrap_err();
        assert_eq!(reason, "no pipeline of the namespace other selects its labels (app=web)");
    }

    #[test]
    fn where_injection_is_off_that_is_said() {
        let operator = |args: &[&str]| -> Deployment {
            let containers = json!([{ "name": "operator", "args": args }]);
            let template = json!({ "spec": { "containers": containers } });
            serde_json::from_value(json!({ "spec": { "selector": {}, "template": template } }))
                .unwrap()
        };
        let none = BTreeMap::new();
        let webhook = ["--webhook-config=w", "--excluded-namespace=spared"];
        let said = |namespace: &str, args: &[&str]| off(namespace, Some(&operator(args)), &none);
        assert_eq!(said("shop", &webhook), None);
        assert_eq!(said("shop", &["--injection-policies=w"]), None);
        assert!(said("spared", &webhook).unwrap().contains("excludedNamespaces"));
        assert!(said("shop", &[]).unwrap().contains("webhook.enabled"));
        let labels = BTreeMap::from([("weir.dev/injection".to_owned(), "disabled".to_owned())]);
        assert!(off("shop", None, &labels).unwrap().contains("the namespace shop is labelled"));
        assert_eq!(off("shop", None, &none), None, "nothing is known");
    }

    #[test]
    fn a_pod_that_is_left_alone_is_told_why() {
        let disabled = ask(&json!({ "app": "web", "weir.dev/injection": "disabled" }), "shop");
        assert!(disabled.unwrap_err().contains("says disabled"));
        assert!(ask(&json!({ "app": "web" }), "kube-system").unwrap_err().contains("kube-system"));
        assert!(ask(&json!({ "app": "web" }), "weir-system").is_err());
    }
}
