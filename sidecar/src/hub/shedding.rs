//! Sends some of a pipeline's subscribers away, so that they come back to other replicas.
//!
//! # Laws
//!
//! - A connection draws once for each call, and only if it was there when the call came.
//! - Who is drawn leaves at a random moment of what is left of the window: they don't arrive elsewhere all at
//!   once.
//! - To look whether there is a new call costs a connection one load.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Calls for subscribers to leave, one after the other.
#[derive(Debug, Default)]
pub struct Shedding {
    /// How many calls there were.
    calls: AtomicU32,
    last: Mutex<Option<Call>>,
}

#[derive(Debug, Clone, Copy)]
struct Call {
    /// So many of a million are to leave.
    millionths: u32,
    ends: Instant,
}

/// The last call that a connection has heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeardCall(u32);

impl Shedding {
    /// Calls on `excess` of `all` connections to leave within `window`.
    pub fn call(&self, excess: u64, all: u64, window: Duration) {
        let millionths = u128::from(excess) * 1_000_000 / u128::from(all.max(1));
        let millionths = u32::try_from(millionths.min(1_000_000)).unwrap_or(1_000_000);
        let mut last = self.last.lock();
        *last = Some(Call { millionths, ends: Instant::now() + window });
        // After the call itself, so that whoever sees the number finds it.
        self.calls.fetch_add(1, Ordering::Release);
    }

    /// What a connection has heard that comes now: everything.
    #[must_use]
    pub fn now(&self) -> HeardCall {
        HeardCall(self.calls.load(Ordering::Acquire))
    }

    /// Whether a connection is to leave because of a call that it has not heard before, and after how long.
    pub fn draw(&self, heard: &mut HeardCall) -> Option<Duration> {
        let now = self.now();
        if now == *heard {
            return None;
        }
        *heard = now;
        let Call { millionths, ends } = (*self.last.lock())?;
        let left = ends.checked_duration_since(Instant::now())?;
        (fastrand::u32(0..1_000_000) < millionths).then(|| left.mul_f64(fastrand::f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    #[test]
    fn about_as_many_leave_as_were_called_and_within_the_window() {
        let shedding = Shedding::default();
        let mut heard = vec![shedding.now(); 10_000];
        shedding.call(2_500, 10_000, WINDOW);
        let leaving: Vec<_> = heard.iter_mut().filter_map(|heard| shedding.draw(heard)).collect();
        // Six standard deviations of 43 around the mean.
        assert!((2_240..=2_760).contains(&leaving.len()), "{}", leaving.len());
        assert!(leaving.iter().all(|after| *after <= WINDOW));
        let early = leaving.iter().filter(|after| **after < WINDOW / 2).count();
        assert!(early > leaving.len() / 3 && early < leaving.len() * 2 / 3, "{early}");
    }

    #[test]
    fn a_call_is_heard_once_and_not_by_those_who_come_later() {
        let shedding = Shedding::default();
        let mut early = shedding.now();
        assert_eq!(shedding.draw(&mut early), None);
        shedding.call(1, 1, WINDOW);
        let mut late = shedding.now();
        assert_eq!(shedding.draw(&mut late), None);
        assert!(shedding.draw(&mut early).is_some());
        assert_eq!(shedding.draw(&mut early), None);
    }

    #[test]
    fn a_call_whose_window_is_over_is_no_call() {
        let shedding = Shedding::default();
        let mut heard = shedding.now();
        shedding.call(1, 1, Duration::ZERO);
        assert_eq!(shedding.draw(&mut heard), None);
    }
}
