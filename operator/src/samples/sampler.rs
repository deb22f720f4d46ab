//! Asks replicas for their samples.
//!
//! # Laws
//!
//! - A replica is asked by one request at a time. Who asks meanwhile waits for its answer, and gets it
//!   if it serves.
//! - A failure is an answer: it is remembered, and the replica is left alone for a while that doubles
//!   with each failure in a row. So replicas that do not answer delay others by one timeout at most.
//! - A question that is dropped half-way leaves nothing behind but a closed connection.
//! - A replica that nobody asked about for ten minutes is forgotten.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use weir_slo::{Millis, Timestamp};

use super::answer::parse;
use super::budget::{Budget, largest};
use super::memory::Memory;
use super::metrics::SampleMetrics;
use super::{Answer, Client, Query, Reading, SampleError, Target};

/// Replicas of one pipeline that are asked at the same time.
const PARALLEL: usize = 16;

/// Twice the longest interval of an SLO: what was not asked about for longer is gone.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// A request reaches back to a whole minute, and one more, so that its answer also serves the other
/// SLOs of the pipeline, whose last answers are a little older. It costs a few dozen snapshots.
const OVERLAP: Millis = Millis::from_mins(1);

/// Asks replicas for their samples, and remembers each one's last answer.
pub struct Sampler {
    client: Client,
    budget: Budget,
    metrics: SampleMetrics,
    replicas: Mutex<HashMap<String, Arc<Replica>>>,
}

struct Replica {
    asked: Mutex<Instant>,
    memory: tokio::sync::Mutex<Memory>,
}

impl Sampler {
    /// A sampler that waits for at most `timeout` for a replica, and registers its metrics.
    #[must_use]
    pub fn register(timeout: Duration, registry: &mut Registry) -> Self {
        Self {
            client: Client::new(timeout),
            budget: Budget::default(),
            metrics: SampleMetrics::register(registry),
            replicas: Mutex::default(),
        }
    }

    /// What `target` answers to `query`: now, or a short while ago.
    ///
    /// # Errors
    ///
    /// The replica was not reached in time, or did not answer as a sidecar does.
    pub async fn sample(&self, target: &Target, query: Query) -> Answer {
        let replica = self.replica(&target.uid);
        let mut memory = replica.memory.lock().await;
        if let Some(answer) = memory.recall(&query, target.address, Instant::now()) {
            return answer;
        }
        let (answer, size) = match self.ask(target, &query).await {
            Ok((reading, size)) => (Ok(reading), size),
            Err(error) => (Err(error), 0),
        };
        self.metrics.observe(&answer);
        memory.record(answer.clone(), target.address, Instant::now());
        memory.keep(self.budget.keep(size));
        answer
    }

    /// What several replicas answer, in the order of the questions. A slow one delays none.
    pub async fn sample_all(&self, queries: Vec<(Target, Query)>) -> Vec<(Target, Answer)> {
        let questions =
            queries.into_iter().enumerate().map(|(index, (target, query))| async move {
                let answer = self.sample(&target, query).await;
                (index, target, answer)
            });
        let mut answers: Vec<_> =
            futures::stream::iter(questions).buffer_unordered(PARALLEL).collect().await;
        answers.sort_by_key(|&(index, ..)| index);
        answers.into_iter().map(|(_, target, answer)| (target, answer)).collect()
    }

    /// What the replica answers, and of how many bytes.
    async fn ask(
        &self,
        target: &Target,
        query: &Query,
    ) -> Result<(Arc<Reading>, usize), SampleError> {
        let since = reach(query.since);
        let most = largest(query.objectives);
        let fetched = self.client.get_within(target.uri(since)?, most, &self.budget).await;
        let (body, held) = fetched.map_err(SampleError::from)?;
        let samples = parse(&body)?;
        Ok((Arc::new(Reading { samples, since, taken: Instant::now(), held }), body.len()))
    }

    fn replica(&self, uid: &str) -> Arc<Replica> {
        let now = Instant::now();
        let mut replicas = self.replicas.lock();
        if let Some(replica) = replicas.get(uid) {
            *replica.asked.lock() = now;
            return Arc::clone(replica);
        }
        // Only a new replica can make the map grow, so that is the time to look for old ones.
        replicas.retain(|_, replica| now.duration_since(*replica.asked.lock()) < FORGOTTEN);
        let replica =
            Arc::new(Replica { asked: Mutex::new(now), memory: tokio::sync::Mutex::default() });
        replicas.insert(uid.to_owned(), Arc::clone(&replica));
        replica
    }
}

/// How far back a request reaches so that everything after `since` is in its answer.
fn reach(since: Timestamp) -> Timestamp {
    since.before(OVERLAP).align_down(OVERLAP)
}

#[cfg(test)]
mod tests {
    use super::super::FetchError;
    use super::super::fake::{Behaviour, FakeSidecar, samples};
    use super::*;

    /// Longer than any test takes on the busiest machine.
    const PATIENCE: Duration = Duration::from_secs(60);
    const FRESH: Duration = Duration::from_secs(60);

    fn sampler() -> Sampler {
        Sampler::register(PATIENCE, &mut Registry::default())
    }

    fn since(millis: u64) -> Query {
        Query { since: Timestamp::from_millis(millis), max_age: FRESH, objectives: 1 }
    }

    fn anew(millis: u64) -> Query {
        Query { max_age: Duration::ZERO, ..since(millis) }
    }

    #[tokio::test]
    async fn one_sampling_serves_all_who_ask_for_it() {
        let sidecar = FakeSidecar::start(Behaviour::Serve(samples("a"))).await;
        let (sampler, target) = (sampler(), sidecar.target("pod"));
        let query = since(1_000_000);
        let asked = (0..8).map(|_| sampler.sample(&target, query));
        let answers = futures::future::join_all(asked).await;
        assert!(answers.iter().all(Result::is_ok));
        // A little earlier is served too, because a request reaches back further than asked.
        sampler.sample(&target, since(990_000)).await.unwrap();
        assert_eq!(sidecar.requests(), ["/samples?since=900000"]);
        sampler.sample(&target, since(0)).await.unwrap();
        assert_eq!(sidecar.requests(), ["/samples?since=900000", "/samples?since=0"]);
    }

    #[tokio::test]
    async fn a_restarted_sidecar_is_a_new_instance_in_the_next_answer() {
        let sidecar = FakeSidecar::start(Behaviour::Serve(samples("first"))).await;
        let (sampler, target) = (sampler(), sidecar.target("pod"));
        let before = sampler.sample(&target, anew(0)).await.unwrap();
        sidecar.behave(Behaviour::Serve(samples("second")));
        let after = sampler.sample(&target, anew(0)).await.unwrap();
        let ids = [before, after].map(|reading| reading.samples.instance.id.clone());
        assert_eq!(ids, ["first", "second"]);
    }

    #[tokio::test]
    async fn a_slow_replica_delays_no_other() {
        let slow = FakeSidecar::start(Behaviour::Hang).await;
        let quick = FakeSidecar::start(Behaviour::Serve(samples("quick"))).await;
        let patient = Arc::new(Sampler::register(PATIENCE, &mut Registry::default()));
        let mut queries = vec![(slow.target("slow"), since(0))];
        // More than are asked at the same time, so that some come behind the slow one.
        queries.extend((0..40).map(|n| (quick.target(&format!("quick-{n}")), since(0))));
        let answers = tokio::spawn(async move { patient.sample_all(queries).await });
        quick.requested(40).await;
        slow.requested(1).await;
        slow.stop().await;
        let answers = answers.await.unwrap();
        let (target, first) = &answers[0];
        assert_eq!(target.pod, "slow");
        assert_eq!(first.as_ref().unwrap_err().category(), "transfer");
        assert!(answers.iter().skip(1).all(|(_, answer)| answer.is_ok()));
    }

    #[tokio::test]
    async fn a_replica_that_does_not_answer_in_time_is_given_up() {
        let sidecar = FakeSidecar::start(Behaviour::Hang).await;
        let timeout = Duration::from_millis(20);
        let sampler = Sampler::register(timeout, &mut Registry::default());
        let error = sampler.sample(&sidecar.target("pod"), since(0)).await.unwrap_err();
        assert_eq!(error, FetchError::Timeout { after: timeout }.into());
        assert_eq!(error.to_string(), "no answer within 20 ms");
    }

    #[tokio::test]
    async fn what_is_no_samples_document_is_an_error_that_says_so() {
        let sidecar = FakeSidecar::start(Behaviour::Garbage).await;
        let error = sampler().sample(&sidecar.target("pod"), since(0)).await.unwrap_err();
        assert_eq!(error.category(), "parse");
        sidecar.behave(Behaviour::Fail(503));
        let error = sampler().sample(&sidecar.target("pod"), since(0)).await.unwrap_err();
        assert_eq!(error, FetchError::Status { status: 503 }.into());
    }

    #[tokio::test]
    async fn a_replica_that_is_gone_is_remembered_as_failed() {
        let sidecar = FakeSidecar::start(Behaviour::Serve(samples("a"))).await;
        let target = sidecar.target("pod");
        sidecar.stop().await;
        let sampler = sampler();
        let error = sampler.sample(&target, since(0)).await.unwrap_err();
        assert_eq!(error.category(), "connect");
        // Within the pause nobody asks again: a listener at the same address hears nothing.
        let revived = FakeSidecar::start_at(target.address, Behaviour::Serve(samples("b"))).await;
        assert_eq!(sampler.sample(&target, since(0)).await.unwrap_err(), error);
        assert!(revived.requests().is_empty());
    }

    #[tokio::test]
    async fn an_endless_answer_is_cut_off() {
        let sidecar = FakeSidecar::start(Behaviour::Endless).await;
        let error = sampler().sample(&sidecar.target("pod"), since(0)).await.unwrap_err();
        assert_eq!(error, FetchError::TooLarge { largest: largest(1) }.into());
        assert_eq!(error.to_string(), "the answer has more than 1088 KiB");
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_nobody_asks_about_is_forgotten() {
        let sampler = sampler();
        sampler.replica("old");
        tokio::time::advance(FORGOTTEN / 2).await;
        sampler.replica("kept");
        tokio::time::advance(FORGOTTEN / 2).await;
        sampler.replica("new");
        let mut left: Vec<_> = sampler.replicas.lock().keys().cloned().collect();
        left.sort();
        assert_eq!(left, ["kept", "new"]);
    }
}
