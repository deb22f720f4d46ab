//! Instants and durations in whole milliseconds, and the step on which counters are snapshotted.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Every sidecar snapshots its counters at the wall-clock multiples of this step, so that the
/// snapshots of many instances fall on the same instants and can be added up without guessing.
/// Five seconds divide a minute, and an hour of them is 720 snapshots.
pub const STEP: Millis = Millis::from_secs(5);

/// An instant, in milliseconds since the Unix epoch. Serialises as a number.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

/// A duration in milliseconds. Serialises as a number; displays as Kubernetes users write
/// durations: `28d`, `1h30m`, `500ms`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Timestamp {
    /// The instant `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this instant is; zero when it is not after it.
    #[must_use]
    pub const fn saturating_sub(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }

    /// The instant `span` later, at most the last one there is.
    #[must_use]
    pub const fn after(self, span: Millis) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The instant `span` earlier, at least the Unix epoch.
    #[must_use]
    pub const fn before(self, span: Millis) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// The latest multiple of `step` that is not after this instant; itself when `step` is zero.
    #[must_use]
    pub const fn align_down(self, step: Millis) -> Self {
        match self.0.checked_rem(step.0) {
            Some(past) => Self(self.0 - past),
            None => self,
        }
    }
}

impl Millis {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// `secs` seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000))
    }

    /// `mins` minutes.
    #[must_use]
    pub const fn from_mins(mins: u64) -> Self {
        Self::from_secs(mins.saturating_mul(60))
    }

    /// `hours` hours.
    #[must_use]
    pub const fn from_hours(hours: u64) -> Self {
        Self::from_mins(hours.saturating_mul(60))
    }

    /// `days` days of 24 hours.
    #[must_use]
    pub const fn from_days(days: u64) -> Self {
        Self::from_hours(days.saturating_mul(24))
    }

    /// Both durations together, at most the longest there is.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The duration `factor` times, at most the longest there is.
    #[must_use]
    pub const fn saturating_mul(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 5] =
            [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, length) in UNITS {
            if rest >= length {
                write!(f, "{}{unit}", rest / length)?;
                rest %= length;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_displays_as_people_write_it() {
        let shown = |millis| Millis(millis).to_string();
        assert_eq!(shown(0), "0s");
        assert_eq!(shown(500), "500ms");
        assert_eq!(shown(5_400_000), "1h30m");
        assert_eq!(Millis::from_days(28).to_string(), "28d");
        assert_eq!(shown(86_461_001), "1d1m1s1ms");
    }

    #[test]
    fn aligning_keeps_a_multiple_and_survives_a_zero_step() {
        let at = |millis| Timestamp::from_millis(millis);
        assert_eq!(at(14_999).align_down(STEP), at(10_000));
        assert_eq!(at(15_000).align_down(STEP), at(15_000));
        assert_eq!(at(7).align_down(Millis::ZERO), at(7));
    }

    #[test]
    fn arithmetic_stops_at_both_ends_of_time() {
        let last = Timestamp::from_millis(u64::MAX);
        assert_eq!(last.after(STEP), last);
        assert_eq!(Timestamp::default().before(STEP), Timestamp::default());
        assert_eq!(Timestamp::default().saturating_sub(last), Millis::ZERO);
        assert_eq!(Millis::from_days(u64::MAX), Millis(u64::MAX));
    }
}
