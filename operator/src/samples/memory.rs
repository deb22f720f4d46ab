//! Decides whether a replica's last answer serves a question, or the replica is to be asked again.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::{Answer, Held, Query};

/// How long a replica is left alone after its first failure; each further one doubles it.
const FIRST: Duration = Duration::from_secs(2);
/// The longest that a replica is left alone: a few intervals, so that one that answers again is soon
/// heard, while a thousand that never answer cost little.
const LONGEST: Duration = Duration::from_secs(30);

/// What is remembered of one replica.
#[derive(Debug, Default)]
pub(super) struct Memory {
    last: Option<Last>,
    /// What that takes of the memory for what is kept.
    held: Held,
    failures: u32,
}

#[derive(Debug)]
struct Last {
    address: SocketAddr,
    at: Instant,
    answer: Answer,
}

impl Memory {
    /// The remembered answer, if it serves `query` to the replica at `address`.
    pub(super) fn recall(
        &self,
        query: &Query,
        address: SocketAddr,
        now: Instant,
    ) -> Option<Answer> {
        let Query { since, max_age, objectives: _ } = query;
        let last = self.last.as_ref().filter(|last| last.address == address)?;
        let age = now.duration_since(last.at);
        let serves = match &last.answer {
            Ok(reading) => age <= *max_age && reading.since <= *since,
            Err(_) => age < self.pause(),
        };
        serves.then(|| last.answer.clone())
    }

    /// Remembers what came of asking the replica at `address`.
    pub(super) fn record(&mut self, answer: Answer, address: SocketAddr, now: Instant) {
        let moved = self.last.as_ref().is_some_and(|last| last.address != address);
        let before = if moved { 0 } else { self.failures };
        self.failures = if answer.is_ok() { 0 } else { before.saturating_add(1) };
        self.last = Some(Last { address, at: now, answer });
        self.held = Held::default();
    }

    /// Keeps the last answer, which takes so much; without that it is not kept. Whoever is asked for it next asks
    /// the replica.
    pub(super) fn keep(&mut self, held: Option<Held>) {
        if held.is_none() {
            self.last = None;
        }
        self.held = held.unwrap_or_default();
    }

    fn pause(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1);
        FIRST.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_slo::{Instance, SAMPLES_V1, Samples, Timestamp};

    use super::super::{FetchError, Reading, SampleError};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn address() -> SocketAddr {
        "10.0.0.1:7071".parse().unwrap()
    }

    fn read(since: u64, taken: Instant) -> Answer {
        let instance = Instance {
            id: "a".to_owned(),
            started_at: Timestamp::default(),
            version: String::new(),
        };
        let samples = Samples {
            api_version: SAMPLES_V1.to_owned(),
            instance,
            now: Timestamp::default(),
            refused: None,
            pipelines: Vec::new(),
        };
        let since = Timestamp::from_millis(since);
        Ok(Arc::new(Reading { samples, since, taken, held: Held::default() }))
    }

    fn failed() -> Answer {
        Err(SampleError::Fetch(FetchError::Status { status: 500 }))
    }

    fn query(since: u64, max_age: Duration) -> Query {
        Query { since: Timestamp::from_millis(since), max_age, objectives: 1 }
    }

    #[test]
    fn an_answer_serves_while_it_is_fresh_and_reaches_back_far_enough() {
        let now = Instant::now();
        let mut memory = Memory::default();
        assert!(memory.recall(&query(0, SECOND), address(), now).is_none());
        memory.record(read(100, now), address(), now);
        assert!(memory.recall(&query(100, SECOND), address(), now + SECOND).is_some());
        assert!(memory.recall(&query(99, SECOND), address(), now).is_none());
        assert!(memory.recall(&query(100, SECOND), address(), now + 2 * SECOND).is_none());
    }

    #[test]
    fn a_failing_replica_is_left_alone_for_longer_and_longer_up_to_the_cap() {
        let now = Instant::now();
        let mut memory = Memory::default();
        let any_age = query(0, Duration::ZERO);
        for pause in [2, 4, 8, 16, 30, 30] {
            memory.record(failed(), address(), now);
            let recalled = |after| memory.recall(&any_age, address(), now + after * SECOND);
            assert!(recalled(pause - 1).is_some_and(|answer| answer.is_err()), "{pause}");
            assert!(recalled(pause).is_none(), "{pause}");
        }
    }

    #[test]
    fn an_answer_that_is_not_kept_serves_nobody_else_and_forgives_all_failures() {
        let now = Instant::now();
        let mut memory = Memory::default();
        memory.record(failed(), address(), now);
        memory.record(read(100, now), address(), now);
        memory.keep(None);
        assert!(memory.recall(&query(100, SECOND), address(), now).is_none());
        assert_eq!(memory.failures, 0);
        memory.record(read(100, now), address(), now);
        memory.keep(Some(Held::default()));
        assert!(memory.recall(&query(100, SECOND), address(), now).is_some());
    }

    #[test]
    fn one_success_forgives_all_failures() {
        let now = Instant::now();
        let mut memory = Memory::default();
        for _ in 0..9 {
            memory.record(failed(), address(), now);
        }
        memory.record(read(0, now), address(), now);
        memory.record(failed(), address(), now);
        assert!(memory.recall(&query(0, SECOND), address(), now + FIRST).is_none());
    }

    #[test]
    fn a_replica_that_moved_is_asked_at_once_and_starts_without_failures() {
        let now = Instant::now();
        let mut memory = Memory::default();
        let moved = "10.0.0.2:7071".parse().unwrap();
        for _ in 0..9 {
            memory.record(failed(), address(), now);
        }
        assert!(memory.recall(&query(0, SECOND), moved, now).is_none());
        memory.record(failed(), moved, now);
        assert!(memory.recall(&query(0, SECOND), moved, now + FIRST).is_none());
    }
}
