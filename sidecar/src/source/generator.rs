//! The generator: numbered events at a fixed rate.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{self, Instant, MissedTickBehavior};
use weir_crds::v1alpha1::Generator;

use super::SourceState;
use crate::{event::Event, hub::Hub, intake::Posted};

/// Events are made in batches no more often than this: a timer for each of 100,000 would only heat.
const FINEST: Duration = Duration::from_millis(5);

/// The most events that one batch catches up on after the process was held up.
const MOST_AT_ONCE: u64 = 10_000;

/// Decides how many events are due. Sans-I/O.
#[derive(Debug)]
struct Schedule {
    rate: u64,
    per: Duration,
    made: u64,
}

impl Schedule {
    fn new(generator: &Generator) -> Self {
        let Generator { rate, per } = generator;
        Self { rate: u64::try_from(*rate).unwrap_or(0), per: per.get(), made: 0 }
    }

    /// How often to look.
    fn interval(&self) -> Duration {
        let gap = self.per.as_nanos() / u128::from(self.rate.max(1));
        Duration::from_nanos(u64::try_from(gap).unwrap_or(u64::MAX)).max(FINEST)
    }

    /// The numbers of the events that are due after `elapsed`.
    fn due(&mut self, elapsed: Duration) -> std::ops::Range<u64> {
        let owed = elapsed.as_nanos() * u128::from(self.rate) / self.per.as_nanos().max(1);
        let owed = u64::try_from(owed).unwrap_or(u64::MAX);
        // What the process was too busy to make in time is not made up for in one flood.
        self.made = self.made.max(owed.saturating_sub(MOST_AT_ONCE));
        let due = self.made..owed.max(self.made);
        self.made = due.end;
        due
    }
}

/// Publishes events until the task is dropped.
pub async fn run(generator: Generator, pipeline: String, hub: Arc<Hub>, state: Arc<SourceState>) {
    let mut schedule = Schedule::new(&generator);
    let mut ticks = time::interval(schedule.interval());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let source = format!("/{pipeline}/{}", state.name());
    // Apart from another run's events: their numbers start anew, too.
    let run = fastrand::u64(..);
    let started = Instant::now();
    loop {
        let now = ticks.tick().await;
        let due = schedule.due(now.saturating_duration_since(started));
        let events: Vec<_> = due.map(|number| event(&source, run, number)).collect();
        if !events.is_empty() {
            match hub.publish(events).await {
                Ok(appended) => {
                    state.accept(appended.accepted as u64);
                    state.set_fault(None);
                }
                // The numbers that are missing show how long it lasted.
                Err(error) => state.set_fault(Some(error.to_string())),
            }
        }
    }
}

fn event(source: &str, run: u64, number: u64) -> Posted {
    let event = Event {
        id: format!("{run:016x}-{number}").into(),
        type_: "weir.generator.tick".into(),
        source: source.into(),
        subject: None,
        time: jiff::Timestamp::now().to_string().into(),
        data_content_type: Some("application/json".into()),
        data_schema: None,
        extensions: Vec::new(),
        data: Bytes::from(format!("{{\"number\":{number}}}")),
    };
    Posted { event, idempotent: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: i32, per: &str) -> Schedule {
        Schedule::new(&Generator { rate, per: per.parse().unwrap() })
    }

    #[test]
    fn the_rate_is_kept_however_irregular_the_ticks_are() {
        let mut schedule = schedule(20, "1s");
        let made: Vec<_> = [0, 49, 50, 120, 999, 1_000]
            .map(|millis| schedule.due(Duration::from_millis(millis)).count())
            .into();
        assert_eq!(made, [0, 0, 1, 1, 17, 1]);
    }

    #[test]
    fn a_slow_generator_is_looked_at_as_rarely_as_it_makes_events() {
        assert_eq!(schedule(1, "1m").interval(), Duration::from_secs(60));
        assert_eq!(schedule(100_000, "1s").interval(), FINEST);
    }

    #[test]
    fn a_long_pause_is_not_made_up_for_in_one_flood() {
        let mut schedule = schedule(100_000, "1s");
        let due = schedule.due(Duration::from_secs(3_600));
        assert_eq!(due.count() as u64, MOST_AT_ONCE);
        assert_eq!(schedule.due(Duration::from_millis(3_600_001)).count(), 100);
    }
}
