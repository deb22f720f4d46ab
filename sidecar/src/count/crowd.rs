//! How many were turned away lately for one reason, and over how long they are to come back for that: where few are, soon; where
//! many are, spread, so that they don't come back as the crowd that they were.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Over how long is counted.
const WINDOW: Duration = Duration::from_secs(5);

/// So many in that time are no crowd.
const CALM: u64 = 100;

/// How much later each further one may come back, in milliseconds: so a hundred a second do.
const EACH_MS: u64 = 10;

/// How much later they may come back at most.
const MOST_MS: u64 = 30_000;

/// Counts who was turned away lately.
#[derive(Debug, Default)]
pub(super) struct Crowd(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When the window began that is counted in.
    since: Option<Instant>,
    count: u64,
    /// What was counted in the window before.
    before: u64,
}

impl Crowd {
    /// Counts one.
    pub(super) fn add(&self, now: Instant) {
        let mut state = self.0.lock();
        let windows = state.since.map(|since| now.saturating_duration_since(since));
        match windows.map(|passed| passed.as_secs() / WINDOW.as_secs()) {
            Some(0) => {}
            Some(1) => {
                state.before = state.count;
                (state.since, state.count) = (Some(now), 0);
            }
            Some(_) | None => *state = State { since: Some(now), count: 0, before: 0 },
        }
        state.count += 1;
    }

    /// After how many milliseconds one of them is to come back that would come back after so many alone.
    pub(super) fn spread(&self, Range { start, end }: Range<u64>) -> u64 {
        let State { since: _, count, before } = &*self.0.lock();
        let further = (count + before).saturating_sub(CALM).saturating_mul(EACH_MS);
        fastrand::u64(start..end + further.min(MOST_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_spread_and_a_few_are_not() {
        let (crowd, start) = (Crowd::default(), Instant::now());
        let longest = || (0..1_000).map(|_| crowd.spread(1_000..3_000)).max().unwrap();
        (0..CALM).for_each(|_| crowd.add(start));
        assert!(longest() < 3_000);
        (0..1_000).for_each(|_| crowd.add(start));
        assert!((8_000..13_000).contains(&longest()), "{}", longest());
        (0..1_000_000).for_each(|_| crowd.add(start));
        assert!((25_000..33_000).contains(&longest()), "{}", longest());
        // What is long ago doesn't count.
        crowd.add(start + WINDOW);
        assert!(longest() > 25_000);
        crowd.add(start + WINDOW * 4);
        assert!(longest() < 3_000);
    }
}
