//! How soon subscribers that were all reset at once are back: the sidecar's when each has all that it
//! missed, the floor's, which remembers nothing, when each is merely connected.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{
    Bench,
    deliveries::{LINGER, SETTLE, deliver, rehearse},
};
use crate::{
    arguments::Storm,
    machine,
    publisher::{Clock, Schedule, publish},
    report::Report,
    sequence::Faults,
    server::{Kind, Server, Setup},
    subscribers::{Crowd, Subscribers},
    summary::{Spread, Verdict, faultless, ratios},
    tally::Tally,
    transport::Transport,
};

/// How many events a second are published beforehand.
const RATE: u32 = 50;

/// One that isn't back by then won't be.
const PATIENCE: Duration = Duration::from_secs(30);

const COLUMNS: [&str; 5] =
    ["server", "transport", "back after ms", "\u{d7} floor (range)", "events"];

const NOTE: &str = "\
Medians of the rounds; each round's ratio is to the floor of that round. The time is from the resets to
when the last subscriber is back: at the floor it is then connected; at the sidecar it has resumed by its
cursor and has every event since.";

/// What became of one storm.
struct Outcome {
    millis: f64,
    faults: Faults,
    deliveries: u64,
}

pub(crate) fn storm(bench: &Bench, plan: &Storm) -> Result<Report> {
    let &Storm { common: _, subscribers, missed, places, bytes, max_ratio } = plan;
    let title = format!(
        "{subscribers} subscribers reset at once, each {missed} to {} events of {bytes} bytes behind, \
         {} rounds",
        missed + places - 1,
        bench.rounds
    );
    let mut report = Report::new(&title, bench.cores, &COLUMNS, NOTE);
    for &transport in &bench.transports {
        let [floor, sidecar] = bench.rounds(|kind| {
            machine::allow_open_files(subscribers)?;
            bench.on(kind, Setup::of(subscribers), |server| measure(server, kind, plan, transport))
        })?;
        let millis = |outcomes: &[Outcome]| outcomes.iter().map(|it| it.millis).collect::<Vec<_>>();
        let (name, least) = (transport.name(), millis(&floor));
        for (kind, outcomes) in [(Kind::Floor, &floor), (Kind::Sidecar, &sidecar)] {
            let ratio = Spread::of(ratios(&millis(outcomes), &least))?;
            report.add([
                kind.name().to_owned(),
                name.to_owned(),
                format!("{:.0}", Spread::of(millis(outcomes).into_iter())?.median),
                format!("{:.2} ({:.2}\u{2013}{:.2})", ratio.median, ratio.least, ratio.most),
                outcomes.iter().map(|outcome| outcome.deliveries).sum::<u64>().to_string(),
            ]);
        }
        let ratio = Spread::of(ratios(&millis(&sidecar), &least))?;
        report.judge([
            Verdict {
                passed: ratio.median <= max_ratio,
                says: format!(
                    "{name}: all are back and caught up after {:.2} times the time in which the \
                     floor has them connected; at most {max_ratio}",
                    ratio.median
                ),
            },
            faultless(
                &format!("{name}: what the sidecar's missed,"),
                sidecar.iter().map(|outcome| outcome.deliveries).sum(),
                sidecar.iter().map(|outcome| outcome.faults).sum(),
            ),
        ]);
    }
    Ok(report)
}

fn measure(server: &Server, kind: Kind, plan: &Storm, transport: Transport) -> Result<Outcome> {
    let &Storm { common: _, subscribers, missed, places, bytes, max_ratio: _ } = plan;
    rehearse(server, transport, 1)?;
    let (clock, places) = (Clock::start(), u64::from(places));
    let crowd = Crowd {
        address: server.public(),
        transport,
        count: subscribers.into(),
        pipelines: 1,
        stalled: 0,
        places,
    };
    let last = places + u64::from(missed);
    let mut all = Subscribers::connect(crowd, clock, Tally::from(places)?)?;
    let bytes = usize::try_from(bytes)?;
    let schedule = |numbers| Schedule { clock, numbers, rate: RATE, bytes, pipelines: 1, batch: 1 };
    deliver(server, &mut all, schedule(0..places))?;
    ensure!(all.have_all(places), "the first events did not come");
    // Nobody reads: these are on their way when the connections break.
    publish(server.publish(), schedule(places..last))?;
    std::thread::sleep(SETTLE);

    let start = Instant::now();
    all.break_and_return()?;
    match kind {
        Kind::Floor => all.wait_until_open()?,
        Kind::Sidecar => {
            all.receive(PATIENCE, |all| all.have_all(last))?;
        }
    }
    let millis = start.elapsed().as_secs_f64() * 1e3;
    all.receive(LINGER, |_| false)?;
    let faults = match kind {
        Kind::Floor => Faults::default(),
        Kind::Sidecar => all.faults(last),
    };
    let (deliveries, _) = all.into_tally().into_parts();
    Ok(Outcome { millis, faults, deliveries })
}
