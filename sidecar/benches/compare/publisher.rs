//! Publishes events at a fixed rate, whatever the server does (an open loop).

use std::{
    net::SocketAddr,
    ops::Range,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{caller::Caller, http::post, payload::Stamp, server::pipeline};

/// A server that holds up its publisher for longer than this in all is no match for the rate.
const MOST_BEHIND: Duration = Duration::from_secs(5);

/// The server, or the machine, is no match for the rate.
#[derive(Debug, thiserror::Error)]
#[error("the server or this machine is too slow for {rate} events/s")]
pub(crate) struct TooSlow {
    rate: u32,
}

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
    /// To how many pipelines they go, in turn.
    pub(crate) pipelines: u64,
    /// How many that are due, of one pipeline, go into one post.
    pub(crate) batch: u64,
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
        let count = u32::try_from(self.numbers.end - self.numbers.start).unwrap_or(u32::MAX);
        Duration::from_secs(1) * count / self.rate
    }
}

/// Publishes the events of a schedule, each when it is due, or at once when it is overdue because the
/// server took its time with those before.
pub(crate) fn publish(address: SocketAddr, schedule: Schedule) -> Result<()> {
    let Schedule { clock, numbers, rate, bytes, pipelines, batch } = schedule;
    let mut caller = Caller::connect(address)?;
    let interval = Duration::from_secs(1) / rate;
    let (mut due, mut next) = (Instant::now() + interval, numbers.start);
    while next < numbers.end {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let (first, target) = (next, pipeline(next % pipelines));
        let mut payloads = Vec::new();
        loop {
            payloads.push(Stamp { number: next, due: clock.reading(due) }.payload(bytes));
            (due, next) = (due + interval, next + 1);
            let full = payloads.len() as u64 >= batch || pipelines > 1;
            if full || next == numbers.end || due > Instant::now() {
                break;
            }
        }
        let behind = Instant::now().saturating_duration_since(due);
        if behind > MOST_BEHIND {
            return Err(TooSlow { rate }.into());
        }
        caller.call(&post(&target, &payloads)).with_context(|| format!("event {first}"))?;
    }
    Ok(())
}
