//! Counts how sampling ends.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Answer;

/// How a sampling ended: `ok` or a category of [`super::SampleError`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// The metrics of the sampling.
#[derive(Debug, Clone)]
pub(super) struct SampleMetrics {
    samples: Family<ResultLabel, Counter>,
}

impl SampleMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let samples = Family::default();
        registry.register(
            "samples",
            "Answers of sidecars that were asked for their samples, by result",
            Family::clone(&samples),
        );
        Self { samples }
    }

    pub(super) fn observe(&self, answer: &Answer) {
        let result = match answer {
            Ok(_) => "ok",
            Err(error) => error.category(),
        };
        self.samples.get_or_create_owned(&ResultLabel { result }).inc();
    }
}
