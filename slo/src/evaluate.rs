//! Evaluates one objective over the counters of every instance that serves it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::counts::Counts;
use crate::evaluation::{BURN_WINDOWS, BurnRate, Evaluation};
use crate::figures::{Rate, Sli};
use crate::objective::{Method, Objective, ObjectiveError};
use crate::ratio::Ratio;
use crate::samples::{ObjectiveSample, Samples, Snapshot};
use crate::series::{Series, SeriesState, WindowCounts};
use crate::slices::{SliceRule, Slicer, SlicerState};
use crate::time::{Millis, Timestamp};
use crate::verdict;

/// Intervals after which a sample that has not come is no longer waited for: the one in which it
/// was due, and one that failed.
const GRACE_INTERVALS: u64 = 2;

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

/// Why an evaluator cannot go on from what was saved.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// The objective itself cannot be evaluated.
    #[error(transparent)]
    Objective(#[from] ObjectiveError),
    /// The saved counts were cut or judged in another way: time slices of another length or
    /// quantile, or events where slices are wanted. Begin with a new evaluator.
    #[error("objective {name:?} was counted by another method; its counts begin anew")]
    Method {
        /// The objective's name.
        name: String,
    },
}

/// Evaluates one objective. Everything it knows can be saved and restored.
#[derive(Clone, Debug)]
pub struct Evaluator {
    objective: Objective,
    grace: Millis,
    fingerprint: Option<String>,
    counted: Counted,
}

/// What the objective's share is a share of.
#[derive(Clone, Debug)]
enum Counted {
    Events(Series),
    Slices(Slicer),
}

/// Everything an [`Evaluator`] knows, apart from the objective: to be persisted as one value.
/// Serialises as columns of numbers, about 30 KB of JSON once a month has passed, which compresses
/// well. Fields that a version does not know are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    counted: CountedState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum CountedState {
    Events(SeriesState),
    Slices(Box<SlicerState>),
}

impl Evaluator {
    /// An evaluator that has seen nothing yet and is asked about every `interval`. It counts the
    /// first fingerprint that it meets, unless told which with [`Self::counting`].
    ///
    /// # Errors
    /// The objective cannot be evaluated; see [`Objective::check`].
    pub fn new(objective: Objective, interval: Millis) -> Result<Self, ObjectiveError> {
        objective.check()?;
        let grace = interval.saturating_mul(GRACE_INTERVALS);
        let counted = Counted::by(&objective.method, grace);
        Ok(Self { objective, grace, fingerprint: None, counted })
    }

    /// Goes on from a saved state. Another target, window or coverage than before applies to the
    /// counts that there are, because counts do not depend on them.
    ///
    /// # Errors
    /// The objective cannot be evaluated, or its method counts something else than was saved.
    pub fn restore(
        objective: Objective,
        interval: Millis,
        state: State,
    ) -> Result<Self, RestoreError> {
        let Self { objective, grace, fingerprint: _, counted } = Self::new(objective, interval)?;
        let State { fingerprint, counted: saved } = state;
        match counted.restored(saved) {
            Some(counted) => Ok(Self { objective, grace, fingerprint, counted }),
            None => Err(RestoreError::Method { name: objective.name }),
        }
    }

    /// The same evaluator, counting `fingerprint` only.
    #[must_use]
    pub fn counting(mut self, fingerprint: impl Into<String>) -> Self {
        self.fingerprint = Some(fingerprint.into());
        self
    }

    /// What is counted: a saved state of another fingerprint than wanted is not to be gone on from.
    #[must_use]
    pub fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }

    /// The objective evaluated.
    #[must_use]
    pub const fn objective(&self) -> &Objective {
        &self.objective
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
        let instance = &from.instance;
        let expected = self.fingerprint.get_or_insert_with(|| sample.fingerprint.clone());
        if *expected != sample.fingerprint {
            return Err(IngestError::Fingerprint {
                instance: instance.id.clone(),
                found: sample.fingerprint.clone(),
                expected: expected.clone(),
            });
        }
        let started_at = sample.started_at.unwrap_or(instance.started_at);
        let mut snapshots = sample.recent.clone();
        snapshots.push(Snapshot { at: from.now, counts: sample.current });
        let taken = match &mut self.counted {
            Counted::Events(series) => series.ingest(&instance.id, started_at, &snapshots, now),
            Counted::Slices(slicer) => slicer.ingest(&instance.id, started_at, &snapshots, now),
        };
        taken.map_err(|by| IngestError::ClockAhead { instance: instance.id.clone(), by })
    }

    /// What can be said about the objective at `now`.
    #[must_use]
    pub fn evaluate(&self, now: Timestamp) -> Evaluation {
        let counted = self.window(self.objective.window, now);
        let WindowCounts { counts, excluded, measured } = counted;
        Evaluation {
            name: self.objective.name.clone(),
            verdict: verdict::verdict(&self.objective, &counted),
            sli: Sli::new(counts.good, counts.total),
            good: counts.good,
            total: counts.total,
            excluded,
            coverage: Ratio::of(measured.0, self.objective.window.0),
            budget: verdict::budget(&self.objective, &counted),
            burn_rates: self.burn_rates(now),
        }
    }

    fn burn_rates(&self, now: Timestamp) -> Vec<BurnRate> {
        BURN_WINDOWS
            .into_iter()
            .filter(|window| *window < self.objective.window)
            .filter_map(|window| self.burn_rate(window, now))
            .collect()
    }

    /// The burn rate over any window at `now`, for alerts. Nothing for strict objectives, a target
    /// of 100 %, and a window in which nothing was counted.
    #[must_use]
    pub fn burn_rate(&self, window: Millis, now: Timestamp) -> Option<BurnRate> {
        match self.objective.method {
            Method::Strict { .. } => None,
            Method::Occurrences | Method::Timeslices { .. } => {
                let counts = self.lookback(window, now)?;
                let (bad, total) = (counts.bad(), counts.total);
                let rate = Rate::new(bad, total, self.objective.target)?;
                Some(BurnRate { window, rate, bad, total })
            }
        }
    }

    /// What alerts look at over any window at `now`: the measured events, or the time slices that
    /// the window should have held, with the missing ones taken for good. Nothing where nothing was
    /// counted.
    #[must_use]
    pub fn lookback(&self, window: Millis, now: Timestamp) -> Option<Counts> {
        match &self.counted {
            Counted::Events(_) => {
                let counts = self.window(window, now).counts;
                (counts.total > 0).then_some(counts)
            }
            Counted::Slices(slicer) => slicer.lookback(now, window),
        }
    }

    /// What the last `window` held. It ends with the newest data as long as that is no older than
    /// the grace, so that waiting for the next sample does not look like unmeasured time.
    #[must_use]
    pub fn window(&self, window: Millis, now: Timestamp) -> WindowCounts {
        match &self.counted {
            Counted::Events(series) => {
                let end = series.head().max(now.before(self.grace)).min(now);
                series.window(end, window)
            }
            Counted::Slices(slicer) => slicer.window(now, window),
        }
    }

    /// The newest snapshot counted of an instance: what to ask it for as `since`.
    #[must_use]
    pub fn seen_until(&self, instance: &str) -> Option<Timestamp> {
        match &self.counted {
            Counted::Events(series) => series.seen_until(instance),
            Counted::Slices(slicer) => slicer.seen_until(instance),
        }
    }

    /// Everything known, for [`Self::restore`].
    #[must_use]
    pub fn save(&self) -> State {
        let counted = match &self.counted {
            Counted::Events(series) => CountedState::Events(series.save()),
            Counted::Slices(slicer) => CountedState::Slices(Box::new(slicer.save())),
        };
        State { fingerprint: self.fingerprint.clone(), counted }
    }
}

impl Counted {
    fn by(method: &Method, grace: Millis) -> Self {
        match *method {
            Method::Occurrences | Method::Strict { .. } => Self::Events(Series::new()),
            Method::Timeslices { window, min_events, quantile } => {
                Self::Slices(Slicer::new(SliceRule { window, min_events, quantile }, grace))
            }
        }
    }

    fn restored(self, state: CountedState) -> Option<Self> {
        match (self, state) {
            (Self::Events(series), CountedState::Events(state)) => {
                Some(Self::Events(series.restored(state)))
            }
            (Self::Slices(slicer), CountedState::Slices(state)) => {
                slicer.restored(*state).map(Self::Slices)
            }
            (Self::Events(_), CountedState::Slices(_))
            | (Self::Slices(_), CountedState::Events(_)) => None,
        }
    }
}
