//! Merges the snapshots of many instances' counters into one series over time.
//!
//! Laws:
//! - An event is counted once, however often its sample is repeated: per instance only the growth
//!   since the newest reading counts.
//! - Growth belongs to the time between the two readings, evenly where they are further apart than
//!   a cell; windows that lie end to end add up to the window around both.
//! - Time is measured when some instance's counter was read at both of its ends. Unmeasured time
//!   is neither good nor bad.
//! - Only the snapshots move time forward; a clock of the reader that jumps loses nothing.

mod baselines;

use serde::{Deserialize, Serialize};

use crate::cells::{Cells, CellsState};
use crate::counts::Counts;
use crate::coverage::Coverage;
use crate::samples::Snapshot;
use crate::tally::Tally;
use crate::time::{Millis, Timestamp};
use baselines::{Baselines, Growth};

/// How far in the future of the reader's clock a snapshot may lie. Clocks of nodes differ by
/// milliseconds when they are synchronised, and by hours when they are not.
pub const CLOCK_TOLERANCE: Millis = Millis::from_mins(1);

/// One objective's counts over time, from all instances. Remembers [`crate::RETENTION`], in about
/// two thousand cells: of 5 s for 15 minutes, of 1 m for 6 hours, of 5 m for 3 days, of 1 h beyond.
#[derive(Clone, Debug)]
pub struct Series {
    cells: Cells,
    coverage: Coverage,
    baselines: Baselines,
    /// Growth over a longer time than this is neither counted nor measured.
    widest_gap: Millis,
}

/// What a window of time held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowCounts {
    /// Events, or time slices.
    pub counts: Counts,
    /// Time slices that were measured and had too few events to judge.
    pub excluded: u64,
    /// How much of the window was covered by samples.
    pub measured: Millis,
}

/// A series as it is persisted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SeriesState {
    cells: CellsState,
    measured: Coverage,
    baselines: Baselines,
}

impl Default for Series {
    fn default() -> Self {
        Self::new()
    }
}

impl Series {
    /// A series without data.
    #[must_use]
    pub fn new() -> Self {
        Self::over(Cells::graded(), Millis(u64::MAX))
    }

    /// A series for time slices: it keeps one cell per slice until told to forget it. Growth over
    /// more than a slice cannot be told apart by slices, so it is left out.
    pub(crate) fn in_slices(slice: Millis) -> Self {
        Self::over(Cells::uniform(slice), slice)
    }

    fn over(cells: Cells, widest_gap: Millis) -> Self {
        Self { cells, coverage: Coverage::default(), baselines: Baselines::default(), widest_gap }
    }

    /// Counts the growth of one instance's counter, which stood at zero at `started_at`. Snapshots
    /// may come in any order, repeat, and overlap those of earlier calls; `now` is the reader's
    /// clock.
    ///
    /// A counter that is smaller than before, or that started after it was last seen, has started
    /// again and counts from zero. An instance that returns after it was forgotten counts from its
    /// next snapshot on, so what it counted before is never counted twice.
    ///
    /// # Errors
    /// How far the newest snapshot lies in the future, if by more than [`CLOCK_TOLERANCE`]. Such
    /// snapshots are left out; the others are counted.
    pub fn ingest(
        &mut self,
        instance: &str,
        started_at: Timestamp,
        snapshots: &[Snapshot],
        now: Timestamp,
    ) -> Result<(), Millis> {
        let latest = now.after(CLOCK_TOLERANCE);
        let mut ordered: Vec<Snapshot> =
            snapshots.iter().filter(|snapshot| snapshot.at <= latest).copied().collect();
        ordered.sort_by_key(|snapshot| snapshot.at);
        let before = self.cells.head();
        for snapshot in ordered {
            if let Some(growth) = self.baselines.growth(instance, started_at, snapshot, latest) {
                self.add(growth);
            }
        }
        self.baselines.forget_the_unseen(before, self.cells.head());
        let newest = snapshots.iter().map(|snapshot| snapshot.at).max();
        match newest.filter(|at| *at > latest) {
            Some(at) => Err(at.saturating_sub(now)),
            None => Ok(()),
        }
    }

    /// What happened in the `window` that ends at `end`.
    #[must_use]
    pub fn window(&self, end: Timestamp, window: Millis) -> WindowCounts {
        let from = end.before(window);
        let tally = self.cells.sum(from, end);
        WindowCounts {
            counts: tally.counts(),
            excluded: tally.excluded,
            measured: self.coverage.within(from, end),
        }
    }

    /// The end of the newest data; the Unix epoch while there is none.
    #[must_use]
    pub const fn head(&self) -> Timestamp {
        self.cells.head()
    }

    /// The newest snapshot counted of an instance: what to ask it for as `since`.
    #[must_use]
    pub fn seen_until(&self, instance: &str) -> Option<Timestamp> {
        self.baselines.seen_until(instance)
    }

    /// The first measured instant at or after `from`.
    pub(crate) fn next_measured(&self, from: Timestamp) -> Option<Timestamp> {
        self.coverage.next(from)
    }

    /// Adds an amount to the time between the two instants, and counts that time as measured.
    pub(crate) fn put(&mut self, from: Timestamp, to: Timestamp, amount: Tally) {
        self.cells.add(from, to, amount);
        self.coverage.add(from.max(self.cells.horizon()), to);
        self.coverage.forget_before(self.cells.horizon());
    }

    /// Drops what lies before `instant`.
    pub(crate) fn forget_before(&mut self, instant: Timestamp) {
        self.cells.forget_before(instant);
        self.coverage.forget_before(instant);
    }

    fn add(&mut self, growth: Growth) {
        let Growth { from, to, amount } = growth;
        if to.saturating_sub(from) <= self.widest_gap {
            self.put(from, to, amount);
        }
    }

    pub(crate) fn save(&self) -> SeriesState {
        let Self { cells, coverage, baselines, widest_gap: _ } = self;
        SeriesState {
            cells: cells.save(),
            measured: coverage.clone(),
            baselines: baselines.clone(),
        }
    }

    pub(crate) fn restored(self, state: SeriesState) -> Self {
        let SeriesState { cells, measured, baselines } = state;
        Self {
            cells: self.cells.restored(cells),
            coverage: Coverage::restored(&measured),
            baselines,
            widest_gap: self.widest_gap,
        }
    }
}
