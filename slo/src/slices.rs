//! Closes time slices over a series, and keeps their outcomes as a series of their own.
//!
//! Laws:
//! - A slice is closed once it has ended and a grace has passed, and not before.
//! - Until a sidecar no longer remembers it, a closed slice is judged anew from all data that has
//!   arrived, so one unreachable instance delays the truth but does not change it. Then it is
//!   settled: its outcome stays, and later data for it is ignored.
//! - A slice is good, bad, excluded or unmeasured: exactly one of them.

use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::objective::RETENTION;
use crate::ratio::Ratio;
use crate::recorder::KEPT;
use crate::samples::Snapshot;
use crate::series::{Series, SeriesState, WindowCounts};
use crate::tally::Tally;
use crate::time::{Millis, STEP, Timestamp};

/// How long a closed slice may still change: as long as sidecars remember their snapshots.
const REVISABLE: Millis = STEP.saturating_mul(KEPT as u64);

/// How slices are cut and judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SliceRule {
    /// The length of a slice; slices begin at its multiples since the Unix epoch.
    pub window: Millis,
    /// A slice with fewer events is excluded; one without events always is.
    pub min_events: u64,
    /// The share of events that must be good.
    pub quantile: Ratio,
}

/// What became of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Enough of its events were good.
    Good,
    /// Too many were bad.
    Bad,
    /// It was measured, and had too few events to judge.
    Excluded,
    /// Less than half of it was measured.
    Unmeasured,
}

impl SliceRule {
    /// Judges a slice by what happened in it.
    #[must_use]
    pub fn judge(&self, slice: &WindowCounts) -> Outcome {
        let WindowCounts { counts, excluded: _, measured } = *slice;
        if measured.0 < self.window.0.div_ceil(2) {
            Outcome::Unmeasured
        } else if counts.total < self.min_events.max(1) {
            Outcome::Excluded
        } else if self.quantile.is_reached_by(counts.good, counts.total) {
            Outcome::Good
        } else {
            Outcome::Bad
        }
    }
}

impl Outcome {
    /// One slice of this outcome; nothing if it was not measured.
    fn tally(self) -> Option<Tally> {
        let none = Tally::default();
        match self {
            Self::Good => Some(Tally { good: 1, ..none }),
            Self::Bad => Some(Tally { bad: 1, ..none }),
            Self::Excluded => Some(Tally { excluded: 1, ..none }),
            Self::Unmeasured => None,
        }
    }
}

/// Cuts the events of all instances into slices, and counts the slices.
#[derive(Clone, Debug)]
pub struct Slicer {
    rule: SliceRule,
    /// How long after its end a slice is closed.
    grace: Millis,
    /// Events of the slices that are not settled.
    events: Series,
    /// Slices before this are settled.
    settled_until: Timestamp,
    settled: Series,
}

/// A slicer as it is persisted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SlicerState {
    rule: SliceRule,
    settled_until: Timestamp,
    settled: SeriesState,
    events: SeriesState,
}

impl Slicer {
    /// A slicer without data. `grace` is how long it waits for the samples of a slice that has
    /// ended: two evaluation intervals.
    #[must_use]
    pub fn new(rule: SliceRule, grace: Millis) -> Self {
        let events = Series::in_slices(rule.window);
        let settled_until = Timestamp::default();
        Self { rule, grace, events, settled_until, settled: Series::new() }
    }

    /// Counts one instance's snapshots, as [`Series::ingest`] does, and settles what has become old.
    ///
    /// # Errors
    /// As [`Series::ingest`].
    pub fn ingest(
        &mut self,
        instance: &str,
        started_at: Timestamp,
        snapshots: &[Snapshot],
        now: Timestamp,
    ) -> Result<(), Millis> {
        let result = self.events.ingest(instance, started_at, snapshots, now);
        self.settle();
        result
    }

    /// The end of the newest slice that is closed at `now`.
    #[must_use]
    pub fn closed_until(&self, now: Timestamp) -> Timestamp {
        now.before(self.grace).align_down(self.rule.window)
    }

    /// The outcomes of the last whole slices that fit into `window`, as of `now`.
    #[must_use]
    pub fn window(&self, now: Timestamp, window: Millis) -> WindowCounts {
        let end = self.closed_until(now);
        let span = self.rule.window.saturating_mul(self.expected(window));
        let from = end.before(span);
        let mut sum = self.settled.window(end, span);
        for (_, tally) in self.judged(from, end) {
            sum.counts = sum.counts.saturating_add(tally.counts());
            sum.excluded = sum.excluded.saturating_add(tally.excluded);
            sum.measured = sum.measured.saturating_add(self.rule.window);
        }
        sum
    }

    /// How many whole slices fit into `window`.
    #[must_use]
    pub fn expected(&self, window: Millis) -> u64 {
        window.0.checked_div(self.rule.window.0).unwrap_or(0)
    }

    /// What alerts look at: good slices of all that `window` should have held, counting the missing
    /// and the excluded ones as good, so that one bad minute after a gap is one of sixty and not
    /// one of one. Nothing where no slice was judged.
    #[must_use]
    pub fn lookback(&self, now: Timestamp, window: Millis) -> Option<Counts> {
        let expected = self.expected(window);
        let counts = self.window(now, window).counts;
        let good = expected.saturating_sub(counts.bad());
        (counts.total > 0).then(|| Counts::new(good, expected))
    }

    /// The newest snapshot counted of an instance.
    #[must_use]
    pub fn seen_until(&self, instance: &str) -> Option<Timestamp> {
        self.events.seen_until(instance)
    }

    /// The measured slices that are not settled and lie between the two instants.
    fn judged(
        &self,
        from: Timestamp,
        until: Timestamp,
    ) -> impl Iterator<Item = (Timestamp, Tally)> + '_ {
        let slice = self.rule.window;
        let mut next = from.max(self.settled_until);
        std::iter::from_fn(move || {
            let start = self.events.next_measured(next)?.align_down(slice);
            next = start.after(slice);
            (next > start && next <= until).then_some(start)
        })
        .filter_map(move |start| {
            let events = self.events.window(start.after(slice), slice);
            Some((start, self.rule.judge(&events).tally()?))
        })
    }

    /// Settles the slices that sidecars no longer remember. It goes by the data's own time, so that
    /// a clock of the reader that runs ahead settles nothing that is still to come.
    fn settle(&mut self) {
        let slice = self.rule.window;
        let closed = self.events.head().before(self.grace);
        let until = closed.before(REVISABLE).align_down(slice);
        if until <= self.settled_until {
            return;
        }
        let from = until.before(RETENTION).align_down(slice);
        let judged: Vec<_> = self.judged(from, until).collect();
        for (start, tally) in judged {
            self.settled.put(start, start.after(slice), tally);
        }
        self.settled_until = until;
        self.events.forget_before(until);
    }

    pub(crate) fn save(&self) -> SlicerState {
        let Self { rule, grace: _, events, settled_until, settled } = self;
        SlicerState {
            rule: *rule,
            settled_until: *settled_until,
            settled: settled.save(),
            events: events.save(),
        }
    }

    /// The persisted slices, if they were cut and judged by the same rule.
    pub(crate) fn restored(self, state: SlicerState) -> Option<Self> {
        let SlicerState { rule, settled_until, settled, events } = state;
        (rule == self.rule).then(|| Self {
            settled_until,
            settled: self.settled.restored(settled),
            events: self.events.restored(events),
            ..self
        })
    }
}
