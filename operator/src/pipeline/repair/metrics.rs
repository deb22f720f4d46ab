//! Counts the restarts of workloads.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::pipeline::observe::WorkloadKind;

/// What became of a workload that was to be restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It was.
    Restarted,
    /// A trial showed that its new pods would not do.
    TrialFailed,
    /// The API server did not take the change.
    Failed,
}

impl Ending {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Restarted => "restarted",
            Self::TrialFailed => "trial_failed",
            Self::Failed => "failed",
        }
    }
}

/// Both values come from closed sets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RestartLabels {
    kind: &'static str,
    result: &'static str,
}

/// The metrics of the restarts.
#[derive(Debug, Clone)]
pub(in crate::pipeline) struct RestartMetrics {
    restarts: Family<RestartLabels, Counter>,
}

impl RestartMetrics {
    /// Makes the metrics and registers them.
    pub(in crate::pipeline) fn register(registry: &mut Registry) -> Self {
        let restarts = Family::default();
        registry.register(
            "restarts",
            "Workloads that were to be restarted for their sidecars, by kind and result",
            Family::clone(&restarts),
        );
        Self { restarts }
    }

    pub(super) fn count(&self, kind: WorkloadKind, ending: Ending) {
        let labels = RestartLabels { kind: kind.as_str(), result: ending.as_str() };
        self.restarts.get_or_create_owned(&labels).inc();
    }
}
