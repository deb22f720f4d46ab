//! The admission webhook: answers the API server's question what is to become of a new pod.
//!
//! # Laws
//!
//! - No answer ever denies a pod. What goes wrong is a warning that the pod's author sees.
//! - An answer has no side effects: a dry run may ask as often as it likes.

mod metrics;
mod review;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use kube::ResourceExt;
use kube::runtime::reflector::Store;
use serde_json::Value;
use tokio::time::Instant;
use tracing::debug_span;
use tracing::field::Empty;
use warp::http::{HeaderMap, StatusCode};
use warp::reply::{Reply, Response};
use warp::{Filter, reply};
use weir_crds::names::label;
use weir_crds::v1alpha1::StreamPipeline;
use weir_crds::validate;

use self::metrics::Verdict;
pub use self::metrics::WebhookMetrics;
use self::review::{Answer, Question, ReviewError};
use crate::failure::chain;
use crate::injection::{Decision, inject, is_protected};
use crate::sidecar::Image;
use crate::traces::adopt;

/// The largest object that etcd takes is 1.5 MiB; an AdmissionReview holds a pod once or twice.
const LARGEST_REVIEW: u64 = 4 << 20;

/// What the webhook needs to answer.
pub struct Webhook {
    /// The pipelines of each scope that is watched.
    pub pipelines: Vec<Store<StreamPipeline>>,
    /// The data plane's image.
    pub image: Image,
    /// The operator's namespace, which is never injected.
    pub namespace: String,
    /// What is counted.
    pub metrics: WebhookMetrics,
}

/// The routes of the webhook.
#[must_use]
pub fn routes(
    webhook: Arc<Webhook>,
) -> impl Filter<Extract = (Response,), Error = warp::Rejection> + Clone {
    warp::path!("inject")
        .and(warp::post())
        .and(warp::header::headers_cloned())
        .and(warp::body::content_length_limit(LARGEST_REVIEW))
        .and(warp::body::bytes())
        .map(move |headers: HeaderMap, body: Bytes| webhook.respond(&headers, &body))
}

/// What the accept loop runs.
pub fn service(
    webhook: Arc<Webhook>,
) -> impl tower_service::Service<
    warp::http::Request<hyper::body::Incoming>,
    Response = Response,
    Error = Infallible,
    Future: Send,
> + Clone
+ Send
+ 'static {
    warp::service(routes(webhook))
}

impl Webhook {
    /// Answers a review. An API server that traces its requests sends the span that asks along.
    fn respond(&self, headers: &HeaderMap, body: &[u8]) -> Response {
        let started = Instant::now();
        let span = debug_span!("admit", otel.kind = "server", namespace = Empty, verdict = Empty);
        adopt(&span, headers);
        let _within = span.enter();
        let (verdict, response) = match Question::parse(body) {
            Ok(question) => {
                span.record("namespace", &question.namespace);
                let (verdict, answer) = self.answer(&question);
                (verdict, reply::json(&review::render(&question, &answer)).into_response())
            }
            Err(error) => (Verdict::Malformed, refuse(&error)),
        };
        span.record("verdict", verdict.as_str());
        self.metrics.observe(verdict, started.elapsed());
        response
    }

    /// What becomes of the pod in question.
    fn answer(&self, question: &Question) -> (Verdict, Answer) {
        if !question.is_pod_creation()
            || is_protected(&question.namespace, &self.namespace)
            || opted_out(&question.object)
        {
            return (Verdict::Skipped, Answer::default());
        }
        let selecting = self.selecting(question);
        if selecting.is_empty() {
            return (Verdict::Skipped, Answer::default());
        }
        let pipelines: Vec<&StreamPipeline> = selecting.iter().map(|found| &**found).collect();
        match inject(&question.object, &pipelines, &self.image) {
            Ok(Decision::Patch(patch)) => {
                (Verdict::Injected, Answer { patch: Some(patch), warning: None })
            }
            Ok(Decision::Complete) => (Verdict::Complete, Answer::default()),
            Ok(Decision::Refused { reason, note }) => {
                let answer = warn(&format!("it is not injected, because {reason}"));
                (Verdict::Refused, Answer { patch: note, ..answer })
            }
            Err(error) => {
                tracing::warn!(
                    namespace = question.namespace,
                    error = chain(&error),
                    "pod not injected"
                );
                (Verdict::Failed, warn(&format!("it is not injected: {}", chain(&error))))
            }
        }
    }

    /// The valid pipelines of the namespace that select the pod.
    fn selecting(&self, question: &Question) -> Vec<Arc<StreamPipeline>> {
        let labels = question.labels();
        let mut pipelines: Vec<_> = self.pipelines.iter().flat_map(Store::state).collect();
        pipelines.retain(|pipeline| {
            let sidecar = pipeline.spec.placement.sidecar.as_ref();
            pipeline.metadata.namespace.as_ref() == Some(&question.namespace)
                && pipeline.metadata.deletion_timestamp.is_none()
                && sidecar.is_some_and(|sidecar| sidecar.selector.matches(&labels))
                && validate::pipeline(&pipeline.name_any(), &pipeline.spec).is_empty()
        });
        pipelines
    }
}

fn opted_out(pod: &Value) -> bool {
    let label = pod.get("metadata").and_then(|metadata| metadata.get("labels"));
    let label = label.and_then(|labels| labels.get(label::INJECTION));
    label.and_then(Value::as_str) == Some("disabled")
}

fn warn(text: &str) -> Answer {
    Answer { patch: None, warning: Some(format!("weir: a pipeline selects this pod, but {text}")) }
}

/// Without a readable question there is no uid to answer to; the API server takes any error as leave to
/// go on, because the webhook's failure policy is Ignore.
fn refuse(error: &ReviewError) -> Response {
    tracing::warn!(error = chain(error), "admission review not understood");
    reply::with_status(format!("{}\n", chain(error)), StatusCode::BAD_REQUEST).into_response()
}

#[cfg(test)]
mod tests;
