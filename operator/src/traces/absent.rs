//! Stands in for the traces in a build without the feature `otel`.

use std::env::var_os;

use http::HeaderMap;
use tracing::Span;
use tracing_subscriber::{Layer, Registry};

use crate::args::LogFormat;

/// The variables that ask for traces.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Traces, of which there are none.
#[derive(Debug)]
pub enum Traces {}

/// Traces were asked for.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} asks for traces, and this build has no feature otel: unset it, or use a build that has"
)]
pub struct TracesError(&'static str);

impl Traces {
    /// Finds that none are asked for.
    ///
    /// # Errors
    ///
    /// Fails where they are.
    pub fn from_environment(_instance: Option<&str>) -> Result<Option<Self>, TracesError> {
        let is_set = |name: &&str| var_os(name).is_some_and(|value| !value.is_empty());
        ENDPOINTS.into_iter().find(is_set).map_or(Ok(None), |name| Err(TracesError(name)))
    }

    /// What takes the spans.
    #[must_use]
    pub fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        match *self {}
    }

    /// Where they go.
    #[must_use]
    pub fn endpoint(&self) -> String {
        match *self {}
    }

    /// Sends the last ones.
    pub async fn end(self) {
        match self {}
    }
}

/// Lines as they are.
pub const fn correlated<F>(lines: F, _format: LogFormat) -> F {
    lines
}

/// Leaves a span as it is.
pub const fn adopt(_span: &Span, _headers: &HeaderMap) {}
