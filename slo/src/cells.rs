//! Amounts over time in cells that grow wider with age.
//!
//! Laws: cells never overlap, and the width of a cell follows from its start and the head alone.
//! Thinning merges whole cells, so amounts move only within the wider cell that contains them, and
//! none is lost before the horizon passes it. Time is half open: a cell holds what happened at or
//! after its start and before its end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::objective::RETENTION;
use crate::tally::Tally;
use crate::time::{Millis, STEP, Timestamp};

/// Cells of one width: those that begin within `keep` before the head.
#[derive(Clone, Copy, Debug)]
struct Level {
    width: Millis,
    keep: Millis,
    /// The width of the next level, on whose multiples this level ends; so a wider cell is always
    /// made of whole narrower ones.
    seam: Millis,
}

const HOUR: Millis = Millis::from_hours(1);

/// About 2,050 cells. A window's edge is off by at most one cell: 1.7 % of a window of five minutes
/// or of an hour, 1.4 % of six hours or three days, 0.15 % of four weeks.
const GRADED: [Level; 4] = [
    Level { width: STEP, keep: Millis::from_mins(15), seam: Millis::from_mins(1) },
    Level { width: Millis::from_mins(1), keep: Millis::from_hours(6), seam: Millis::from_mins(5) },
    Level { width: Millis::from_mins(5), keep: Millis::from_days(3), seam: HOUR },
    Level { width: HOUR, keep: RETENTION, seam: HOUR },
];

/// Amounts over time.
#[derive(Clone, Debug)]
pub(crate) struct Cells {
    levels: Vec<Level>,
    /// The end of the newest data.
    head: Timestamp,
    amounts: BTreeMap<Timestamp, Tally>,
}

/// Cells as they are persisted: columns of small numbers, which compress well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CellsState {
    head: Timestamp,
    /// The first cell's start, then the distance from each cell's start to the next one's.
    starts: Vec<u64>,
    good: Vec<u64>,
    bad: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    excluded: Vec<u64>,
}

impl Cells {
    /// Cells that widen with age and are dropped after [`RETENTION`].
    pub(crate) fn graded() -> Self {
        Self::with(GRADED.to_vec())
    }

    /// Cells of one width that stay until they are forgotten explicitly.
    pub(crate) fn uniform(width: Millis) -> Self {
        Self::with(vec![Level { width, keep: Millis(u64::MAX), seam: width }])
    }

    const fn with(levels: Vec<Level>) -> Self {
        Self { levels, head: Timestamp::from_millis(0), amounts: BTreeMap::new() }
    }

    /// The end of the newest data.
    pub(crate) const fn head(&self) -> Timestamp {
        self.head
    }

    /// What lies before this is no longer kept.
    pub(crate) fn horizon(&self) -> Timestamp {
        self.levels.last().map_or(self.head, |level| self.oldest(level))
    }

    /// Spreads an amount evenly over the time between `from` and `to`, which must be after it.
    pub(crate) fn add(&mut self, from: Timestamp, to: Timestamp, amount: Tally) {
        self.advance(to);
        if amount.is_empty() {
            return;
        }
        let offset = |at: Timestamp| at.saturating_sub(from).0;
        let mut start = from.max(self.horizon());
        while start < to {
            let Some((cell, end)) = self.cell(start) else { return };
            let part = amount.part(offset(start), offset(end.min(to)), offset(to));
            self.put(cell, part);
            start = end;
        }
    }

    /// The amount between `from` and `to`, taking a cell that is cut by either as evenly filled.
    pub(crate) fn sum(&self, from: Timestamp, to: Timestamp) -> Tally {
        let first = self.cell(from).map_or(from, |(start, _)| start);
        if first >= to {
            return Tally::default();
        }
        let widest = self.levels.last().map_or(Millis::ZERO, |level| level.width);
        let inside = |start: Timestamp| start >= from && start.after(widest) <= to;
        self.amounts
            .range(first..to)
            .map(|(start, amount)| match inside(*start) {
                true => *amount,
                false => self.cut(*start, *amount, from, to),
            })
            .fold(Tally::default(), Tally::plus)
    }

    /// Drops what lies before `instant`.
    pub(crate) fn forget_before(&mut self, instant: Timestamp) {
        self.amounts = self.amounts.split_off(&instant);
    }

    /// Counts time as past up to `to`, and widens the cells that have become old enough.
    fn advance(&mut self, to: Timestamp) {
        if to <= self.head {
            return;
        }
        let before = self.seams();
        self.head = to;
        for (old, new) in before.into_iter().zip(self.seams()) {
            if old < new {
                self.widen(old, new);
            }
        }
    }

    /// Puts the amounts of the cells between the two instants into the cells that are there now.
    fn widen(&mut self, from: Timestamp, to: Timestamp) {
        let aged: Vec<_> = self.amounts.extract_if(from..to, |_, _| true).collect();
        for (start, amount) in aged {
            if let Some((cell, _)) = self.cell(start) {
                self.put(cell, amount);
            }
        }
    }

    fn put(&mut self, cell: Timestamp, amount: Tally) {
        if !amount.is_empty() {
            let held = self.amounts.entry(cell).or_default();
            *held = held.plus(amount);
        }
    }

    /// The cell that holds `at`, unless it is no longer kept.
    fn cell(&self, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let level = self.levels.iter().find(|level| at >= self.oldest(level))?;
        let start = at.align_down(level.width);
        Some((start, start.after(level.width)))
    }

    fn oldest(&self, level: &Level) -> Timestamp {
        self.head.before(level.keep).align_down(level.seam)
    }

    fn seams(&self) -> Vec<Timestamp> {
        self.levels.iter().map(|level| self.oldest(level)).collect()
    }

    /// The part of a cell's amount between `from` and `to`. The newest cell ends at the head: what
    /// it holds has all happened before that.
    fn cut(&self, start: Timestamp, amount: Tally, from: Timestamp, to: Timestamp) -> Tally {
        let Some((_, end)) = self.cell(start) else { return Tally::default() };
        let end = if self.head > start { end.min(self.head) } else { end };
        let offset = |at: Timestamp| at.min(end).saturating_sub(start).0;
        amount.part(offset(from), offset(to), offset(end))
    }

    pub(crate) fn save(&self) -> CellsState {
        let mut state = CellsState { head: self.head, ..CellsState::default() };
        let mut previous = Timestamp::default();
        let excludes = self.amounts.values().any(|amount| amount.excluded > 0);
        for (start, Tally { good, bad, excluded }) in &self.amounts {
            state.starts.push(start.saturating_sub(previous).0);
            state.good.push(*good);
            state.bad.push(*bad);
            if excludes {
                state.excluded.push(*excluded);
            }
            previous = *start;
        }
        state
    }

    /// Takes the persisted amounts up into cells as this version lays them out.
    pub(crate) fn restored(mut self, state: CellsState) -> Self {
        let CellsState { head, starts, good, bad, excluded } = state;
        self.head = head;
        let excluded = excluded.into_iter().chain(std::iter::repeat(0));
        let mut start = Timestamp::default();
        for (((step, good), bad), excluded) in starts.into_iter().zip(good).zip(bad).zip(excluded) {
            start = start.after(Millis(step));
            if let Some((cell, _)) = self.cell(start) {
                self.put(cell, Tally { good, bad, excluded });
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    fn good(good: u64) -> Tally {
        Tally { good, ..Tally::default() }
    }

    #[test]
    fn a_month_of_steps_is_thinned_to_about_two_thousand_cells() {
        let mut cells = Cells::graded();
        for step in 0..(33 * 86_400 / 5) {
            cells.add(at(step * 5), at(step * 5 + 5), good(1));
        }
        assert!((2_000..2_120).contains(&cells.amounts.len()), "{}", cells.amounts.len());
        let end = at(33 * 86_400);
        assert_eq!(cells.sum(end.before(Millis::from_days(28)), end), good(28 * 17_280));
        assert_eq!(cells.sum(end.before(Millis::from_mins(5)), end), good(60));
    }

    #[test]
    fn the_newest_cell_is_full_at_the_head() {
        let mut cells = Cells::graded();
        cells.add(at(10), at(12), good(8));
        assert_eq!(cells.sum(at(0), at(12)), good(8));
        assert_eq!(cells.sum(at(0), at(11)), good(4));
    }

    #[test]
    fn late_amounts_reach_the_cell_that_their_time_has_become_part_of() {
        let mut cells = Cells::graded();
        cells.add(at(7_195), at(7_200), good(1));
        cells.add(at(60), at(65), good(7));
        assert_eq!(cells.sum(at(60), at(120)), good(7));
        assert_eq!(cells.sum(at(0), at(60)), good(0));
    }

    #[test]
    fn an_amount_spread_over_ten_thousand_days_ends_quickly_and_keeps_only_what_is_remembered() {
        let mut cells = Cells::graded();
        let (from, to) = (at(0), at(10_000 * 86_400));
        cells.add(from, to, good(10_000));
        let kept = cells.sum(from, to).good;
        assert!((32..=33).contains(&kept), "{kept}");
    }

    #[test]
    fn the_ends_of_time_do_not_panic() {
        let last = Timestamp::from_millis(u64::MAX);
        let mut cells = Cells::graded();
        cells.add(last.before(STEP), last, good(u64::MAX));
        cells.add(last.before(STEP), last, good(u64::MAX));
        assert_eq!(cells.sum(Timestamp::default(), last).good, u64::MAX);
        assert_eq!(cells.sum(last, Timestamp::default()), Tally::default());
    }
}
