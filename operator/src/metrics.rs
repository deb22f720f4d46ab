//! Counts and times reconciles, and counts how watches fail.
//!
//! Each module owns the metrics that it moves, and registers them itself; this is the part that both
//! controllers have in common.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// What a reconcile is labelled with. Both values come from closed sets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    kind: &'static str,
    outcome: &'static str,
}

/// What a watch is labelled with. There are as many kinds as the operator watches.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WatchLabels {
    kind: String,
}

/// The metrics of the reconciles, and of the watches that lead to them.
#[derive(Clone)]
pub struct ReconcileMetrics {
    duration: Family<ReconcileLabels, Histogram, fn() -> Histogram>,
    watches_failed: Family<WatchLabels, Counter>,
}

impl ReconcileMetrics {
    /// Makes the metrics and registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let duration: Family<_, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(duration_histogram);
        registry.register_with_unit(
            "reconcile_duration",
            "Duration of reconciles, by the kind of the resource and the outcome",
            Unit::Seconds,
            duration.clone(),
        );
        let watches_failed = Family::default();
        registry.register(
            "watch_failures",
            "Failures of watches, by the kind of the resource; where they go on, the operator may not read it, or does \
             not reach the API server",
            Family::clone(&watches_failed),
        );
        Self { duration, watches_failed }
    }

    /// Notes one reconcile.
    pub fn observe(&self, kind: &'static str, outcome: &'static str, duration: Duration) {
        let labels = ReconcileLabels { kind, outcome };
        self.duration.get_or_create_owned(&labels).observe(duration.as_secs_f64());
    }

    /// Notes that a watch has failed.
    pub fn watch_failed(&self, kind: &str) {
        self.watches_failed.get_or_create_owned(&WatchLabels { kind: kind.to_owned() }).inc();
    }
}

/// From a no-op against a near API server to the client's longest retries.
fn duration_histogram() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn a_reconcile_is_counted_by_kind_and_outcome() {
        let mut registry = Registry::with_prefix("weir_operator");
        let metrics = ReconcileMetrics::register(&mut registry);
        metrics.observe("StreamPipeline", "ok", Duration::from_millis(7));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let line = "weir_operator_reconcile_duration_seconds_count{kind=\"StreamPipeline\",outcome=\"ok\"} 1";
        assert!(text.contains(line), "{text}");
    }
}
