//! CPU time per delivery over many pipelines with few subscribers each: so what a publish costs weighs
//! as much as what is written. It has no bar of its own but that nothing is missed.

use anyhow::Result;

use super::{
    Bench,
    deliveries::{self, COLUMNS, Load, NOTE},
};
use crate::{
    arguments::Streams,
    report::Report,
    summary::{Row, complete},
};

pub(crate) fn streams(bench: &Bench, plan: &Streams) -> Result<Report> {
    let &Streams { common: _, rate, seconds, bytes, pipelines, subscribers } = plan;
    let title = format!(
        "{pipelines} pipelines with {subscribers} subscribers each, {rate} events/s of {bytes} bytes \
         to them in turn, {} rounds of {seconds} s",
        bench.rounds
    );
    let mut report = Report::new(&title, bench.cores, &COLUMNS, NOTE);
    for &transport in &bench.transports {
        let load = Load {
            transport,
            subscribers: pipelines * subscribers,
            pipelines: pipelines.into(),
            stalled: 0,
            warm: (rate.into(), rate),
            rate,
            seconds,
            bytes,
            batch: 1,
        };
        let [floor, sidecar] = bench.rounds(|kind| deliveries::measure(bench, kind, &load))?;
        let name = transport.name();
        let (sidecar, floor) = (Row::of(&sidecar, &floor)?, Row::of(&floor, &floor)?);
        deliveries::add(&mut report, "floor", name, &floor);
        deliveries::add(&mut report, "sidecar", name, &sidecar);
        report.judge(complete(name, &floor, &sidecar));
    }
    Ok(report)
}
