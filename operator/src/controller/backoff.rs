//! Delays the retries of one object without a thought for the others.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The first retry: soon enough to be unnoticed where a write met a conflict.
const FIRST: Duration = Duration::from_millis(500);
/// The last: a remedied permission is noticed within minutes.
const LONGEST: Duration = Duration::from_secs(300);

/// The failures in a row of each object.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    objects: Mutex<HashMap<String, Attempts>>,
}

#[derive(Debug)]
struct Attempts {
    count: u32,
    last: Instant,
}

impl Backoff {
    /// The delay after a further failure of the object `uid` at `now`, with `random` from 0 to 1.
    ///
    /// The delay is between half and all of 0.5 s × 2ⁿ, at most of 5 minutes.
    pub(super) fn next(&self, uid: &str, now: Instant, random: f64) -> Duration {
        let mut objects = self.objects.lock();
        // An object that was deleted while it failed never succeeds; it is forgotten by age.
        objects.retain(|_, attempts| now.duration_since(attempts.last) < LONGEST * 3);
        let attempts = objects.entry(uid.to_owned()).or_insert(Attempts { count: 0, last: now });
        let delay = FIRST.saturating_mul(2_u32.saturating_pow(attempts.count)).min(LONGEST);
        attempts.count = attempts.count.saturating_add(1);
        attempts.last = now;
        delay.mul_f64(0.5 + 0.5 * random)
    }

    /// Forgets the failures of an object that succeeded.
    pub(super) fn forget(&self, uid: &str) {
        self.objects.lock().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_its_cap_and_is_forgotten_after_a_success() {
        let backoff = Backoff::default();
        let now = Instant::now();
        let delays: Vec<_> = (0..40).map(|_| backoff.next("a", now, 1.0)).collect();
        assert_eq!(delays[..3], [FIRST, FIRST * 2, FIRST * 4]);
        assert_eq!(delays[39], LONGEST);
        backoff.forget("a");
        assert_eq!(backoff.next("a", now, 1.0), FIRST);
    }

    #[test]
    fn one_object_does_not_delay_another() {
        let backoff = Backoff::default();
        let now = Instant::now();
        backoff.next("a", now, 1.0);
        assert_eq!(backoff.next("b", now, 1.0), FIRST);
    }

    #[test]
    fn jitter_takes_away_at_most_half() {
        assert_eq!(Backoff::default().next("a", Instant::now(), 0.0), FIRST / 2);
    }

    #[test]
    fn an_object_that_is_gone_is_forgotten_by_age() {
        let backoff = Backoff::default();
        let now = Instant::now();
        backoff.next("gone", now, 1.0);
        backoff.next("other", now + LONGEST * 4, 1.0);
        assert_eq!(backoff.objects.lock().len(), 1);
    }
}
