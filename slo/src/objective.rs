//! What an objective demands, apart from what the sidecar counts for it.

use thiserror::Error;

use crate::ratio::Ratio;
use crate::time::{Millis, STEP};

/// How long counts are remembered, and so the longest window of an objective: four weeks, or the
/// longest month with a day to spare.
pub const RETENTION: Millis = Millis::from_days(32);

/// How counts become a share of good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Good events of all events.
    Occurrences,
    /// Good time slices of all measured time slices. A slice is good when enough of its events are.
    Timeslices {
        /// The length of a slice: a multiple of [`STEP`].
        window: Millis,
        /// A slice with fewer events is excluded: neither good nor bad.
        min_events: u64,
        /// The share of a slice's events that must be good.
        quantile: Ratio,
    },
    /// At most `max_lost` bad events in the window: no target, no budget, no burn rate.
    Strict {
        /// Bad events that are still allowed.
        max_lost: u64,
    },
}

/// An objective, as the evaluator needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objective {
    /// Its name in the StreamSLO.
    pub name: String,
    /// The share that must be good; [`Method::Strict`] ignores it.
    pub target: Ratio,
    /// How the share is found.
    pub method: Method,
    /// The StreamSLO's rolling time window, at most [`RETENTION`].
    pub window: Millis,
    /// Below this share of measured time the verdict is unknown.
    pub min_coverage: Ratio,
}

/// Why an objective cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ObjectiveError {
    /// The time window is empty or longer than counts are remembered.
    #[error("objective {name:?}: the time window is {window}; choose one of {STEP} to {RETENTION}")]
    Window {
        /// The objective's name.
        name: String,
        /// The window asked for.
        window: Millis,
    },
    /// The slice is not a multiple of the step, or longer than the time window.
    #[error(
        "objective {name:?}: the time slice is {slice}; choose a multiple of {STEP} that is not \
         longer than the time window of {window}"
    )]
    Slice {
        /// The objective's name.
        name: String,
        /// The slice asked for.
        slice: Millis,
        /// The objective's time window.
        window: Millis,
    },
}

impl Objective {
    /// Whether the objective can be evaluated.
    ///
    /// # Errors
    /// Names the field that is out of range and what would be in range.
    pub fn check(&self) -> Result<(), ObjectiveError> {
        let (name, window) = (self.name.clone(), self.window);
        if window < STEP || window > RETENTION {
            return Err(ObjectiveError::Window { name, window });
        }
        match self.method {
            Method::Timeslices { window: slice, .. }
                if slice < STEP || slice.0 % STEP.0 != 0 || slice > window =>
            {
                Err(ObjectiveError::Slice { name, slice, window })
            }
            Method::Occurrences | Method::Timeslices { .. } | Method::Strict { .. } => Ok(()),
        }
    }
}
