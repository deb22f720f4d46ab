//! The phases of a reconcile, each with a span of its own: what took the time, and what failed.

use tracing::field::Empty;
use tracing::{Instrument, Span, debug_span};

/// A phase of a reconcile that reads or writes; what is pure takes no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reads what concerns the object.
    Observe,
    /// Asks the replicas for their samples.
    Sample,
    /// Writes the objects that it asks for.
    Apply,
    /// Restarts what lacks something.
    Repair,
    /// Says on it how far that got.
    Report,
}

impl Phase {
    /// The phase's span. It is seen where what is logged includes `debug`, and in traces.
    #[must_use]
    pub fn span(self) -> Span {
        match self {
            Self::Observe => debug_span!("observe", otel.status_code = Empty),
            Self::Sample => debug_span!("sample"),
            Self::Apply => debug_span!("apply", otel.status_code = Empty),
            Self::Repair => debug_span!("repair"),
            Self::Report => debug_span!("report", otel.status_code = Empty),
        }
    }

    /// Runs it in its span, which is marked where it fails.
    ///
    /// # Errors
    ///
    /// Those of `work`.
    pub async fn run<T, E>(self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let span = self.span();
        let result = work.instrument(span.clone()).await;
        if result.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        result
    }
}
