//! What becomes of spans, seen where they leave.

#![cfg(feature = "otel")]

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use opentelemetry::trace::{SpanId, TraceId, TracerProvider as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use parking_lot::Mutex;
use tracing::{Subscriber, debug, debug_span, info, info_span};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt as _;

use super::adopt;
use super::selection::selection;
use crate::controller::Phase;

/// Keeps what leaves.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().extend(batch);
        Ok(())
    }
}

impl Kept {
    fn subscriber(&self) -> impl Subscriber + Send + Sync + 'static {
        let provider = SdkTracerProvider::builder().with_simple_exporter(self.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing_subscriber::registry().with(layer.with_filter(selection()))
    }

    fn named(&self, name: &str) -> SpanData {
        let kept = self.0.lock();
        kept.iter().find(|span| span.name == name).cloned().unwrap()
    }

    fn names(&self) -> Vec<String> {
        self.0.lock().iter().map(|span| span.name.clone().into_owned()).collect()
    }
}

/// A request of the API server's client.
fn request() {
    debug_span!(target: "kube_client::client::builder", "HTTP", otel.name = "list").in_scope(|| {});
}

#[test]
fn a_reconcile_is_a_trace_of_its_own_in_a_task_and_its_requests_are_within() {
    let kept = Kept::default();
    tracing::subscriber::with_default(kept.subscriber(), || {
        let _task = info_span!("task", task = "pipelines").entered();
        request();
        let _foreign =
            info_span!(target: "kube_runtime::controller", "reconciling object").entered();
        let _reconcile = info_span!("reconcile").entered();
        let _observe = Phase::Observe.span().entered();
        request();
    });
    assert_eq!(kept.names(), ["list", "observe", "reconcile"]);
    let (reconcile, observe, list) =
        (kept.named("reconcile"), kept.named("observe"), kept.named("list"));
    assert_eq!(reconcile.parent_span_id, SpanId::INVALID);
    assert_eq!(observe.parent_span_id, reconcile.span_context.span_id());
    assert_eq!(list.parent_span_id, observe.span_context.span_id());
    assert_eq!(list.span_context.trace_id(), reconcile.span_context.trace_id());
}

#[test]
fn what_is_logged_in_a_span_goes_along_but_for_details() {
    let kept = Kept::default();
    tracing::subscriber::with_default(kept.subscriber(), || {
        let _reconcile = info_span!("reconcile").entered();
        info!("worth reading");
        debug!("a detail");
        info!(target: "hyper", "of somebody else");
    });
    let events: Vec<_> =
        kept.named("reconcile").events.iter().map(|event| event.name.clone()).collect();
    assert_eq!(events, ["worth reading"]);
}

#[test]
fn a_span_has_the_parent_that_a_request_names() {
    let kept = Kept::default();
    let mut headers = HeaderMap::new();
    let admit = |headers: &HeaderMap| {
        let span = debug_span!("admit");
        adopt(&span, headers);
        span.in_scope(|| {});
    };
    tracing::subscriber::with_default(kept.subscriber(), || {
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        headers.insert("traceparent", traceparent.parse().unwrap());
        admit(&headers);
        headers.insert("traceparent", "nonsense".parse().unwrap());
        admit(&headers);
        headers.insert("traceparent", traceparent.replace("-01", "-00").parse().unwrap());
        admit(&headers);
    });
    let spans = kept.0.lock();
    let [first, second] = &spans[..] else { panic!("{spans:?}") };
    let trace = TraceId::from_hex("0af7651916cd43dd8448eb211c80319c").unwrap();
    assert_eq!(first.span_context.trace_id(), trace);
    assert_eq!(first.parent_span_id, SpanId::from_hex("b7ad6b7169203331").unwrap());
    assert_eq!(second.parent_span_id, SpanId::INVALID);
}

#[tokio::test]
async fn a_phase_that_fails_is_marked() {
    let kept = Kept::default();
    let guard = tracing::subscriber::set_default(kept.subscriber());
    let failed: Result<(), Bytes> = Phase::Apply.run(async { Err(Bytes::new()) }).await;
    assert!(failed.is_err());
    Phase::Report.run(async { Ok::<_, Bytes>(()) }).await.unwrap();
    drop(guard);
    let status = |name| format!("{:?}", kept.named(name).status);
    assert!(status("apply").starts_with("Error"), "{}", status("apply"));
    assert_eq!(status("report"), "Unset");
}
