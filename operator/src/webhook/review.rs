//! Reads an AdmissionReview, and writes the answer (`admission.k8s.io/v1`).
//!
//! The pod stays JSON all the way.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use json_patch::Patch;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Why a review was not understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReviewError {
    /// It is no AdmissionReview.
    #[error("the body is no AdmissionReview")]
    Parse(#[from] serde_json::Error),
    /// It is an answer, or of a version in which there was no request.
    #[error("the AdmissionReview has no request")]
    NoRequest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    request: Option<Request>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    resource: Resource,
    #[serde(default)]
    sub_resource: String,
    #[serde(default)]
    object: Value,
}

#[derive(Default, Deserialize)]
struct Resource {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resource: String,
}

/// The API server's question.
pub(super) struct Question {
    api_version: String,
    uid: String,
    is_pod_creation: bool,
    /// The namespace of the pod.
    pub(super) namespace: String,
    /// The pod.
    pub(super) object: Value,
}

/// What is answered: the pod is allowed always.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Answer {
    /// How the pod is changed.
    pub(super) patch: Option<Patch>,
    /// What its author is told.
    pub(super) warning: Option<String>,
}

impl Question {
    /// Reads a review.
    pub(super) fn parse(body: &[u8]) -> Result<Self, ReviewError> {
        let Review { api_version, request } = serde_json::from_slice(body)?;
        let request = request.ok_or(ReviewError::NoRequest)?;
        let Request { uid, namespace, operation, resource, sub_resource, object } = request;
        let is_pod = resource.group.is_empty() && resource.resource == "pods";
        let is_pod_creation = is_pod && sub_resource.is_empty() && operation == "CREATE";
        Ok(Self { api_version, uid, is_pod_creation, namespace, object })
    }

    /// Whether a pod is about to be created.
    pub(super) const fn is_pod_creation(&self) -> bool {
        self.is_pod_creation
    }

    /// The pod's labels.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let labels = self.object.pointer("/metadata/labels").and_then(Value::as_object);
        let text =
            |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        labels.into_iter().flatten().filter_map(text).collect()
    }
}

/// The part of an AdmissionReview that answers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<[&'a str; 1]>,
}

/// The AdmissionReview that answers a question.
pub(super) fn render(question: &Question, answer: &Answer) -> Value {
    let Answer { patch, warning } = answer;
    let encode = |patch| STANDARD.encode(serde_json::to_vec(patch).unwrap_or_default());
    let response = Response {
        uid: &question.uid,
        allowed: true,
        patch_type: patch.as_ref().map(|_| "JSONPatch"),
        patch: patch.as_ref().map(encode),
        warnings: warning.as_deref().map(|warning| [warning]),
    };
    json!({
        "apiVersion": question.api_version,
        "kind": "AdmissionReview",
        "response": response,
    })
}
