//! How many events a second are accepted: posted one by one and in batches, beside a floor that only
//! answers. It has no bar of its own: what the floor doesn't do is the point of a publish.

use std::{iter, time::Duration};

use anyhow::Result;

use super::Bench;
use crate::{
    arguments::Ingest,
    http::post,
    machine,
    payload::Stamp,
    posters::Posters,
    readings::{CpuTime, Used},
    report::Report,
    server::{Kind, Server, pipeline},
    summary::{Spread, ratios},
};

const COLUMNS: [&str; 5] =
    ["server", "posts", "events/s", "\u{d7} floor (range)", "CPU \u{b5}s an event"];

const NOTE: &str = "\
Medians of the rounds; each round's ratio is to the floor of that round. Each connection posts again
as soon as it is answered. No subscriber is connected.";

/// How long caches and branch predictors have to learn.
const WARM: Duration = Duration::from_secs(1);

/// One server, measured once.
struct Outcome {
    rate: f64,
    micros: f64,
    waited: f64,
}

pub(crate) fn ingest(bench: &Bench, plan: &Ingest) -> Result<Report> {
    let &Ingest { common: _, seconds, bytes, connections, batch } = plan;
    let title = format!(
        "Events of {bytes} bytes posted by {connections} connections, {} rounds of {seconds} s",
        bench.rounds
    );
    let mut report = Report::new(&title, bench.cores, &COLUMNS, NOTE);
    for batch in [1, batch] {
        let [floor, sidecar] = bench.rounds(|kind| {
            machine::allow_open_files(connections)?;
            bench.on(kind, connections, 1, |server| measure(server, plan, batch))
        })?;
        let rates = |outcomes: &[Outcome]| outcomes.iter().map(|it| it.rate).collect::<Vec<_>>();
        for (kind, outcomes) in [(Kind::Floor, &floor), (Kind::Sidecar, &sidecar)] {
            let ratio = Spread::of(ratios(&rates(outcomes), &rates(&floor)))?;
            report.note_wait(outcomes.iter().map(|it| it.waited).fold(0.0, f64::max));
            report.add([
                kind.name().to_owned(),
                if batch == 1 { "single".to_owned() } else { format!("of {batch}") },
                format!("{:.0}", Spread::of(rates(outcomes).into_iter())?.median),
                format!("{:.2} ({:.2}\u{2013}{:.2})", ratio.median, ratio.least, ratio.most),
                format!("{:.2}", Spread::of(outcomes.iter().map(|it| it.micros))?.median),
            ]);
        }
    }
    Ok(report)
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn measure(server: &Server, plan: &Ingest, batch: u32) -> Result<Outcome> {
    let payload = Stamp { number: 0, due: 0 }.payload(usize::try_from(plan.bytes)?);
    let payloads: Vec<_> = iter::repeat_n(payload, usize::try_from(batch)?).collect();
    let request = post(&pipeline(0), &payloads);
    let mut posters = Posters::connect(server.publish(), plan.connections, &request)?;
    posters.post_for(WARM)?;
    let before = CpuTime::of(server.pid())?;
    let posts = posters.post_for(Duration::from_secs(plan.seconds.into()))?;
    let Used { ran, waited } = CpuTime::of(server.pid())?.since(&before);
    let events = (posts * u64::from(batch)) as f64;
    Ok(Outcome {
        rate: events / f64::from(plan.seconds),
        micros: ran.as_secs_f64() * 1e6 / events,
        waited: waited.div_duration_f64(ran),
    })
}
