//! One measurement: a fresh server, its idle subscribers' memory, then the CPU time of its deliveries.

use std::{
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};

use crate::{
    arguments::Plan,
    machine::Cores,
    publisher::{Clock, Schedule, publish},
    readings::{CpuTime, resident_memory},
    server::{Kind, Server},
    subscribers::Subscribers,
    summary::Measurement,
    tally::Tally,
    transport::Transport,
};

/// How long allocators are given to return what they don't need, before memory is read.
const SETTLE: Duration = Duration::from_secs(1);

/// How long to wait for the last events when all are published.
const GRACE: Duration = Duration::from_secs(5);

/// How long to look for events that come again.
const LINGER: Duration = Duration::from_millis(200);

/// The subscribers and events of the rehearsal.
const REHEARSAL: (usize, u64) = (10, 5);

/// How many events a second the rehearsal has.
const REHEARSAL_RATE: u32 = 100;

/// Measures a server once.
pub(crate) fn measure(
    plan: &Plan,
    cores: Cores,
    kind: Kind,
    transport: Transport,
) -> Result<Measurement> {
    let server = Server::start(kind, plan, cores)?;
    measure_on(&server, plan, transport).map_err(|error| anyhow!("{error:#}; {}", server.printed()))
}

fn measure_on(server: &Server, plan: &Plan, transport: Transport) -> Result<Measurement> {
    let clock = Clock::start();
    let bytes = usize::try_from(plan.bytes)?;
    rehearse(server, transport, clock, bytes)?;
    thread::sleep(SETTLE);
    let empty = resident_memory(server.pid())?;

    // The first second is not measured: caches and branch predictors learn, sockets grow their windows.
    let warm = u64::from(plan.rate);
    let last = warm + u64::from(plan.rate) * u64::from(plan.seconds);
    let count = usize::try_from(plan.subscribers)?;
    let tally = Tally::from(warm)?;
    let mut all = Subscribers::connect(server.public(), transport, count, clock, tally)?;
    all.receive(SETTLE, |_| false)?;
    let full = resident_memory(server.pid())?;

    let schedule = |numbers| Schedule { clock, numbers, rate: plan.rate, bytes };
    deliver(server, &mut all, schedule(0..warm))?;
    let before = CpuTime::of(server.pid())?;
    deliver(server, &mut all, schedule(warm..last))?;
    let cpu = CpuTime::of(server.pid())?.since(&before);
    all.receive(LINGER, |_| false)?;

    let faults = all.faults(last);
    let (deliveries, latency) = all.into_tally().into_parts();
    let growth = i128::from(full) - i128::from(empty);
    Ok(Measurement::new(plan.subscribers, cpu, deliveries, growth, latency, faults))
}

/// A few subscribers come, read a few events, and go, so that what the first of them costs a process
/// once is not counted as each one's memory.
fn rehearse(server: &Server, transport: Transport, clock: Clock, bytes: usize) -> Result<()> {
    let (count, events) = REHEARSAL;
    let tally = Tally::from(0)?;
    let mut few = Subscribers::connect(server.public(), transport, count, clock, tally)?;
    let schedule = Schedule { clock, numbers: 0..events, rate: REHEARSAL_RATE, bytes };
    deliver(server, &mut few, schedule)?;
    ensure!(few.have_all(events), "the first subscribers did not get the first events");
    Ok(())
}

/// Publishes, and reads until every subscriber has all of it or no more is to be expected.
fn deliver(server: &Server, all: &mut Subscribers, schedule: Schedule) -> Result<()> {
    let (last, length, address) = (schedule.numbers.end, schedule.length(), server.publish());
    thread::scope(|scope| {
        let publisher = thread::Builder::new()
            .name("publisher".into())
            .spawn_scoped(scope, move || publish(address, schedule))?;
        let mut finished = None;
        // The publisher gives up when it is too late, and so ends before this.
        let patience = length + 4 * GRACE;
        all.receive(patience, |all| all.have_all(last) || is_long_over(&publisher, &mut finished))?;
        publisher.join().map_err(|_| anyhow!("the publisher panicked"))?
    })
}

fn is_long_over<T>(publisher: &ScopedJoinHandle<'_, T>, finished: &mut Option<Instant>) -> bool {
    publisher.is_finished() && finished.get_or_insert_with(Instant::now).elapsed() >= GRACE
}
