//! Knows whether the controllers of this replica get on, which its probes tell.
//!
//! # Laws
//!
//! - Alive says nothing about the API server. A reconcile ends within two minutes, come what may; so where one is
//!   under way, or due, one begins or ends in that time. Only where none does for [`STUCK`] is a new process of any
//!   use. While the API server is away reconciles fail, which is an end, and nobody is restarted for it.
//! - A replica is not ready while the API server refuses it every watch of what it reconciles, and has for
//!   [`REFUSED`]: it can do nothing. No answer is no refusal, and neither is an overload: an outage changes nothing.
//! - One watch that goes on is enough: of several namespaces some may be gone.
//! - A replica that does not lead has no controllers, and nothing is said against it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kube::api::DynamicObject;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::{self, Event};
use parking_lot::Mutex;
use tokio::time::Instant;

/// More than twice as long as a reconcile may take.
const STUCK: Duration = Duration::from_mins(5);
/// An API server that has just started may refuse what it grants a few seconds later.
const REFUSED: Duration = Duration::from_mins(1);

/// How the controllers of this replica get on.
#[derive(Debug, Default)]
pub struct Vitals(Mutex<Vec<Arc<Pulse>>>);

/// How one controller gets on.
#[derive(Debug)]
pub struct Pulse {
    kind: &'static str,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// How many reconciles are under way.
    under_way: usize,
    /// When those objects are to be looked at again that are to be.
    due: HashMap<ObjectRef<DynamicObject>, Instant>,
    /// When a reconcile began or ended last.
    last: Instant,
    /// Since when the watch is refused.
    refused: Option<Instant>,
}

impl Vitals {
    /// Watches over one more controller from `now` on.
    pub fn watch_over(&self, kind: &'static str, now: Instant) -> Arc<Pulse> {
        let state = State { under_way: 0, due: HashMap::new(), last: now, refused: None };
        let pulse = Arc::new(Pulse { kind, state: Mutex::new(state) });
        self.0.lock().push(Arc::clone(&pulse));
        pulse
    }

    /// Whether no controller is stuck; one that is, is logged.
    pub fn get_on(&self, now: Instant) -> bool {
        let pulses = self.0.lock();
        let mut stuck = pulses.iter().filter(|pulse| pulse.is_stuck(now)).peekable();
        let get_on = stuck.peek().is_none();
        for pulse in stuck {
            tracing::error!(kind = pulse.kind, "no reconcile begins or ends any more");
        }
        get_on
    }

    /// Whether there is a watch that is not refused, or none at all.
    pub fn are_admitted(&self, now: Instant) -> bool {
        let pulses = self.0.lock();
        pulses.is_empty() || pulses.iter().any(|pulse| !pulse.is_refused(now))
    }
}

impl Pulse {
    /// A reconcile of an object begins.
    pub fn begins(&self, object: &ObjectRef<DynamicObject>, now: Instant) {
        let mut state = self.state.lock();
        state.due.remove(object);
        state.under_way = state.under_way.saturating_add(1);
        state.last = now;
    }

    /// A reconcile has ended, well or not.
    pub fn ends(&self, now: Instant) {
        let mut state = self.state.lock();
        state.under_way = state.under_way.saturating_sub(1);
        state.last = now;
    }

    /// An object is to be looked at again then.
    pub fn expects(&self, object: ObjectRef<DynamicObject>, then: Instant) {
        self.state.lock().due.insert(object, then);
    }

    /// An object was found to be gone when it was to be looked at.
    pub fn is_gone(&self, object: &ObjectRef<DynamicObject>, now: Instant) {
        let mut state = self.state.lock();
        state.due.remove(object);
        state.last = now;
    }

    /// The watch of the kind has told something.
    pub fn told<K>(&self, event: &Result<Event<K>, watcher::Error>, now: Instant) {
        let refused = &mut self.state.lock().refused;
        match event {
            // A list begins, which may be refused.
            Ok(Event::Init) => {}
            Ok(Event::InitApply(_) | Event::InitDone | Event::Apply(_) | Event::Delete(_)) => {
                *refused = None;
            }
            Err(error) if is_refusal(error) => *refused = refused.or(Some(now)),
            Err(_) => *refused = None,
        }
    }

    fn is_stuck(&self, now: Instant) -> bool {
        let State { under_way, due, last, refused: _ } = &*self.state.lock();
        let due = || due.values().min().map(|due| *due.max(last));
        let since = if *under_way > 0 { Some(*last) } else { due() };
        since.is_some_and(|since| now.saturating_duration_since(since) >= STUCK)
    }

    fn is_refused(&self, now: Instant) -> bool {
        let refused = self.state.lock().refused;
        refused.is_some_and(|since| now.saturating_duration_since(since) >= REFUSED)
    }
}

/// Whether the API server has answered, and said no: to who asks, to what is asked for, or that there is no such
/// kind.
fn is_refusal(error: &watcher::Error) -> bool {
    let says_no = |code| matches!(code, 401 | 403 | 404);
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => {
            matches!(error, kube::Error::Api(status) if says_no(status.code))
        }
        watcher::Error::WatchError(status) => says_no(status.code),
        watcher::Error::NoResourceVersion => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, Ordering};

    use http::StatusCode;
    use kube::runtime::controller::Controller;
    use serde_json::json;
    use tokio::time::sleep;
    use tokio_util::sync::CancellationToken;
    use weir_crds::v1alpha1::StreamPipeline;

    use super::*;
    use crate::context::Context;
    use crate::controller::{Done, Next, Reconciler, drive};
    use crate::failure::{Category, Failure};
    use crate::testing::{FakeApi, context, pipeline};

    const SECOND: Duration = Duration::from_secs(1);

    fn object(name: &str) -> ObjectRef<DynamicObject> {
        ObjectRef::from_obj(&pipeline(name)).erase()
    }

    #[test]
    fn a_controller_is_stuck_where_nothing_moves_though_something_is_under_way_or_due() {
        let (vitals, start) = (Vitals::default(), Instant::now());
        let pulse = vitals.watch_over("StreamPipeline", start);
        let hour = Duration::from_hours(1);
        assert!(vitals.get_on(start + hour), "there is nothing to do");
        pulse.begins(&object("orders"), start + hour);
        assert!(vitals.get_on(start + hour + STUCK - SECOND));
        assert!(!vitals.get_on(start + hour + STUCK));
        pulse.ends(start + hour + STUCK);
        assert!(vitals.get_on(start + 3 * hour), "nothing is due");
        pulse.expects(object("orders"), start + 4 * hour);
        assert!(vitals.get_on(start + 4 * hour + STUCK - SECOND));
        assert!(!vitals.get_on(start + 4 * hour + STUCK));
        pulse.is_gone(&object("orders"), start + 5 * hour);
        assert!(vitals.get_on(start + 9 * hour));
    }

    #[test]
    fn what_waits_for_others_that_get_on_is_not_stuck() {
        let (vitals, start) = (Vitals::default(), Instant::now());
        let pulse = vitals.watch_over("StreamPipeline", start);
        pulse.expects(object("late"), start);
        for minute in 0..60 {
            let now = start + Duration::from_mins(minute);
            pulse.begins(&object("slow"), now);
            assert!(vitals.get_on(now + Duration::from_mins(1)));
            pulse.ends(now + Duration::from_mins(1));
        }
    }

    #[test]
    fn one_watch_that_goes_on_is_enough() {
        let (vitals, start) = (Vitals::default(), Instant::now());
        assert!(vitals.are_admitted(start), "it does not lead");
        let pulses = ["StreamPipeline", "StreamSLO"].map(|kind| vitals.watch_over(kind, start));
        let refusal = || {
            let status = kube::core::Status::failure("no", "Forbidden").with_code(403);
            Err::<Event<StreamPipeline>, _>(watcher::Error::WatchError(status.boxed()))
        };
        pulses[0].told(&refusal(), start);
        assert!(vitals.are_admitted(start + 2 * REFUSED));
        pulses[1].told(&refusal(), start + REFUSED);
        pulses[1].told(&Ok(Event::<StreamPipeline>::Init), start + REFUSED);
        assert!(vitals.are_admitted(start + 2 * REFUSED - SECOND));
        assert!(!vitals.are_admitted(start + 2 * REFUSED));
        pulses[1].told(&Ok(Event::<StreamPipeline>::InitDone), start + 3 * REFUSED);
        assert!(vitals.are_admitted(start + 3 * REFUSED));
    }

    #[derive(Debug, thiserror::Error)]
    #[error("as the test says")]
    struct Failed;

    impl Failure for Failed {
        fn category(&self) -> Category {
            Category::Unavailable
        }
    }

    /// Fails always.
    struct Failing;

    impl Reconciler for Failing {
        const KIND: &'static str = "StreamPipeline";
        type Object = StreamPipeline;
        type Error = Failed;

        fn watch(&self, controller: Controller<StreamPipeline>) -> Controller<StreamPipeline> {
            controller
        }

        async fn reconcile(&self, object: Arc<StreamPipeline>) -> Result<Done, Failed> {
            match object.metadata.name.as_deref() {
                Some("hung") => std::future::pending().await,
                Some("done") => Ok(Done { outcome: "ok", next: Next::Around(30 * SECOND) }),
                Some(_) | None => Err(Failed),
            }
        }
    }

    /// What an operator says of itself after hours in which the API server answers a list with this status.
    async fn after_hours(lists: &'static AtomicU16, then: u16) -> (bool, bool) {
        let api = FakeApi::new(|_| {
            let status = StatusCode::from_u16(lists.load(Ordering::Relaxed)).unwrap();
            if status != StatusCode::OK {
                let code = status.as_u16();
                let answer = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure",
                    "message": "as the test says", "reason": "Test", "code": code });
                return (status, answer);
            }
            let items = ["lost", "hung", "done"].map(pipeline);
            let list = json!({ "kind": "StreamPipelineList", "apiVersion": "weir.dev/v1alpha1",
                "metadata": { "resourceVersion": "7" }, "items": items });
            (status, list)
        });
        let context: Arc<Context> = Arc::new(context(api.client()));
        let stop = CancellationToken::new();
        let driven = tokio::spawn(drive(Failing, Arc::clone(&context), stop.clone()));
        sleep(10 * SECOND).await;
        lists.store(then, Ordering::Relaxed);
        let mut alive = true;
        for _ in 0..3 * 60 {
            sleep(60 * SECOND).await;
            alive = alive && context.vitals.get_on(Instant::now());
        }
        let ready = context.vitals.are_admitted(Instant::now());
        stop.cancel();
        driven.await.unwrap();
        (alive, ready)
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_neither_ends_an_operator_nor_takes_its_readiness() {
        static LISTS: AtomicU16 = AtomicU16::new(200);
        assert_eq!(after_hours(&LISTS, 503).await, (true, true));
        static NEVER_THERE: AtomicU16 = AtomicU16::new(503);
        assert_eq!(after_hours(&NEVER_THERE, 503).await, (true, true));
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_that_may_watch_nothing_any_more_is_alive_and_not_ready() {
        static LISTS: AtomicU16 = AtomicU16::new(200);
        assert_eq!(after_hours(&LISTS, 403).await, (true, false));
    }
}
