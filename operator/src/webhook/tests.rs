//! Puts questions as the API server does, and reads the answers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full};
use kube::runtime::reflector;
use kube::runtime::watcher::Event;
use prometheus_client::registry::Registry;
use serde_json::json;
use tower_service::Service;
use warp::http::Request;

use super::*;
use crate::testing::sidecar_pipeline;

fn webhook(pipelines: Vec<StreamPipeline>) -> Arc<Webhook> {
    let (store, mut writer) = reflector::store();
    for pipeline in pipelines {
        writer.apply_watcher_event(&Event::Apply(pipeline));
    }
    Arc::new(Webhook {
        pipelines: vec![store],
        image: Image {
            reference: "weir-sidecar:1".to_owned(),
            pull_policy: None,
            pull_secrets: Vec::new(),
        },
        namespace: "weir-system".to_owned(),
        metrics: WebhookMetrics::register(&mut Registry::default()),
    })
}

fn review(change: impl FnOnce(&mut Value)) -> Value {
    let mut review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "question-1",
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "operation": "CREATE",
            "namespace": "shop",
            "object": {
                "metadata": { "labels": { "app": "shop" } },
                "spec": { "containers": [{ "name": "app" }] },
            },
        },
    });
    change(&mut review);
    review
}

async fn post(webhook: &Arc<Webhook>, body: &str) -> (StatusCode, String) {
    let mut service = warp::service(routes(Arc::clone(webhook)));
    let request = Request::post("/inject").header("content-length", body.len());
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
    let response = service.call(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn ask(webhook: &Arc<Webhook>, review: &Value) -> Value {
    let (status, body) = post(webhook, &review.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["response"]["uid"], "question-1");
    assert_eq!(answer["response"]["allowed"], true);
    answer["response"].clone()
}

#[tokio::test]
async fn a_selected_pod_is_answered_with_a_patch_that_applies() {
    let webhook = webhook(vec![sidecar_pipeline("orders")]);
    let review = review(|_| {});
    let response = ask(&webhook, &review).await;
    assert_eq!(response["patchType"], "JSONPatch");
    let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    let mut pod = review["request"]["object"].clone();
    json_patch::patch(&mut pod, &patch).unwrap();
    assert_eq!(pod["spec"]["initContainers"][0]["name"], "weir-sidecar");
    assert_eq!(webhook.metrics.count(Verdict::Injected), 1);
}

#[tokio::test]
async fn a_pod_that_is_not_to_be_injected_is_let_through_untouched() {
    let mut invalid = sidecar_pipeline("invalid");
    invalid.spec.delivery.max_connections = 0;
    let mut going = sidecar_pipeline("going");
    going.metadata.deletion_timestamp =
        serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    let valid = vec![sidecar_pipeline("orders")];
    let labels = |labels: Value| {
        review(move |review| review["request"]["object"]["metadata"]["labels"] = labels)
    };
    let field = |field: &'static str, value: &str| {
        let value = value.to_owned();
        review(move |review| review["request"][field] = value.into())
    };
    let cases = [
        ("invalid pipeline", vec![invalid], review(|_| {})),
        ("deleted pipeline", vec![going], review(|_| {})),
        ("other labels", valid.clone(), labels(json!({ "app": "other" }))),
        ("no labels", valid.clone(), labels(Value::Null)),
        (
            "opted out",
            valid.clone(),
            labels(json!({ "app": "shop", "weir.dev/injection": "disabled" })),
        ),
        ("other namespace", valid.clone(), field("namespace", "elsewhere")),
        ("an update", valid.clone(), field("operation", "UPDATE")),
        ("a subresource", valid.clone(), field("subResource", "ephemeralcontainers")),
    ];
    for (case, pipelines, review) in cases {
        let webhook = webhook(pipelines);
        let response = ask(&webhook, &review).await;
        assert!(response.get("patch").is_none() && response.get("warnings").is_none(), "{case}");
        assert_eq!(webhook.metrics.count(Verdict::Skipped), 1, "{case}");
    }
}

#[tokio::test]
async fn no_pod_of_a_protected_namespace_is_touched() {
    for namespace in ["kube-system", "weir-system"] {
        let mut pipeline = sidecar_pipeline("orders");
        pipeline.metadata.namespace = Some(namespace.to_owned());
        let review = review(|review| review["request"]["namespace"] = namespace.into());
        let response = ask(&webhook(vec![pipeline]), &review).await;
        assert!(response.get("patch").is_none(), "{namespace}");
    }
}

#[tokio::test]
async fn a_pod_that_cannot_be_injected_is_let_through_with_a_warning() {
    let webhook = webhook(vec![sidecar_pipeline("orders")]);
    let node = review(|review| review["request"]["object"]["spec"]["hostNetwork"] = true.into());
    let response = ask(&webhook, &node).await;
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(
        warning.starts_with(
            "weir: a pipeline selects this pod, but it is not injected, because it has hostNetwork"
        ),
        "{warning}"
    );
    let odd = review(|review| review["request"]["object"]["spec"]["containers"] = "none".into());
    let response = ask(&webhook, &odd).await;
    assert!(response["warnings"][0].as_str().unwrap().contains("/spec/containers"), "{response}");
    assert_eq!(webhook.metrics.count(Verdict::Refused), 1);
    assert_eq!(webhook.metrics.count(Verdict::Failed), 1);
}

#[tokio::test]
async fn a_second_pass_is_let_through_without_a_patch() {
    let webhook = webhook(vec![sidecar_pipeline("orders")]);
    let mut review = review(|_| {});
    let response = ask(&webhook, &review).await;
    let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    json_patch::patch(&mut review["request"]["object"], &patch).unwrap();
    let response = ask(&webhook, &review).await;
    assert!(response.get("patch").is_none(), "{response}");
    assert_eq!(webhook.metrics.count(Verdict::Complete), 1);
}

#[tokio::test]
async fn what_is_no_review_is_a_bad_request_and_is_counted() {
    let webhook = webhook(vec![]);
    for body in ["", "[]", r#"{"apiVersion":"admission.k8s.io/v1"}"#] {
        assert_eq!(post(&webhook, body).await.0, StatusCode::BAD_REQUEST, "{body}");
    }
    assert_eq!(webhook.metrics.count(Verdict::Malformed), 3);
}
