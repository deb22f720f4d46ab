//! One measurement of deliveries: a fresh server, its idle subscribers' memory, then the CPU time and
//! the latency of what is delivered to them.

use std::{
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use hdrhistogram::Histogram;

use super::Bench;
use crate::{
    machine,
    publisher::{Clock, Schedule, publish},
    readings::{CpuTime, Used, resident_memory},
    report::Report,
    server::{Kind, Server, Setup},
    subscribers::{BATCH, Crowd, Subscribers},
    summary::{Measurement, Row},
    tally::{Tally, latencies},
    transport::Transport,
};

/// How long allocators are given to return what they don't need, before memory is read. mimalloc keeps it
/// for a second, and returns it when it is next called.
pub(super) const SETTLE: Duration = Duration::from_secs(2);

/// How long to wait for the last events when all are published.
const GRACE: Duration = Duration::from_secs(5);

/// How long to look for events that come again.
pub(super) const LINGER: Duration = Duration::from_millis(200);

/// The subscribers of the rehearsal, and the events of each pipeline: as many as come at once later, so
/// that the memory of so many handshakes is not taken for that of the idle.
const REHEARSAL: (u64, u64) = (BATCH, 5);

/// How many events a second the rehearsal has.
const REHEARSAL_RATE: u32 = 100;

/// The columns of a table of deliveries.
pub(super) const COLUMNS: [&str; 10] = [
    "server",
    "transport",
    "\u{b5}s a delivery",
    "\u{d7} floor (range)",
    "KiB idle",
    "p50 ms",
    "p99 ms",
    "lost",
    "duplicated",
    "out of order",
];

/// How such a table is to be read.
pub(super) const NOTE: &str = "\
Medians of the rounds; each round's ratio is to the floor of that round. Memory is the process's
resident set: the kernel's socket buffers are not in it. Latency is from when an event was due to
when the load generator, which reads one socket after the other, had read it.";

/// What is delivered, and to whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) transport: Transport,
    pub(super) subscribers: u32,
    pub(super) pipelines: u64,
    /// How many of the subscribers don't read.
    pub(super) stalled: u32,
    /// How many events, and at how many a second, come before those that are measured.
    pub(super) warm: (u64, u32),
    pub(super) rate: u32,
    pub(super) seconds: u32,
    pub(super) bytes: u32,
    /// How many events that are due go into one post.
    pub(super) batch: u64,
}

/// Measures a server once.
pub(super) fn measure(bench: &Bench, kind: Kind, load: &Load) -> Result<Measurement> {
    machine::allow_open_files(load.subscribers)?;
    let setup = Setup { pipelines: load.pipelines, ..Setup::of(load.subscribers) };
    bench.on(kind, setup, |server| measure_on(server, load))
}

fn measure_on(server: &Server, load: &Load) -> Result<Measurement> {
    let mut run = Run::begin(server, load)?;
    run.deliver_for(load.seconds)?;
    run.end()
}

/// A server with its subscribers, to whom a load is delivered once or by and by.
pub(super) struct Run<'a> {
    server: &'a Server,
    load: &'a Load,
    clock: Clock,
    all: Subscribers,
    /// The memory that the idle subscribers took, in bytes.
    growth: i128,
    /// The number of the next event.
    next: u64,
    cpu: Used,
    deliveries: u64,
    latency: Histogram<u64>,
}

impl<'a> Run<'a> {
    /// Has the subscribers of a fresh server connect, and delivers what comes before what is measured.
    pub(super) fn begin(server: &'a Server, load: &'a Load) -> Result<Self> {
        let clock = Clock::start();
        let &Load { transport, subscribers, pipelines, stalled, warm, .. } = load;
        rehearse(server, transport, pipelines)?;
        thread::sleep(SETTLE);
        let empty = resident_memory(server.pid())?;

        let (warm, warm_rate) = warm;
        let crowd = Crowd {
            address: server.public(),
            transport,
            count: subscribers.into(),
            pipelines,
            stalled: stalled.into(),
            places: 0,
        };
        let mut all = Subscribers::connect(crowd, clock, Tally::from(warm)?)?;
        all.receive(SETTLE, |_| false)?;
        let full = resident_memory(server.pid())?;

        deliver(server, &mut all, load.schedule(clock, 0, warm, warm_rate)?)?;
        let growth = i128::from(full) - i128::from(empty);
        let (next, latency) = (warm, latencies()?);
        let cpu = Used::default();
        Ok(Self { server, load, clock, all, growth, next, cpu, deliveries: 0, latency })
    }

    /// Delivers for so many seconds; how late what came was, in nanoseconds.
    pub(super) fn deliver_for(&mut self, seconds: u32) -> Result<Histogram<u64>> {
        let Self { server, load, clock, all, next, .. } = self;
        let last = *next + u64::from(load.rate) * u64::from(seconds);
        let schedule = load.schedule(*clock, *next, last, load.rate)?;
        let before = CpuTime::of(server.pid())?;
        deliver(server, all, schedule)?;
        self.cpu += CpuTime::of(server.pid())?.since(&before);
        self.next = last;
        let (deliveries, latency) = all.begin_tally(Tally::from(last)?).into_parts();
        self.deliveries += deliveries;
        self.latency.add(&latency)?;
        Ok(latency)
    }

    /// Sums up.
    pub(super) fn end(self) -> Result<Measurement> {
        let Self { server, load, mut all, growth, next, cpu, deliveries, latency, clock: _ } = self;
        let end = resident_memory(server.pid())?;
        all.receive(LINGER, |_| false)?;
        let faults = all.faults(next);
        Ok(Measurement::new(load.subscribers, cpu, deliveries, growth, latency, faults, end))
    }
}

impl Load {
    fn schedule(&self, clock: Clock, start: u64, end: u64, rate: u32) -> Result<Schedule> {
        let Self { pipelines, bytes, batch, .. } = *self;
        let bytes = usize::try_from(bytes)?;
        Ok(Schedule { clock, numbers: start..end, rate, bytes, pipelines, batch })
    }
}

/// Some subscribers come to each pipeline, read a few events, and go, so that what the first of them
/// costs a process once is not counted as each one's memory.
pub(super) fn rehearse(server: &Server, transport: Transport, pipelines: u64) -> Result<()> {
    let (few, events) = (REHEARSAL.0.max(pipelines), REHEARSAL.1 * pipelines);
    let (clock, tally) = (Clock::start(), Tally::from(0)?);
    let crowd =
        Crowd { address: server.public(), transport, count: few, pipelines, stalled: 0, places: 0 };
    let mut few = Subscribers::connect(crowd, clock, tally)?;
    let rate = REHEARSAL_RATE.max(u32::try_from(pipelines)?);
    let schedule = Schedule { clock, numbers: 0..events, rate, bytes: 256, pipelines, batch: 1 };
    deliver(server, &mut few, schedule)?;
    ensure!(few.have_all(events), "the first subscribers did not get the first events");
    Ok(())
}

/// Publishes, and reads until every subscriber has all of it or no more is to be expected.
pub(super) fn deliver(server: &Server, all: &mut Subscribers, schedule: Schedule) -> Result<()> {
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

/// Adds a row to a table of deliveries.
pub(super) fn add(report: &mut Report, server: &str, transport: &str, row: &Row) {
    let Row { micros, ratio, kib, p50, p99, faults, deliveries: _, waited } = row;
    report.note_wait(*waited);
    let ratio = format!("{:.2} ({:.2}\u{2013}{:.2})", ratio.median, ratio.least, ratio.most);
    report.add([
        server.to_owned(),
        transport.to_owned(),
        format!("{micros:.2}"),
        ratio,
        format!("{kib:.1}"),
        format!("{:.2}", p50.median),
        format!("{:.2}", p99.median),
        faults.lost.to_string(),
        faults.duplicated.to_string(),
        faults.out_of_order.to_string(),
    ]);
}
