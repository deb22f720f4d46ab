//! Counts and times the webhook's answers.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// What became of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It got the sidecar, or what was missing of it.
    Injected,
    /// It had everything.
    Complete,
    /// No pipeline selects it, or it is not to be injected.
    Skipped,
    /// A pipeline selects it, but it can't be injected.
    Refused,
    /// The patch could not be made.
    Failed,
    /// The question was not understood.
    Malformed,
}

impl Verdict {
    /// The value of the metrics' label.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Complete => "complete",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Malformed => "malformed",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// The metrics of the webhook.
#[derive(Debug, Clone)]
pub struct WebhookMetrics {
    injections: Family<ResultLabel, Counter>,
    duration: Histogram,
}

impl WebhookMetrics {
    /// Makes the metrics and registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let injections = Family::<ResultLabel, Counter>::default();
        registry.register("injections", "Pods that were looked at, by result", injections.clone());
        let duration = Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5]);
        registry.register_with_unit(
            "webhook_duration",
            "Time that the answer to an admission review took",
            Unit::Seconds,
            duration.clone(),
        );
        Self { injections, duration }
    }

    pub(super) fn observe(&self, verdict: Verdict, duration: Duration) {
        self.injections.get_or_create_owned(&ResultLabel { result: verdict.as_str() }).inc();
        self.duration.observe(duration.as_secs_f64());
    }

    #[cfg(test)]
    pub(super) fn count(&self, verdict: Verdict) -> u64 {
        self.injections.get_or_create_owned(&ResultLabel { result: verdict.as_str() }).get()
    }
}
