//! Sends batches of spans as OTLP says, and tells once when nobody takes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use prost::Message as _;
use tokio::runtime::Handle;

use super::transport::{SendError, Transport};
use crate::failure::chain;

/// Sends batches of spans. A thread of its own calls it, one batch after the other.
#[derive(Debug)]
pub(super) struct Exporter {
    transport: Arc<Transport>,
    endpoint: String,
    resource: ResourceAttributesWithSchema,
    /// On which the requests run: that thread has none.
    runtime: Handle,
    is_away: AtomicBool,
}

/// Why a batch did not arrive.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    /// It was not sent, or not taken.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Part of it was not taken.
    #[error("{count} spans were refused: {said}")]
    Refused { count: i64, said: String },
    /// The operator is ending.
    #[error("the operator ended meanwhile")]
    Ended(#[from] tokio::task::JoinError),
}

impl Exporter {
    /// An exporter that sends on the runtime in which it is made.
    pub(super) fn new(transport: Transport, endpoint: String) -> Self {
        Self {
            transport: Arc::new(transport),
            endpoint,
            resource: ResourceAttributesWithSchema::default(),
            runtime: Handle::current(),
            is_away: AtomicBool::new(false),
        }
    }

    async fn send(&self, batch: Vec<SpanData>) -> Result<(), ExportError> {
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        let message = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        let transport = Arc::clone(&self.transport);
        let sending = self.runtime.spawn(async move { transport.send(message).await });
        refusal(&sending.await??).map_or(Ok(()), Err)
    }

    /// Tells of a collector that goes away, and of one that comes back; of nothing in between.
    fn note(&self, result: &Result<(), ExportError>) {
        let was_away = self.is_away.swap(result.is_err(), Ordering::AcqRel);
        let endpoint = &self.endpoint;
        match result {
            Ok(()) if was_away => tracing::info!(endpoint, "traces are delivered again"),
            Err(error) if !was_away => tracing::warn!(
                endpoint,
                error = chain(error),
                "traces are not delivered; they are dropped until the collector takes them"
            ),
            Ok(()) | Err(_) => {}
        }
    }
}

/// What a collector that took the batch says about parts that it did not take. An answer that is not
/// understood says nothing.
fn refusal(answer: &Bytes) -> Option<ExportError> {
    let response = ExportTraceServiceResponse::decode(answer.as_ref()).ok()?;
    let ExportTracePartialSuccess { rejected_spans, error_message } = response.partial_success?;
    (rejected_spans > 0)
        .then_some(ExportError::Refused { count: rejected_spans, said: error_message })
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.send(batch).await;
        // At the end that is told by whoever waits for the last spans.
        if !matches!(result, Err(ExportError::Ended(_))) {
            self.note(&result);
        }
        result.map_err(|error| OTelSdkError::InternalFailure(chain(&error)))
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_were_refused_are_no_success() {
        let answer = |rejected_spans| {
            let partial_success = ExportTracePartialSuccess {
                rejected_spans,
                error_message: "over quota".to_owned(),
            };
            let response = ExportTraceServiceResponse { partial_success: Some(partial_success) };
            Bytes::from(response.encode_to_vec())
        };
        let refused = refusal(&answer(3)).unwrap().to_string();
        assert_eq!(refused, "3 spans were refused: over quota");
        assert!(refusal(&answer(0)).is_none());
        assert!(refusal(&Bytes::new()).is_none());
        assert!(refusal(&Bytes::from_static(b"{}")).is_none());
    }
}
