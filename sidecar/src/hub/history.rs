//! The parts of the log that are older than its tail, while subscribers replay them.
//!
//! A shard can't wait for a disk or a broker. So what it asks for and isn't here is loaded by a task,
//! which tells the shards when it has come; subscribers at one place share one load.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;

use crate::log::{Entry, Offset};

/// The most bytes that one load reads.
pub(super) const PAGE_BYTES: u64 = 256 * 1024;

/// The most loads at once: beyond this a disk only seeks.
const MOST_LOADS: usize = 16;

/// The most pages kept. More than the loads, so that each is still here when its readers look.
const MOST_PAGES: usize = 2 * MOST_LOADS;

/// Pages of the log, and those under way.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The most recently used first.
    pages: VecDeque<Vec<Arc<Entry>>>,
    /// Where the loads under way start.
    loading: Vec<Offset>,
}

/// What is here for a reader.
#[derive(Debug)]
pub(super) enum Look {
    /// Entries from its offset on.
    Here(Vec<Arc<Entry>>),
    /// It is to load a page from its offset on, and then to call [`History::finish`].
    Load,
    /// A load is under way that will help it, or the most are: it is told when to look again.
    Wait,
}

impl History {
    /// Looks for entries from `from` on, no more than fit into `max_bytes`, but one.
    pub(super) fn look(&self, from: Offset, max_bytes: u64) -> Look {
        let mut state = self.0.lock();
        if let Some(found) = state.pages.iter().position(|page| holds(page, from)) {
            let entries = state.pages.get(found).map(|page| cut(page, from, max_bytes));
            state.pages.swap(0, found);
            return Look::Here(entries.unwrap_or_default());
        }
        if state.loading.contains(&from) || state.loading.len() >= MOST_LOADS {
            return Look::Wait;
        }
        state.loading.push(from);
        Look::Load
    }

    /// Ends a load: with a page, or with nothing where it failed.
    pub(super) fn finish(&self, from: Offset, page: Vec<Arc<Entry>>) {
        let mut state = self.0.lock();
        state.loading.retain(|loading| *loading != from);
        if !page.is_empty() {
            state.pages.push_front(page);
            state.pages.truncate(MOST_PAGES);
        }
    }

    /// Lets go of what was loaded, when nobody has asked for a while.
    pub(super) fn clear(&self) {
        self.0.lock().pages.clear();
    }
}

fn holds(page: &[Arc<Entry>], offset: Offset) -> bool {
    let first = page.first().map_or(Offset::MAX, |entry| entry.offset);
    (first..first.saturating_add(page.len() as u64)).contains(&offset)
}

fn cut(page: &[Arc<Entry>], from: Offset, max_bytes: u64) -> Vec<Arc<Entry>> {
    let mut bytes = 0;
    let wanted = page.iter().skip_while(|entry| entry.offset < from).enumerate();
    let fitting = wanted.take_while(|(index, entry)| {
        bytes += entry.size();
        *index == 0 || bytes <= max_bytes
    });
    fitting.map(|(_, entry)| Arc::clone(entry)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::log::tests::posted;

    fn page(offsets: std::ops::Range<Offset>) -> Vec<Arc<Entry>> {
        let entry = |offset| Entry {
            offset,
            accepted_at: Instant::now(),
            time: 0,
            posted: posted("a", b"{}"),
        };
        offsets.map(|offset| Arc::new(entry(offset))).collect()
    }

    fn here(look: Look) -> Vec<Offset> {
        match look {
            Look::Here(entries) => entries.iter().map(|entry| entry.offset).collect(),
            Look::Load | Look::Wait => panic!("not here"),
        }
    }

    #[test]
    fn readers_at_one_place_share_a_load() {
        let history = History::default();
        assert!(matches!(history.look(5, u64::MAX), Look::Load));
        assert!(matches!(history.look(5, u64::MAX), Look::Wait));
        history.finish(5, page(5..8));
        assert_eq!(here(history.look(5, u64::MAX)), [5, 6, 7]);
        assert_eq!(here(history.look(7, u64::MAX)), [7]);
        assert!(matches!(history.look(8, u64::MAX), Look::Load));
    }

    #[test]
    fn a_load_that_failed_may_be_tried_again() {
        let history = History::default();
        assert!(matches!(history.look(5, u64::MAX), Look::Load));
        history.finish(5, Vec::new());
        assert!(matches!(history.look(5, u64::MAX), Look::Load));
    }

    #[test]
    fn loads_and_pages_are_bounded() {
        let history = History::default();
        for from in 0..MOST_LOADS as u64 {
            assert!(matches!(history.look(from * 10, u64::MAX), Look::Load));
        }
        assert!(matches!(history.look(5_000, u64::MAX), Look::Wait));
        for from in 0..3 * MOST_PAGES as u64 {
            history.finish(from * 10, page(from * 10..from * 10 + 1));
        }
        assert_eq!(history.0.lock().pages.len(), MOST_PAGES);
    }

    #[test]
    fn what_is_handed_out_is_bounded_but_makes_progress() {
        let history = History::default();
        history.finish(5, page(5..8));
        let one = page(0..1)[0].size();
        assert_eq!(here(history.look(5, 0)), [5]);
        assert_eq!(here(history.look(6, 2 * one)), [6, 7]);
    }
}
