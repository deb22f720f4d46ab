//! What subscribers that don't read cost those that do, and the sidecar's memory.

use anyhow::Result;

use super::{
    Bench,
    deliveries::{self, COLUMNS, Load, NOTE},
};
use crate::{
    arguments::Stalled,
    report::Report,
    server::Kind,
    summary::{Measurement, Row, Spread, Verdict, complete_of, ratios},
};

/// Fills what the kernel buffers for a reader that doesn't read, at both ends, before anything is
/// measured.
const FILL: u32 = 512 * 1024;

/// At how many events a second.
const FILL_RATE: u32 = 50;

pub(crate) fn stalled(bench: &Bench, plan: &Stalled) -> Result<Report> {
    let &Stalled { common: _, rate, seconds, bytes, subscribers, stalled, max_ratio } = plan;
    let title = format!(
        "{stalled} of {subscribers} subscribers don't read; {rate} events/s of {bytes} bytes, {} \
         rounds of {seconds} s",
        bench.rounds
    );
    let mut report = Report::new(&title, bench.cores, &COLUMNS, NOTE);
    for &transport in &bench.transports {
        let load = |stalled| Load {
            transport,
            subscribers,
            pipelines: 1,
            stalled,
            warm: (FILL.div_ceil(bytes).into(), FILL_RATE),
            rate,
            seconds,
            bytes,
            batch: 1,
        };
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for round in 1..=bench.rounds {
            eprintln!("{} round {round} of {}", transport.name(), bench.rounds);
            without.push(deliveries::measure(bench, Kind::Sidecar, &load(0))?);
            with.push(deliveries::measure(bench, Kind::Sidecar, &load(stalled))?);
        }
        report.judge(judge(transport.name(), &without, &with, stalled, max_ratio)?);
        for (name, rounds) in [("none stalled", &without), ("some stalled", &with)] {
            deliveries::add(&mut report, name, transport.name(), &Row::of(rounds, &without)?);
        }
    }
    Ok(report)
}

fn judge(
    name: &str,
    without: &[Measurement],
    with: &[Measurement],
    stalled: u32,
    max_ratio: f64,
) -> Result<[Verdict; 3]> {
    let (quiet, row) = (Row::of(without, without)?, Row::of(with, without)?);
    let p99 = |rounds: &[Measurement]| rounds.iter().map(Measurement::p99).collect::<Vec<_>>();
    let ratio = Spread::of(ratios(&p99(with), &p99(without)))?;
    let growth = Spread::of(
        with.iter()
            .zip(without)
            .map(|(with, without)| (with.end_kib - without.end_kib) / f64::from(stalled)),
    )?;
    Ok([
        Verdict {
            passed: ratio.median <= max_ratio,
            says: format!(
                "{name}: the others' p99 is {:.2} times ({:.2}\u{2013}{:.2}) what it is without \
                 stalled readers; at most {max_ratio}. A stalled reader costs {:.0} KiB",
                ratio.median, ratio.least, ratio.most, growth.median
            ),
        },
        complete_of(&format!("{name}: without stalled readers"), &quiet),
        complete_of(&format!("{name}: beside stalled readers"), &row),
    ])
}
