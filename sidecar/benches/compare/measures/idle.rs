//! Memory per idle subscriber.

use std::thread;

use anyhow::{Result, ensure};

use super::{
    Bench,
    deliveries::{LINGER, SETTLE, deliver, rehearse},
};
use crate::{
    arguments::Idle,
    machine,
    publisher::{Clock, Schedule, publish},
    readings::resident_memory,
    report::Report,
    server::{Kind, Server, Setup},
    subscribers::{Crowd, Subscribers},
    summary::{Spread, Verdict},
    tally::Tally,
    transport::Transport,
};

const COLUMNS: [&str; 4] = ["server", "transport", "KiB idle", "range"];

const NOTE: &str = "\
Medians of the rounds. Memory is the growth of the process's resident set, divided by the subscribers,
once they have had an event: the kernel's socket buffers are not in it.";

pub(crate) fn idle(bench: &Bench, plan: &Idle) -> Result<Report> {
    let Idle { common: _, subscribers, max_kib } = plan;
    let title = format!("Idle subscribers, {} rounds", bench.rounds);
    let mut report = Report::new(&title, bench.cores, &COLUMNS, NOTE);
    for &subscribers in subscribers {
        for &transport in &bench.transports {
            let name = format!("{} \u{d7} {subscribers}", transport.name());
            let [floor, sidecar] = bench.rounds(|kind| {
                machine::allow_open_files(subscribers)?;
                bench.on(kind, Setup::of(subscribers), |server| {
                    measure(server, subscribers, transport)
                })
            })?;
            for (kind, rounds) in [(Kind::Floor, &floor), (Kind::Sidecar, &sidecar)] {
                let Spread { least, median, most } = Spread::of(rounds.iter().copied())?;
                let range = format!("{least:.1}\u{2013}{most:.1}");
                report.add([kind.name().to_owned(), name.clone(), format!("{median:.1}"), range]);
            }
            let kib = Spread::of(sidecar.into_iter())?.median;
            report.judge([Verdict {
                passed: kib <= *max_kib,
                says: format!("{name}: {kib:.1} KiB per idle subscriber; at most {max_kib}"),
            }]);
        }
    }
    Ok(report)
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn measure(server: &Server, subscribers: u32, transport: Transport) -> Result<f64> {
    rehearse(server, transport, 1)?;
    thread::sleep(SETTLE);
    publish(server.publish(), one(Clock::start()))?;
    thread::sleep(LINGER);
    let empty = resident_memory(server.pid())?;
    let crowd = Crowd {
        address: server.public(),
        transport,
        count: subscribers.into(),
        pipelines: 1,
        stalled: 0,
        places: 0,
    };
    let clock = Clock::start();
    let mut all = Subscribers::connect(crowd, clock, Tally::from(0)?)?;
    all.receive(SETTLE, |_| false)?;
    deliver(server, &mut all, one(clock))?;
    ensure!(all.have_all(1), "the subscribers did not get the event");
    all.receive(LINGER, |_| false)?;
    let growth = i128::from(resident_memory(server.pid())?) - i128::from(empty);
    Ok(growth as f64 / 1024.0 / f64::from(subscribers))
}

/// One event: the server's allocator returns what the handshakes needed when it is next called.
const fn one(clock: Clock) -> Schedule {
    Schedule { clock, numbers: 0..1, rate: 1, bytes: 256, pipelines: 1, batch: 1 }
}
