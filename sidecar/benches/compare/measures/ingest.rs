//! How many events a second are accepted: posted one by one and in batches, into memory and onto the
//! disk. The floor only answers, so it is no bar: what it doesn't do is the point of a publish. The disk's
//! bar is what the disk itself can do.

use std::{
    fs::File,
    io::Write as _,
    iter,
    time::{Duration, Instant},
};

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
    server::{Kind, Server, Setup, Storage, pipeline},
    summary::{Spread, Verdict, ratios},
};

const COLUMNS: [&str; 5] =
    ["server", "posts", "events/s", "\u{d7} floor (range)", "CPU \u{b5}s an event"];

const NOTE: &str = "\
Medians of the rounds; each round's ratio is to the floor of that round. Each connection posts again
as soon as it is answered. No subscriber is connected. The disk's limit is that of a loop that writes the
payloads of as many events as all connections have under way, and waits until the disk has them.";

/// How long caches and branch predictors have to learn.
const WARM: Duration = Duration::from_secs(1);

/// One server, measured once.
struct Outcome {
    rate: f64,
    micros: f64,
    waited: f64,
}

pub(crate) fn ingest(bench: &Bench, plan: &Ingest) -> Result<Report> {
    let Ingest { common: _, seconds, bytes, connections, batch, storage, min_rate } = plan;
    let title = format!(
        "Events of {bytes} bytes posted by {connections} connections, {} rounds of {seconds} s",
        bench.rounds
    );
    machine::allow_open_files(*connections)?;
    let mut report = Report::new(&title, bench.cores, &COLUMNS, NOTE);
    for batch in [1, *batch] {
        let posts = if batch == 1 { "single".to_owned() } else { format!("of {batch}") };
        for (place, &storage) in storage.iter().enumerate() {
            let [floor, sidecar] =
                bench.rounds(|kind| measure(bench, kind, storage, plan, batch))?;
            if place == 0 {
                add(&mut report, "floor", &posts, &floor, &floor)?;
            }
            match storage {
                Storage::Memory => add(&mut report, "in memory", &posts, &sidecar, &floor)?,
                Storage::Disk => {
                    add(&mut report, "on disk", &posts, &sidecar, &floor)?;
                    let limit = limit_of_the_disk(plan, batch)?;
                    // An event a post is bounded by what a post costs.
                    let bar = if batch > 1 { limit.min(*min_rate) } else { 0.0 };
                    report.judge([held(&posts, median(&sidecar)?, limit, bar)]);
                }
            }
        }
    }
    Ok(report)
}

fn held(posts: &str, rate: f64, limit: f64, bar: f64) -> Verdict {
    Verdict {
        passed: rate >= bar,
        says: format!(
            "{posts}: the disk log takes {rate:.0} events/s, where the disk's limit is {limit:.0}; at \
             least {bar:.0}"
        ),
    }
}

fn add(
    report: &mut Report,
    server: &str,
    posts: &str,
    outcomes: &[Outcome],
    floor: &[Outcome],
) -> Result<()> {
    let rates = |outcomes: &[Outcome]| outcomes.iter().map(|it| it.rate).collect::<Vec<_>>();
    let ratio = Spread::of(ratios(&rates(outcomes), &rates(floor)))?;
    report.note_wait(outcomes.iter().map(|it| it.waited).fold(0.0, f64::max));
    report.add([
        server.to_owned(),
        posts.to_owned(),
        format!("{:.0}", median(outcomes)?),
        format!("{:.2} ({:.2}\u{2013}{:.2})", ratio.median, ratio.least, ratio.most),
        format!("{:.2}", Spread::of(outcomes.iter().map(|it| it.micros))?.median),
    ]);
    Ok(())
}

fn median(outcomes: &[Outcome]) -> Result<f64> {
    Ok(Spread::of(outcomes.iter().map(|it| it.rate))?.median)
}

fn measure(
    bench: &Bench,
    kind: Kind,
    storage: Storage,
    plan: &Ingest,
    batch: u32,
) -> Result<Outcome> {
    let setup = Setup { storage, ..Setup::of(plan.connections) };
    bench.on(kind, setup, |server| measure_on(server, plan, batch))
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn measure_on(server: &Server, plan: &Ingest, batch: u32) -> Result<Outcome> {
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

/// How many events a second the disk takes from whoever does nothing else, where the sidecar's data lie.
fn limit_of_the_disk(plan: &Ingest, batch: u32) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let mut file = File::create(folder.path().join("log"))?;
    let events = plan.connections * batch;
    let group = vec![b'x'; usize::try_from(events * plan.bytes)?];
    let (start, mut groups) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(plan.seconds.into()) {
        file.write_all(&group)?;
        file.sync_data()?;
        groups += 1;
    }
    Ok(f64::from(groups) * f64::from(events) / start.elapsed().as_secs_f64())
}
