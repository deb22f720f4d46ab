//! Decides when an SLO is evaluated next.
//!
//! Evaluations lie on a grid of the interval, so that they do not drift. Where on the grid follows from
//! the pipeline's name: the SLOs of one pipeline share a sampling, and pipelines spread out.

use std::hash::{DefaultHasher, Hash, Hasher};

use weir_slo::{Millis, Timestamp};

/// An instant on the grid that is nearer than the interval by this divisor is passed over: just then
/// there is nothing new to see.
const SOON: u64 = 4;

/// The first instant after `now` at which the SLO of the pipeline is evaluated again.
pub(super) fn next(now: Timestamp, interval: Millis, namespace: &str, pipeline: &str) -> Timestamp {
    let mut hasher = DefaultHasher::new();
    (namespace, pipeline).hash(&mut hasher);
    let offset = Millis(hasher.finish().checked_rem(interval.0).unwrap_or(0));
    let due = now.before(offset).align_down(interval).after(offset).after(interval);
    if due.saturating_sub(now).0 < interval.0 / SOON { due.after(interval) } else { due }
}

/// How long there is to wait until `due`; nothing where it is time. A clock that was set back makes
/// nobody wait for longer than two intervals.
pub(super) fn wait(due: Timestamp, now: Timestamp, interval: Millis) -> Option<Millis> {
    let left = due.saturating_sub(now);
    (left > Millis::ZERO && left <= interval.saturating_mul(2)).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Millis = Millis::from_secs(15);
    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn evaluations_follow_one_another_at_the_interval() {
        let first = next(NOW, INTERVAL, "shop", "orders");
        // An evaluation begins a little late, and takes a moment.
        let second = next(first.after(Millis(700)), INTERVAL, "shop", "orders");
        assert_eq!(second, first.after(INTERVAL));
    }

    #[test]
    fn the_next_evaluation_is_neither_at_once_nor_late() {
        for second in 0..60 {
            let now = NOW.after(Millis::from_secs(second));
            let ahead = next(now, INTERVAL, "shop", "orders").saturating_sub(now);
            assert!((INTERVAL.0 / 4..=INTERVAL.0 * 5 / 4).contains(&ahead.0), "{ahead}");
        }
    }

    #[test]
    fn pipelines_spread_over_the_interval() {
        let phases: std::collections::BTreeSet<_> = (0..20)
            .map(|n| next(NOW, INTERVAL, "shop", &format!("p{n}")).as_millis() % INTERVAL.0)
            .collect();
        assert!(phases.len() > 15, "{phases:?}");
    }

    #[test]
    fn a_clock_that_was_set_back_stops_no_evaluation() {
        assert_eq!(wait(NOW.after(INTERVAL), NOW, INTERVAL), Some(INTERVAL));
        assert_eq!(wait(NOW, NOW, INTERVAL), None);
        assert_eq!(wait(NOW.after(Millis::from_hours(1)), NOW, INTERVAL), None);
    }
}
