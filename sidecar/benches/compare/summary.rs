//! Sums measurements up, and holds them to the bars. No I/O.

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;

use crate::{readings::Used, sequence::Faults};

/// One server, measured once.
#[derive(Debug, Clone)]
pub(crate) struct Measurement {
    /// The server's CPU time for one delivery, in microseconds.
    pub(crate) micros: f64,
    /// The server's memory for one idle subscriber, in KiB.
    pub(crate) kib: f64,
    /// From when an event was due to when a subscriber had it, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// What was wrong with what the subscribers received.
    pub(crate) faults: Faults,
    /// Events that subscribers received while the CPU time was measured.
    pub(crate) deliveries: u64,
    /// How long the server waited for its core, as a part of how long it ran.
    pub(crate) waited: f64,
    /// The server's memory when all was delivered, in KiB.
    pub(crate) end_kib: f64,
}

/// One server over one transport, in all rounds.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// The median.
    pub(crate) micros: f64,
    /// The CPU time as a multiple of the floor's in the same round.
    pub(crate) ratio: Spread,
    /// The median.
    pub(crate) kib: f64,
    /// The median of each round's latencies, in milliseconds.
    pub(crate) p50: Spread,
    /// The 99th percentile of each round's latencies, in milliseconds.
    pub(crate) p99: Spread,
    /// In all rounds together.
    pub(crate) faults: Faults,
    /// In all rounds together.
    pub(crate) deliveries: u64,
    /// How long the server waited for its core, as a part of how long it ran: in the worst round.
    pub(crate) waited: f64,
}

/// A few values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

/// Whether a bar was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) passed: bool,
    /// What was measured, and what was asked for.
    pub(crate) says: String,
}

impl Measurement {
    /// Divides what was read by what it was for: `growth` is the bytes of memory for all subscribers.
    #[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
    pub(crate) fn new(
        subscribers: u32,
        cpu: Used,
        deliveries: u64,
        growth: i128,
        latency: Histogram<u64>,
        faults: Faults,
        end: u64,
    ) -> Self {
        let Used { ran, waited } = cpu;
        let micros = ran.as_secs_f64() * 1e6 / deliveries as f64;
        let waited = waited.div_duration_f64(ran);
        let kib = growth as f64 / 1024.0 / f64::from(subscribers);
        let end_kib = end as f64 / 1024.0;
        Self { micros, kib, latency, faults, deliveries, waited, end_kib }
    }

    /// The 99th percentile of the latency, in milliseconds.
    pub(crate) fn p99(&self) -> f64 {
        p99(&self.latency)
    }
}

/// The 99th percentile of latencies in nanoseconds, in milliseconds.
pub(crate) fn p99(latency: &Histogram<u64>) -> f64 {
    millis(latency.value_at_quantile(0.99))
}

impl Row {
    /// Sums up a server's rounds, given the floor's.
    pub(crate) fn of(rounds: &[Measurement], floor: &[Measurement]) -> Result<Self> {
        let ratios = rounds.iter().zip(floor).map(|(round, floor)| round.micros / floor.micros);
        let p50 = |round: &Measurement| millis(round.latency.value_at_quantile(0.5));
        Ok(Self {
            micros: Spread::of(rounds.iter().map(|round| round.micros))?.median,
            ratio: Spread::of(ratios)?,
            kib: Spread::of(rounds.iter().map(|round| round.kib))?.median,
            p50: Spread::of(rounds.iter().map(p50))?,
            p99: Spread::of(rounds.iter().map(Measurement::p99))?,
            faults: rounds.iter().map(|round| round.faults).sum(),
            deliveries: rounds.iter().map(|round| round.deliveries).sum(),
            waited: Spread::of(rounds.iter().map(|round| round.waited))?.most,
        })
    }
}

impl Spread {
    /// Of an even number of values the median is the mean of the two in the middle.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Result<Self> {
        let mut values: Vec<_> = values.collect();
        values.sort_by(f64::total_cmp);
        ensure!(!values.is_empty(), "nothing was measured");
        let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        let last = values.len() - 1;
        let median = f64::midpoint(at(last / 2), at(last.div_ceil(2)));
        Ok(Self { least: at(0), median, most: at(last) })
    }

    /// Without the quarter of the values that is least, and the quarter that is most.
    pub(crate) fn of_middle_half(values: impl Iterator<Item = f64>) -> Result<Self> {
        let mut values: Vec<_> = values.collect();
        values.sort_by(f64::total_cmp);
        let quarter = values.len() / 4;
        Self::of(values.iter().copied().skip(quarter).take(values.len() - 2 * quarter))
    }
}

/// Each round's figure as a multiple of the floor's in the same round.
pub(crate) fn ratios(rounds: &[f64], floor: &[f64]) -> impl Iterator<Item = f64> {
    rounds.iter().zip(floor).map(|(round, floor)| round / floor)
}

/// Holds the CPU time of a delivery to a bar.
pub(crate) fn cost(name: &str, sidecar: &Row, max_ratio: f64) -> Verdict {
    let ratio = sidecar.ratio.median;
    Verdict {
        passed: ratio <= max_ratio,
        says: format!(
            "{name}: {ratio:.2} times the floor's CPU time per delivery; at most {max_ratio}"
        ),
    }
}

/// Whether both had every event once and in order. A floor that loses events has less to do, and is
/// none.
pub(crate) fn complete(name: &str, floor: &Row, sidecar: &Row) -> [Verdict; 2] {
    [
        complete_of(&format!("{name}: the sidecar's"), sidecar),
        complete_of(&format!("{name}: the floor's"), floor),
    ]
}

/// Whether every event came once and in order.
pub(crate) fn complete_of(whose: &str, row: &Row) -> Verdict {
    faultless(whose, row.deliveries, row.faults)
}

/// Whether there were deliveries, and no fault in them.
pub(crate) fn faultless(whose: &str, deliveries: u64, faults: Faults) -> Verdict {
    let Faults { lost, duplicated, out_of_order } = faults;
    Verdict {
        passed: faults.is_none() && deliveries > 0,
        says: format!(
            "{whose} {deliveries} deliveries: {lost} lost, {duplicated} duplicated, {out_of_order} \
             out of order; none allowed"
        ),
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn millis(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}
