//! Drives a controller: what is the same for every kind.
//!
//! # Laws
//!
//! - No object is reconciled twice at the same time, and at most `concurrency` objects of a kind are.
//! - Every reconcile has a span, and ends in exactly one observation of the duration metric.
//! - A failed reconcile is repeated after a delay of its own object, which doubles with each failure in
//!   a row, is capped, and is jittered; a success forgets it.
//! - What this replica writes on an object leads to no reconcile of it: who wrote it knows.
//! - A reconcile takes at most two minutes; then it is given up as failed, with the outcome `timeout`.
//! - When `shutdown` is cancelled no further reconcile begins, those that run come to their end, and
//!   only then [`drive`] returns.

mod backoff;
mod phase;

use std::fmt::Debug;
use std::future::{self, Future};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::DynamicObject;
use kube::runtime::controller::{Action, Config, Controller, Error as DriverError};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use self::backoff::Backoff;
pub use self::phase::Phase;
use crate::context::Context;
use crate::failure::{Failure, chain};
use crate::kept::by_itself;
use crate::vitals::Pulse;
use crate::written::Written;

/// What a reconciled kind must offer.
pub trait Reconciler: Send + Sync + 'static {
    /// The kind, for the span and the metrics.
    const KIND: &'static str;
    /// The resource.
    type Object: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static;
    /// Why a reconcile fails.
    type Error: Failure;

    /// Adds what else leads to a reconcile: owned objects, and objects that map to the resource.
    fn watch(&self, controller: Controller<Self::Object>) -> Controller<Self::Object>;

    /// Brings one object to what it asks for, and says on it how far that got.
    ///
    /// `object` comes from the watch, so it can be older than what this replica wrote last.
    fn reconcile(
        &self,
        object: Arc<Self::Object>,
    ) -> impl Future<Output = Result<Done, Self::Error>> + Send;

    /// Forgets what is kept of objects that the watch no longer holds: one of them is gone.
    fn gone(&self) {}
}

/// How a reconcile ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// The outcome, for the metrics: of a closed set.
    pub outcome: &'static str,
    /// When to look again, if nothing changes before.
    pub next: Next,
}

/// When to look at an object again, if nothing changes before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// After about this long: jittered by a tenth, so that objects spread out in time.
    Around(Duration),
    /// After exactly this long.
    After(Duration),
    /// Not before something changes.
    OnChange,
}

/// Runs a controller until `shutdown` is cancelled.
pub async fn drive<R: Reconciler>(
    reconciler: R,
    context: Arc<Context>,
    shutdown: CancellationToken,
) {
    let config = Config::default().concurrency(context.options.concurrency);
    let pulse = context.vitals.watch_over(R::KIND, Instant::now());
    let controller = watched::<R>(&context, &pulse)
        .with_config(config)
        .graceful_shutdown_on(shutdown.clone().cancelled_owned());
    let controller = reconciler.watch(controller);
    let unread = stopped_unread(controller.store(), shutdown);
    let driver = Arc::new(Driver { reconciler, context, pulse, backoff: Backoff::default() });
    let results = controller.run(step, retry, Arc::clone(&driver));
    tokio::select! {
        () = results.for_each(|result| async { note_queue(&driver, result.err()) }) => {}
        () = unread => {}
    }
}

/// A controller of what the watch tells of, but for what this replica has written itself.
fn watched<R: Reconciler>(context: &Context, pulse: &Arc<Pulse>) -> Controller<R::Object> {
    let (store, writer) = reflector::store();
    let events = watcher(context.watched::<R::Object>(), watcher::Config::default());
    let (written, pulse) = (Arc::clone(&context.written), Arc::clone(pulse));
    let events = events.default_backoff().reflect(writer);
    let events = events.inspect(move |event| pulse.told(event, Instant::now()));
    let news = events.filter(move |event| {
        future::ready(event.as_ref().map_or(true, |event| is_news(&written, event)))
    });
    Controller::for_stream(
        by_itself(R::KIND, &context.metrics, news.applied_objects()).map(Ok),
        store,
    )
}

/// Whether an event is more than this replica's own last write. A list may hold what others have changed before
/// that, of which no event told.
fn is_news<K: Resource>(written: &Written, event: &Event<K>) -> bool {
    match event {
        Event::Apply(object) => !written.is_own(object.meta()),
        Event::Delete(object) => {
            written.forget(object.meta());
            true
        }
        Event::Init | Event::InitApply(_) | Event::InitDone => true,
    }
}

/// Ends when `shutdown` is cancelled before all objects have been read. No reconcile has begun by then;
/// kube would go on waiting for the objects, which nobody reads any more.
async fn stopped_unread<K>(store: Store<K>, shutdown: CancellationToken)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    tokio::select! {
        biased;
        _ = store.wait_until_ready() => std::future::pending().await,
        () = shutdown.cancelled() => {}
    }
}

/// Longer than any reconcile takes that still gets on; a request to an API server that vanished would
/// else wait for ever.
const LONGEST: Duration = Duration::from_mins(2);

/// Why a step of the driver failed.
#[derive(Debug, thiserror::Error)]
enum StepError<E> {
    /// The reconcile failed.
    #[error(transparent)]
    Failed(E),
    /// The reconcile did not end in time.
    #[error("the reconcile did not end within {LONGEST:?}")]
    Late,
}

impl<E: Failure> StepError<E> {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Failed(error) => error.category().as_str(),
            Self::Late => "timeout",
        }
    }
}

struct Driver<R> {
    reconciler: R,
    context: Arc<Context>,
    pulse: Arc<Pulse>,
    backoff: Backoff,
}

async fn step<R: Reconciler>(
    object: Arc<R::Object>,
    driver: Arc<Driver<R>>,
) -> Result<Action, StepError<R::Error>> {
    let span = tracing::info_span!(
        "reconcile",
        kind = R::KIND,
        namespace = object.namespace().unwrap_or_default(),
        object = object.name_any(),
        generation = object.meta().generation,
        outcome = Empty,
        otel.status_code = Empty,
    );
    run_step(object, driver).instrument(span).await
}

async fn run_step<R: Reconciler>(
    object: Arc<R::Object>,
    driver: Arc<Driver<R>>,
) -> Result<Action, StepError<R::Error>> {
    let uid = object.uid().unwrap_or_default();
    let key = ObjectRef::from_obj(&*object).erase();
    let started = Instant::now();
    driver.pulse.begins(&key, started);
    let result = match timeout(LONGEST, driver.reconciler.reconcile(object)).await {
        Ok(result) => result.map_err(StepError::Failed),
        Err(_) => Err(StepError::Late),
    };
    let outcome = match &result {
        Ok(done) => done.outcome,
        Err(error) => error.outcome(),
    };
    driver.context.metrics.observe(R::KIND, outcome, started.elapsed());
    driver.pulse.ends(Instant::now());
    let done = result.inspect_err(|error| {
        tracing::warn!(error = chain(error), "reconcile failed");
        Span::current().record("otel.status_code", "ERROR");
    });
    Span::current().record("outcome", outcome);
    let done = done?;
    tracing::debug!(outcome, "reconciled");
    driver.backoff.forget(&uid);
    let delay = done.next.delay(fastrand::f64());
    Ok(delay.map_or_else(Action::await_change, |delay| driver.again(key, delay)))
}

/// The error policy, with the signature that kube asks for.
#[expect(clippy::needless_pass_by_value, reason = "kube hands over the references")]
fn retry<R: Reconciler>(
    object: Arc<R::Object>,
    _error: &StepError<R::Error>,
    driver: Arc<Driver<R>>,
) -> Action {
    let uid = object.uid().unwrap_or_default();
    let delay = driver.backoff.next(&uid, Instant::now(), fastrand::f64());
    driver.again(ObjectRef::from_obj(&*object).erase(), delay)
}

impl<R> Driver<R> {
    /// Has the object looked at again after this long.
    fn again(&self, object: ObjectRef<DynamicObject>, delay: Duration) -> Action {
        self.pulse.expects(object, Instant::now() + delay);
        Action::requeue(delay)
    }
}

impl Next {
    /// After how long, with `random` from 0 to 1; `None` where only a change leads to it.
    fn delay(self, random: f64) -> Option<Duration> {
        match self {
            Self::Around(delay) => Some(delay.mul_f64(0.9 + 0.2 * random)),
            Self::After(delay) => Some(delay),
            Self::OnChange => None,
        }
    }
}

/// Logs what went wrong outside a reconcile; the failures inside have been logged with their span.
fn note_queue<R: Reconciler>(
    driver: &Driver<R>,
    error: Option<DriverError<StepError<R::Error>, watcher::Error>>,
) {
    match error {
        None | Some(DriverError::ReconcilerFailed(..)) => {}
        Some(DriverError::ObjectNotFound(object)) => {
            tracing::debug!(kind = R::KIND, %object, "gone");
            driver.pulse.is_gone(&object, Instant::now());
            driver.reconciler.gone();
        }
        Some(DriverError::QueueError(error)) => {
            tracing::warn!(kind = R::KIND, error = chain(&error), "watch interrupted");
        }
        Some(DriverError::RunnerError(error)) => {
            tracing::error!(kind = R::KIND, error = chain(&error), "controller broken");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pipeline;

    #[test]
    fn an_own_write_is_no_news_but_in_a_list() {
        let written = Written::default();
        let mut pipeline = pipeline("orders");
        let mut at = |version: &str| {
            pipeline.metadata.resource_version = Some(version.to_owned());
            pipeline.clone()
        };
        written.note(&at("7").metadata);
        assert!(is_news(&written, &Event::InitApply(at("7"))));
        assert!(is_news(&written, &Event::Apply(at("6"))));
        assert!(!is_news(&written, &Event::Apply(at("7"))));
        assert!(is_news(&written, &Event::Apply(at("8"))));
    }

    #[test]
    fn a_resync_is_jittered_by_a_tenth_and_an_interval_is_not() {
        let ten = Duration::from_secs(10);
        assert_eq!(Next::Around(ten).delay(0.0), Some(Duration::from_secs(9)));
        assert_eq!(Next::Around(ten).delay(1.0), Some(Duration::from_secs(11)));
        assert_eq!(Next::After(ten).delay(0.3), Some(ten));
        assert_eq!(Next::OnChange.delay(0.3), None);
    }
}
