//! Publishes events at a fixed rate, whatever the server does (an open loop).

use std::{
    net::SocketAddr,
    ops::Range,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{caller::Caller, payload::Stamp};

/// A server that holds up its publisher for longer than this in all is no match for the rate.
const MOST_BEHIND: Duration = Duration::from_secs(5);

/// The load generator's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

/// Which events to publish, and when.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    pub(crate) clock: Clock,
    /// The events' numbers.
    pub(crate) numbers: Range<u64>,
    /// How many a second.
    pub(crate) rate: u32,
    /// The size of their payloads.
    pub(crate) bytes: usize,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since the start.
    pub(crate) fn now(self) -> u64 {
        self.reading(Instant::now())
    }

    fn reading(self, instant: Instant) -> u64 {
        let elapsed = instant.saturating_duration_since(self.0);
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Schedule {
    /// How long it takes.
    pub(crate) fn length(&self) -> Duration {
        let Self { clock: _, numbers, rate, bytes: _ } = self;
        let count = u32::try_from(numbers.end - numbers.start).unwrap_or(u32::MAX);
        Duration::from_secs(1) * count / *rate
    }
}

/// Publishes the events of a schedule, each when it is due, or at once when it is overdue because the
/// server took its time with those before.
pub(crate) fn publish(address: SocketAddr, schedule: Schedule) -> Result<()> {
    let Schedule { clock, numbers, rate, bytes } = schedule;
    let mut caller = Caller::connect(address)?;
    let interval = Duration::from_secs(1) / rate;
    let mut due = Instant::now() + interval;
    for number in numbers {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let behind = Instant::now().saturating_duration_since(due);
        ensure!(behind < MOST_BEHIND, "the server or this machine is too slow for {rate} events/s");
        let payload = Stamp { number, due: clock.reading(due) }.payload(bytes);
        caller.call(request(&payload).as_bytes()).with_context(|| format!("event {number}"))?;
        due += interval;
    }
    Ok(())
}

fn request(payload: &str) -> String {
    format!(
        "POST /bench/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{payload}",
        payload.len()
    )
}
