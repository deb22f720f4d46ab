//! Judges how far a subscriber is behind, and what that comes to when it is given up.

use std::{ops::Range, time::Duration};

use super::{Filter, Hub, Known, Mark, Passed, Settings};
use crate::log::Offset;

/// A socket that takes nothing for this long, while something waits in it, has lost its peer.
pub const STALL: Duration = Duration::from_secs(30);

/// The same, where publishers wait for it: a dead subscriber must not stop the stream for good.
const HOLD_UP: Duration = Duration::from_secs(10);

impl Hub {
    /// How long the socket of a subscriber with this mark may take nothing.
    #[must_use]
    pub fn patience(&self, mark: Option<&Mark>) -> Duration {
        if mark.is_some() && self.is_held_up() { HOLD_UP } else { STALL }
    }

    /// Whether more waits for a subscriber than it may be behind by, given the first offset that isn't
    /// written to it.
    #[must_use]
    pub fn is_too_far(
        &self,
        unwritten: Offset,
        filter: Option<&Filter>,
        settings: &Settings,
    ) -> bool {
        let head = self.head();
        let lag = head.saturating_sub(unwritten);
        if lag == 0 {
            return false;
        }
        let bytes = self.bytes_since(unwritten);
        let Settings { max_lag_events, max_lag_bytes, .. } = *settings;
        if lag <= max_lag_events && bytes <= max_lag_bytes {
            return false;
        }
        let Some(filter) = filter else { return true };
        // Of what its filter doesn't match nothing waits for it; the bytes are taken in proportion.
        let waiting = self.learn(filter, unwritten..head).matched;
        let share = u128::from(bytes) * u128::from(waiting) / u128::from(lag);
        waiting > max_lag_events || share > u128::from(max_lag_bytes)
    }

    /// Up to where a subscriber that is too far behind skips: what is too much, and as much again, so that
    /// it doesn't fall out of bounds at the next event; but never the newest event, which by itself may be
    /// larger than the bound.
    #[must_use]
    pub fn skips_until(&self, next: Offset, settings: &Settings) -> Offset {
        let Settings { max_lag_events, max_lag_bytes, .. } = *settings;
        let within = self.offset_within(max_lag_events / 2, max_lag_bytes / 2);
        within.min(self.head().saturating_sub(1)).max(next)
    }

    /// Counts for a part what a subscriber doesn't get because its filter doesn't match it. Returns how much
    /// of the range it would have got, and with that what it may have got: where the filter was not evaluated
    /// on an event, and can't be any more, the event counts as one of its own.
    pub fn give_up(&self, part: usize, filter: Option<&Filter>, range: Range<Offset>) -> u64 {
        let lag = range.end.saturating_sub(range.start);
        let Some(filter) = filter else { return lag };
        let Known { matched, unmatched: filtered } = self.learn(filter, range);
        self.accounts.passed(part, Passed { filtered, conflated: 0 });
        let lost = lag.saturating_sub(filtered);
        self.accounts.unjudged.add(lost.saturating_sub(matched));
        lost
    }
}
