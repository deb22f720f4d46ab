//! CPU time per delivery at a modest rate: an event is written to each subscriber by itself.

use anyhow::Result;

use super::{
    Bench,
    deliveries::{self, COLUMNS, Load, NOTE},
};
use crate::{
    arguments::{Fanout, Traffic},
    report::Report,
    summary::{Row, complete, cost},
};

pub(crate) fn fanout(bench: &Bench, plan: &Fanout) -> Result<Report> {
    let Fanout { common: _, traffic, subscribers, max_ratio } = plan;
    let &Traffic { rate, seconds, bytes } = traffic;
    let title = format!(
        "{rate} events/s of {bytes} bytes to each subscriber, {} rounds of {seconds} s",
        bench.rounds
    );
    let mut report = Report::new(&title, bench.cores, &COLUMNS, NOTE);
    for &subscribers in subscribers {
        for &transport in &bench.transports {
            let load = Load {
                transport,
                subscribers,
                pipelines: 1,
                stalled: 0,
                // The first second: caches and branch predictors learn, sockets grow their windows.
                warm: (rate.into(), rate),
                rate,
                seconds,
                bytes,
                batch: 1,
            };
            let [floor, sidecar] = bench.rounds(|kind| deliveries::measure(bench, kind, &load))?;
            let name = format!("{} \u{d7} {subscribers}", transport.name());
            let (sidecar, floor) = (Row::of(&sidecar, &floor)?, Row::of(&floor, &floor)?);
            deliveries::add(&mut report, "floor", &name, &floor);
            deliveries::add(&mut report, "sidecar", &name, &sidecar);
            report.judge([cost(&name, &sidecar, *max_ratio)]);
            report.judge(complete(&name, &floor, &sidecar));
        }
    }
    Ok(report)
}
