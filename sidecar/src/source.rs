//! Sources: where a pipeline's events come from, and how each of them fares.

pub mod generator;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use weir_slo::SourceSample;

use crate::count::Counter;

/// The state of one source, shared by whoever feeds it and whoever reports on it.
#[derive(Debug, Default)]
pub struct SourceState {
    name: String,
    accepted: Counter,
    rejected: Counter,
    /// Why the source can't deliver; empty while it can.
    fault: ArcSwapOption<String>,
}

impl SourceState {
    /// A healthy source that has delivered nothing yet.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// The source's name in its pipeline.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts events that the log has taken.
    pub fn accept(&self, events: u64) {
        self.accepted.add(events);
    }

    /// Counts a refusal.
    pub fn reject(&self) {
        self.rejected.add(1);
    }

    /// Says why the source can't deliver, or that it can.
    pub fn set_fault(&self, fault: Option<String>) {
        self.fault.store(fault.map(Arc::new));
    }

    /// What the operator is told.
    #[must_use]
    pub fn sample(&self) -> SourceSample {
        let fault = self.fault.load_full();
        SourceSample {
            name: self.name.clone(),
            healthy: fault.is_none(),
            message: fault.map(|fault| fault.as_ref().clone()),
            accepted: self.accepted.get(),
            rejected: self.rejected.get(),
        }
    }
}
