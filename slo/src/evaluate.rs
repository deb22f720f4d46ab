//! Evaluates one objective over the counters of every instance that serves it.

use thiserror::Error;

use crate::evaluation::{BurnRate, Evaluation, Unknown, Verdict};
use crate::objective::{Objective, ObjectiveError};
use crate::ratio::Ratio;
use crate::samples::{ObjectiveSample, Samples};
use crate::time::{Millis, Timestamp};

/// Why a sample was not, or not wholly, counted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IngestError {
    /// The instance counts something else: it has not taken up the objective's newest thresholds.
    #[error("instance {instance} counts {found}, not {expected}; it runs another configuration")]
    Fingerprint {
        /// The instance's id.
        instance: String,
        /// The fingerprint of its counter.
        found: String,
        /// The fingerprint that the evaluator counts.
        expected: String,
    },
    /// Snapshots from the future: they were left out, the others were counted.
    #[error("instance {instance}'s clock is {by} ahead; synchronise the clocks of both nodes")]
    ClockAhead {
        /// The instance's id.
        instance: String,
        /// How far its newest snapshot lies in the future.
        by: Millis,
    },
}

/// Evaluates one objective.
#[derive(Clone, Debug)]
pub struct Evaluator {
    objective: Objective,
}

impl Evaluator {
    /// An evaluator that has seen nothing yet and is asked about every `interval`. It counts the
    /// first fingerprint that it meets.
    ///
    /// # Errors
    /// The objective cannot be evaluated; see [`Objective::check`].
    pub fn new(objective: Objective, interval: Millis) -> Result<Self, ObjectiveError> {
        let _ = interval;
        objective.check()?;
        Ok(Self { objective })
    }

    /// Counts one instance's sample, taken out of the document `from`, at the instant `now` of the
    /// evaluator's clock. A sample may be repeated or overlap earlier ones.
    ///
    /// # Errors
    /// Says what was left out, and why; the evaluator stays usable.
    pub fn ingest(
        &mut self,
        from: &Samples,
        sample: &ObjectiveSample,
        now: Timestamp,
    ) -> Result<(), IngestError> {
        let _ = (from, sample, now);
        Ok(())
    }

    /// What can be said about the objective at `now`.
    #[must_use]
    pub fn evaluate(&mut self, now: Timestamp) -> Evaluation {
        let _ = now;
        Evaluation {
            name: self.objective.name.clone(),
            verdict: Verdict::Unknown(Unknown::NoData),
            sli: None,
            good: 0,
            total: 0,
            excluded: 0,
            coverage: Ratio::ZERO,
            budget: None,
            burn_rates: Vec::new(),
        }
    }

    /// The burn rate over any window at `now`, for alerts; nothing where none is defined.
    #[must_use]
    pub fn burn_rate(&self, window: Millis, now: Timestamp) -> Option<BurnRate> {
        let _ = (window, now);
        None
    }

    /// The newest snapshot counted of an instance: what to ask it for as `since`.
    #[must_use]
    pub fn seen_until(&self, instance: &str) -> Option<Timestamp> {
        let _ = instance;
        None
    }
}
