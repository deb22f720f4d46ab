//! The highest rate at which every subscriber has every event in time. The floor writes each event by
//! itself; the sidecar joins what a subscriber is behind by.

use anyhow::Result;

use super::{
    Bench,
    deliveries::{self, Load},
};
use crate::{
    arguments::Rate,
    publisher::TooSlow,
    report::Report,
    search::highest,
    server::Kind,
    summary::{Spread, Verdict, ratios},
    transport::Transport,
};

/// The rate that is tried first.
const START: u32 = 100;

/// How many events that are due a publisher posts at once: one that waits for each answer can't post
/// thousands of events a second by themselves to a server whose core is busy with writing.
const BATCH: u64 = 100;

const COLUMNS: [&str; 4] = ["server", "transport", "deliveries/s", "\u{d7} floor (range)"];

const NOTE: &str = "\
Medians of the rounds; each round's ratio is to the floor of that round. The highest rate is searched
for in steps of ten percent. An event that is due when another is being posted goes into the next post.";

pub(crate) fn rate(bench: &Bench, plan: &Rate) -> Result<Report> {
    let &Rate { common: _, subscribers, seconds, bytes, p99, min_ratio } = plan;
    let title = format!(
        "The highest rate, to {subscribers} subscribers with events of {bytes} bytes, at which \
         nothing is missed and p99 is at most {p99} ms, {} rounds of {seconds} s each",
        bench.rounds
    );
    let mut report = Report::new(&title, bench.cores, &COLUMNS, NOTE);
    for &transport in &bench.transports {
        let [floor, sidecar] = bench.rounds(|kind| search(bench, plan, kind, transport))?;
        let ratio = Spread::of(ratios(&sidecar, &floor))?;
        let name = transport.name();
        for (kind, rates) in [(Kind::Floor, &floor), (Kind::Sidecar, &sidecar)] {
            let ratio = Spread::of(ratios(rates, &floor))?;
            report.add([
                kind.name().to_owned(),
                name.to_owned(),
                format!("{:.0}", Spread::of(rates.iter().copied())?.median),
                format!("{:.2} ({:.2}\u{2013}{:.2})", ratio.median, ratio.least, ratio.most),
            ]);
        }
        report.judge([Verdict {
            passed: ratio.median >= min_ratio,
            says: format!(
                "{name}: {:.2} times the floor's deliveries a second; at least {min_ratio}",
                ratio.median
            ),
        }]);
    }
    Ok(report)
}

/// The deliveries a second at the highest rate that holds.
fn search(bench: &Bench, plan: &Rate, kind: Kind, transport: Transport) -> Result<f64> {
    let &Rate { common: _, subscribers, seconds, bytes, p99, min_ratio: _ } = plan;
    let rate = highest(START, |rate| {
        let load = Load {
            transport,
            subscribers,
            pipelines: 1,
            stalled: 0,
            warm: (rate.into(), rate),
            rate,
            seconds,
            bytes,
            batch: BATCH,
        };
        let holds = match deliveries::measure(bench, kind, &load) {
            Ok(measured) => measured.faults.is_none() && measured.p99() <= p99,
            Err(error) if error.is::<TooSlow>() => false,
            Err(error) => return Err(error),
        };
        let says = if holds { "holds" } else { "does not hold" };
        eprintln!("{} {}: {rate} events/s {says}", transport.name(), kind.name());
        Ok(holds)
    })?;
    Ok(f64::from(rate) * f64::from(subscribers))
}
