//! Counts and times what all subscribers together receive.

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::payload::Stamp;

/// The latencies that are told apart, in nanoseconds: from less than a system call takes, to more than
/// a measurement waits.
const LATENCIES: (u64, u64) = (1_000, 60_000_000_000);

/// What all subscribers have received.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    /// Events before this one come to warm up, and are not counted.
    from: u64,
    deliveries: u64,
    latency: Histogram<u64>,
}

impl Tally {
    /// Counts the events from this one on.
    pub(crate) fn from(number: u64) -> Result<Self> {
        Ok(Self { from: number, deliveries: 0, latency: latencies()? })
    }

    /// Counts an event that a subscriber received for the first time, at `now`.
    pub(crate) fn count(&mut self, stamp: Stamp, now: u64) {
        let Stamp { number, due } = stamp;
        if number >= self.from {
            self.deliveries += 1;
            self.latency.saturating_record(now.saturating_sub(due));
        }
    }

    /// How many events were received, and the times from when each was due, in nanoseconds.
    pub(crate) fn into_parts(self) -> (u64, Histogram<u64>) {
        (self.deliveries, self.latency)
    }
}

/// A histogram of latencies, to three digits.
pub(crate) fn latencies() -> Result<Histogram<u64>> {
    let (least, most) = LATENCIES;
    Ok(Histogram::new_with_bounds(least, most, 3)?)
}
