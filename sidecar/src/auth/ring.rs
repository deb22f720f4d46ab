//! Keeps an issuer's keys at hand: reads them now and then, and when a token names one that is unknown.
//!
//! # Laws
//!
//! - One task reads, however many wait for it.
//! - Nobody can make it read more often than every [`Pace::least`].
//! - Keys that were read stay good while the issuer can't be reached, or publishes none, for [`Pace::good`]; a set
//!   that was read replaces the one before it at once, so that a key that was withdrawn verifies nothing more.

use std::{
    future::{self, Future},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{self, Instant},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    KeysReading,
    fetch::Origin,
    jwks::{KeySet, KeySetError},
};

/// When keys are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How long after a reading comes the next.
    pub(super) period: Duration,
    /// How long after a reading comes the next at the earliest, however much it is wished for.
    pub(super) least: Duration,
    /// How long keys stay good without a further reading.
    pub(super) good: Duration,
}

/// An issuer publishes a new key long before it signs with it, and a client that was wrong about a key
/// comes back at once: so ten seconds hurt nobody, and an issuer is not flooded by strangers' tokens.
const BY_HTTP: Pace = Pace {
    period: Duration::from_secs(600),
    least: Duration::from_secs(10),
    good: Duration::from_secs(24 * 3_600),
};

/// A file is at hand.
const FROM_FILE: Pace = Pace {
    period: Duration::from_secs(5),
    least: Duration::from_secs(1),
    good: Duration::from_secs(24 * 3_600),
};

/// How long after a failure comes the next reading: doubled with each failure, up to the longest.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// How long a request waits for a reading: as long as one may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// An issuer's keys. The task ends with the ring.
#[derive(Debug)]
pub(super) struct Ring {
    origin: Origin,
    pace: Pace,
    state: watch::Receiver<State>,
    wanted: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

/// What the readings have led to.
#[derive(Debug, Clone, Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    /// When the keys were read.
    read_at: Option<Instant>,
    /// When was the last reading, and how many were there.
    tried_at: Option<Instant>,
    tried: u64,
    failed: u64,
    /// Why the last one failed, if it did.
    trouble: Option<String>,
}

impl State {
    /// Whether the keys are young enough to be believed.
    fn is_good(&self, pace: Pace) -> bool {
        self.read_at.is_some_and(|at| at.elapsed() < pace.good)
    }
}

impl Ring {
    /// Begins to read, for this pipeline. Must be called within a tokio runtime.
    pub(super) fn start(pipeline: &str, origin: Origin) -> Self {
        let pace = match origin {
            Origin::Url { .. } => BY_HTTP,
            Origin::File(_) => FROM_FILE,
        };
        let from = origin.clone();
        Self::start_with(pipeline, origin, pace, move || {
            let from = from.clone();
            async move { from.read().await.map_err(|error| error.to_string()) }
        })
    }

    fn start_with<F>(
        pipeline: &str,
        origin: Origin,
        pace: Pace,
        read: impl Fn() -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Vec<u8>, String>> + Send + 'static,
    {
        let (sender, state) = watch::channel(State::default());
        let wanted = Arc::new(Notify::new());
        let whose = Whose { pipeline: pipeline.to_owned(), origin: origin.clone() };
        let task = tokio::spawn(keep_reading(whose, pace, read, sender, Arc::clone(&wanted)));
        Self { origin, pace, state, wanted, _task: AbortOnDropHandle::new(task) }
    }

    /// Where the keys are read.
    pub(super) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The keys, as long as they are good.
    pub(super) fn keys(&self) -> Option<Arc<KeySet>> {
        let state = self.state.borrow();
        state.keys.clone().filter(|_| state.is_good(self.pace))
    }

    /// Waits for a new reading, unless there was one a moment ago. Says whether there was a new one.
    pub(super) async fn renew(&self) -> bool {
        let mut state = self.state.clone();
        let seen = {
            let state = state.borrow();
            if state.tried_at.is_some_and(|at| at.elapsed() < self.pace.least) {
                return false;
            }
            state.tried
        };
        self.wanted.notify_one();
        let newer = state.wait_for(|state| state.tried > seen);
        matches!(time::timeout(PATIENCE, newer).await, Ok(Ok(_)))
    }

    /// What the readings have led to.
    pub(super) fn reading(&self) -> KeysReading {
        let state = self.state.borrow();
        let State { keys, read_at, tried_at: _, tried, failed, trouble } = &*state;
        KeysReading {
            keys: keys.as_ref().map_or(0, |keys| keys.len() as u64),
            age: read_at.map(|at| at.elapsed()),
            read: tried - failed,
            failed: *failed,
            good: state.is_good(self.pace),
            trouble: trouble.clone(),
        }
    }
}

/// Whose keys are read, and where.
struct Whose {
    pipeline: String,
    origin: Origin,
}

async fn keep_reading<F>(
    whose: Whose,
    pace: Pace,
    read: impl Fn() -> F,
    state: watch::Sender<State>,
    wanted: Arc<Notify>,
) where
    F: Future<Output = Result<Vec<u8>, String>>,
{
    let mut failures = 0_u32;
    loop {
        let parsed = match read().await {
            Ok(bytes) => KeySet::parse(&bytes).map_err(|error: KeySetError| error.to_string()),
            Err(error) => Err(error),
        };
        match &parsed {
            Ok(keys) => whose.tell(keys, &state.borrow(), failures),
            Err(error) => whose.complain(error, &state.borrow(), failures),
        }
        failures = if parsed.is_ok() { 0 } else { failures.saturating_add(1) };
        note(&state, parsed);
        // Whoever wished for a reading during this one has had it.
        tokio::select! {
            biased;
            () = wanted.notified() => {}
            () = future::ready(()) => {}
        }
        let period = if failures == 0 { pace.period } else { retry(failures).min(pace.period) };
        tokio::select! {
            () = time::sleep(period * fastrand::u32(90..=110) / 100) => {}
            () = async { time::sleep(pace.least).await; wanted.notified().await } => {}
        }
    }
}

impl Whose {
    /// Says what was read where it is news: after a failure, and where others are left out than before.
    fn tell(&self, keys: &KeySet, before: &State, failures: u32) {
        let Self { pipeline, origin } = self;
        if failures > 0 || before.tried == 0 {
            tracing::info!(pipeline, ?origin, keys = keys.len(), "read an issuer's keys");
        }
        let known = before.keys.as_ref().map_or(&[][..], |keys| keys.left_out());
        if keys.left_out() != known {
            for key in keys.left_out() {
                tracing::warn!(pipeline, ?origin, "left a key of the issuer out: {key}");
            }
        }
    }

    /// Says what is wrong, once until it is good again.
    fn complain(&self, error: &str, before: &State, failures: u32) {
        let Self { pipeline, origin } = self;
        match (failures, &before.keys) {
            (0, Some(_)) => {
                tracing::warn!(
                    pipeline,
                    ?origin,
                    error,
                    "can't read an issuer's keys; the last ones stay good"
                );
            }
            (0, None) => {
                tracing::warn!(
                    pipeline,
                    ?origin,
                    error,
                    "can't read an issuer's keys; no token is taken until that is mended"
                );
            }
            (_, Some(_) | None) => {
                tracing::debug!(pipeline, ?origin, error, "still can't read an issuer's keys");
            }
        }
    }
}

fn note(state: &watch::Sender<State>, read: Result<KeySet, String>) {
    state.send_modify(|state| {
        let now = Instant::now();
        state.tried += 1;
        state.tried_at = Some(now);
        state.trouble = match read {
            Ok(keys) => {
                state.keys = Some(Arc::new(keys));
                state.read_at = Some(now);
                None
            }
            Err(error) => {
                state.failed += 1;
                Some(error)
            }
        };
    });
}

fn retry(failures: u32) -> Duration {
    let doubled = RETRY.saturating_mul(1 << (failures - 1).min(16));
    doubled.min(LONGEST_RETRY)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use parking_lot::Mutex;

    use super::*;

    const SET: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"KID","x":"AQAB"}]}"#;

    /// An issuer whose answer can be changed, and who counts how often it is asked.
    #[derive(Clone, Default)]
    struct Issuer {
        answer: Arc<Mutex<Option<String>>>,
        asked: Arc<AtomicUsize>,
    }

    impl Issuer {
        fn publish(&self, kid: Option<&str>) {
            *self.answer.lock() = kid.map(|kid| SET.replace("KID", kid));
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }

        fn ring(&self) -> Ring {
            let issuer = self.clone();
            let origin = Origin::Url { url: String::new(), ca: None };
            Ring::start_with("orders", origin, BY_HTTP, move || {
                let issuer = issuer.clone();
                async move {
                    issuer.asked.fetch_add(1, Ordering::Relaxed);
                    time::sleep(Duration::from_millis(100)).await;
                    let answer = issuer.answer.lock().clone();
                    answer.map(String::into_bytes).ok_or_else(|| "down".to_owned())
                }
            })
        }
    }

    fn has(ring: &Ring, kid: &str) -> bool {
        ring.keys().is_some_and(|keys| keys.candidates(Some(kid)).next().is_some())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_request_waits_for_the_first_reading() {
        let issuer = Issuer::default();
        issuer.publish(Some("a"));
        let ring = issuer.ring();
        assert!(!has(&ring, "a"));
        assert!(ring.renew().await);
        assert!(has(&ring, "a"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_new_is_read_once_for_all_and_not_more_often_than_the_pace_allows() {
        let issuer = Issuer::default();
        issuer.publish(Some("a"));
        let ring = Arc::new(issuer.ring());
        assert!(ring.renew().await);
        issuer.publish(Some("b"));
        assert!(!ring.renew().await, "it was read a moment ago");
        assert_eq!(issuer.asked(), 1);
        time::sleep(BY_HTTP.least * 2).await;
        let all = (0..100).map(|_| {
            let ring = Arc::clone(&ring);
            tokio::spawn(async move { ring.renew().await })
        });
        for one in all.collect::<Vec<_>>() {
            assert!(one.await.unwrap());
        }
        assert!(has(&ring, "b") && !has(&ring, "a"), "a key that was withdrawn is gone");
        assert_eq!(issuer.asked(), 2);
        for _ in 0..100 {
            ring.renew().await;
        }
        assert_eq!(issuer.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_stay_good_for_a_day_without_their_issuer() {
        let issuer = Issuer::default();
        issuer.publish(Some("a"));
        let ring = issuer.ring();
        assert!(ring.renew().await);
        issuer.publish(None);
        time::sleep(BY_HTTP.good - Duration::from_secs(60)).await;
        assert!(has(&ring, "a"));
        assert!(ring.reading().failed > 1_000);
        let KeysReading { good, trouble, .. } = ring.reading();
        assert_eq!((good, trouble.as_deref()), (true, Some("down")));
        time::sleep(Duration::from_secs(120)).await;
        assert!(ring.keys().is_none() && !ring.reading().good);
        issuer.publish(Some("c"));
        time::sleep(LONGEST_RETRY * 2).await;
        let KeysReading { good, trouble, .. } = ring.reading();
        assert!(has(&ring, "c") && good && trouble.is_none(), "{trouble:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_set_of_keys_replaces_none() {
        let issuer = Issuer::default();
        issuer.publish(Some("a"));
        let ring = issuer.ring();
        assert!(ring.renew().await);
        *issuer.answer.lock() = Some("{}".to_owned());
        time::sleep(BY_HTTP.period * 2).await;
        assert!(has(&ring, "a"));
        assert!(ring.reading().failed > 0);
        // Nor does one without a usable key, which is published by mistake.
        for mistake in ["{\"keys\":[]}", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AQAB\"}]}"] {
            let failed = ring.reading().failed;
            *issuer.answer.lock() = Some(mistake.to_owned());
            time::sleep(BY_HTTP.period * 2).await;
            assert!(has(&ring, "a") && ring.reading().failed > failed, "{mistake}");
        }
        issuer.publish(Some("b"));
        time::sleep(BY_HTTP.period * 2).await;
        assert!(has(&ring, "b") && !has(&ring, "a"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_issuer_that_is_down_is_asked_ever_more_rarely() {
        let issuer = Issuer::default();
        let _ring = issuer.ring();
        time::sleep(Duration::from_secs(3_600)).await;
        assert!((50..90).contains(&issuer.asked()), "{}", issuer.asked());
    }
}
