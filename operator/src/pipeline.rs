//! The StreamPipeline controller: observe → validate → build → apply → report.
//!
//! # Guarantees
//!
//! - The status says how far the reconcile got, also where a phase failed, and is written only when it
//!   changed.
//! - An object of a wanted name that the pipeline does not control is left alone (`NameTaken`).
//! - Everything that is made carries an owner reference, so a deleted pipeline takes it along; what a
//!   change made superfluous is deleted.
//! - A change of the configuration alone restarts no pod; what needs new pods is said, or, where the
//!   pipeline asks for it, brought about by `repair`, between apply and report.
//! - An upgrade of the operator restarts no pod before somebody has asked for it; `given` and `repair` see to it.
//! - What somebody else changes or deletes of it is put right, and told: in an Event, and for a while by Contested.
//! - How many replicas there are is what the manifest says, whoever wrote it there, or what autoscaling comes
//!   to; a number that somebody gave the workload itself is put right.

mod apply;
mod build;
mod contested;
mod given;
mod heard;
mod made;
mod observe;
mod orphans;
mod repair;
mod report;
mod scale;
mod settled;
mod share;
mod status;
#[cfg(test)]
mod testing;
mod told;
mod validate;
mod volume;
mod watch;

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Controller;
use kube::runtime::reflector::Store;
use prometheus_client::registry::Registry;
use tracing::Instrument;
use weir_crds::v1alpha1::{STREAM_PIPELINE, StreamPipeline};

use self::apply::Memories;
use self::contested::Contested;
use self::given::HeldBack;
use self::made::Made;
use self::observe::{ObserveError, Observed, Workloads};
use self::repair::RestartMetrics;
use self::scale::Histories;
use self::settled::Settled;
use self::share::Shares;
use self::validate::Rejection;
use crate::apply::ApplyError;
use crate::context::Context;
use crate::controller::{Done, Next, Phase, Reconciler};
use crate::failure::{Category, Failure};
use crate::policies::{self, PutError};

/// Finds what no watch tells: a source that fell ill, a replica that no longer answers.
const RESYNC: Duration = Duration::from_secs(30);
/// The same while replicas have yet to take up a new configuration, which somebody waits for.
const UNSETTLED: Duration = Duration::from_secs(3);
/// The same while a workload is being rolled out, or may be kept from making pods, which no watch tells either.
const MOVING: Duration = Duration::from_secs(10);

/// The same where the number of replicas follows what they have to do: as often as a HorizontalPodAutoscaler
/// looks.
const SCALING: Duration = Duration::from_secs(15);

/// The StreamPipeline controller.
pub struct Pipelines {
    context: Arc<Context>,
    workloads: Workloads,
    made: Made,
    settled: Settled,
    contested: Contested,
    histories: Histories,
    shares: Shares,
    store: OnceLock<Store<StreamPipeline>>,
    restarts: RestartMetrics,
}

impl Pipelines {
    /// A controller that works with `context`, and registers its metrics.
    #[must_use]
    pub fn register(context: Arc<Context>, registry: &mut Registry) -> Self {
        Self::with(context, RestartMetrics::register(registry))
    }

    /// Another controller, for another scope, that counts what it does in the same metrics.
    #[must_use]
    pub fn within(&self, context: Arc<Context>) -> Self {
        Self::with(context, self.restarts.clone())
    }

    fn with(context: Arc<Context>, restarts: RestartMetrics) -> Self {
        Self {
            context,
            workloads: Workloads::default(),
            made: Made::default(),
            settled: Settled::default(),
            contested: Contested::default(),
            histories: Histories::default(),
            shares: Shares::default(),
            store: OnceLock::new(),
            restarts,
        }
    }
}

/// Why a reconcile of a pipeline failed: one variant for each phase.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state of the cluster could not be read.
    #[error("can't observe the pipeline")]
    Observe(#[from] ObserveError),
    /// The configuration could not be rendered.
    #[error("can't build the pipeline's objects")]
    Build(#[from] build::BuildError),
    /// The objects could not be written.
    #[error("can't apply the pipeline's objects")]
    Apply(#[source] ApplyError),
    /// The policy by which its pods are injected could not be written.
    #[error("can't put the policy in force by which its pods are injected")]
    Policy(#[source] ApplyError),
    /// Somebody else has the name of that policy.
    #[error("{kind} {name} was not made for this pipeline")]
    PolicyTaken {
        /// The kind that is in the way.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The status could not be written.
    #[error("can't report the pipeline's status")]
    Report(#[source] ApplyError),
}

impl From<PutError> for Error {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Apply(error) => Self::Policy(error),
            PutError::Taken { kind, name } => Self::PolicyTaken { kind, name },
        }
    }
}

impl Failure for Error {
    fn category(&self) -> Category {
        match self {
            Self::Observe(error) => Category::of(error.cause()),
            Self::Build(_) => Category::Internal,
            Self::PolicyTaken { .. } => Category::Invalid,
            Self::Apply(error) | Self::Policy(error) | Self::Report(error) => {
                Category::of(error.cause())
            }
        }
    }
}

/// What stands in the cluster that the objects don't tell.
#[derive(Debug, Default)]
struct Stands {
    /// What the gateway's pods are kept at, where this release would make others.
    held: Option<HeldBack>,
    /// The hash of the note of what they were given.
    noted: Option<String>,
}

/// How far a reconcile got.
#[derive(Debug)]
enum Outcome {
    /// Everything that the pipeline asks for stands in the cluster.
    Applied(Stands),
    /// What the pipeline asks for can't be done.
    Rejected(Rejection),
    /// A phase failed, and will be tried again.
    Failed(Error),
}

impl Reconciler for Pipelines {
    const KIND: &'static str = STREAM_PIPELINE;
    type Object = StreamPipeline;
    type Error = Error;

    fn watch(&self, controller: Controller<StreamPipeline>) -> Controller<StreamPipeline> {
        // The controller is built once, so nothing is there yet.
        let _ = self.store.set(controller.store());
        watch::add(&self.context, &self.made, controller)
    }

    async fn reconcile(&self, pipeline: Arc<StreamPipeline>) -> Result<Done, Error> {
        let context = &*self.context;
        let Self { made, workloads, .. } = self;
        // Boxed, each phase: together they would be more than a thread's stack should hold.
        let known = self.store.get();
        let observing = Box::pin(observe::observe(context, made, workloads, &pipeline, known));
        let mut observed = match Phase::Observe.run(observing).await {
            Ok(Some(observed)) => observed,
            Ok(None) => return Ok(Done { outcome: "gone", next: Next::OnChange }),
            Err(error) => {
                let reporting = Box::pin(report::unobserved(context, &pipeline, error.into()));
                return Err(reporting.instrument(Phase::Report.span()).await);
            }
        };
        observed.scaling = self.histories.decide(&observed);
        observed.rebalancing = self.shares.decide(&observed, now_in_seconds());
        observed.told = told::told(&observed);
        let outcome = Box::pin(self.advance(&mut observed)).await;
        let uid = pipeline.uid().unwrap_or_default();
        observed.contested = self.contested.of(&uid);
        if let Outcome::Applied(_) = outcome {
            self.histories.note(&observed);
            self.shares.note(&observed, now_in_seconds());
        }
        let repairing = Box::pin(repair::repair(context, &self.restarts, &mut observed, &outcome));
        let repairs = repairing.instrument(Phase::Repair.span()).await;
        let reporting = Box::pin(report::report(context, &observed, &outcome, &repairs));
        let reported = Phase::Report.run(reporting).await;
        for notice in self.contested.news(&uid) {
            context.publish(&*pipeline, notice).await;
        }
        // What changes with time is looked at more often.
        let is_told = observed.rebalancing.is_some_and(|rebalancing| rebalancing.is_on);
        let scales = observed.scaling.is_some() || is_told;
        let usual = if scales { SCALING } else { RESYNC };
        let is_moving = repairs.iter().any(|repair| repair.is_moving);
        let settled = if is_moving || observed.waits_for_pods() { MOVING } else { usual };
        finish(outcome, reported, settled)
    }

    fn gone(&self) {
        let Some(store) = self.store.get() else { return };
        let living: HashSet<_> = store.state().iter().filter_map(|living| living.uid()).collect();
        self.settled.keep_only(|uid| living.contains(uid));
        self.contested.keep_only(|uid| living.contains(uid));
    }
}

impl Pipelines {
    /// The phases between the observation and the report.
    async fn advance(&self, observed: &mut Observed) -> Outcome {
        let context = &*self.context;
        let valid = match validate::validate(observed, &context.options) {
            Ok(valid) => valid,
            Err(rejection) => return Outcome::Rejected(rejection),
        };
        let objects = match build::build(&valid) {
            Ok(objects) => objects,
            Err(error) => return Outcome::Failed(error.into()),
        };
        let stands = Stands { held: objects.held.clone(), noted: objects.noted.clone() };
        // Before the workload bears the note: else whoever comes after a crash would not believe it.
        if let Some(status) = report::intention(&observed.pipeline, stands.noted.as_deref()) {
            let intending = report::intend(context, &mut observed.pipeline, status);
            if let Err(error) = Phase::Report.run(intending).await {
                return Outcome::Failed(error);
            }
        }
        let Self { made, settled, contested, .. } = self;
        let kept = Memories { made, settled, contested };
        let observed = &*observed;
        let applying = async {
            let applied = apply::apply(context, &kept, &valid, objects, observed).await;
            applied.map_err(Error::Apply)?;
            // Last: what it has pods mount stands by then.
            for undone in policies::put(context, &observed.pipeline).await? {
                contested.note(&valid.uid, undone);
            }
            Ok(())
        };
        match Phase::Apply.run(applying).await {
            Ok(()) => Outcome::Applied(stands),
            Err(error) => Outcome::Failed(error),
        }
    }
}

/// What the driver is told. The error of a phase comes before that of the report on it.
fn finish(
    outcome: Outcome,
    reported: Result<bool, Error>,
    settled: Duration,
) -> Result<Done, Error> {
    let outcome = match outcome {
        Outcome::Applied(_) => "ok",
        Outcome::Rejected(_) => "rejected",
        Outcome::Failed(error) => return Err(error),
    };
    let delay = if reported? { settled } else { UNSETTLED };
    Ok(Done { outcome, next: Next::Around(delay) })
}

fn now_in_seconds() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or_default()
}

/// The namespace of a pipeline; the API server gives it one always.
fn namespace(pipeline: &StreamPipeline) -> String {
    pipeline.namespace().unwrap_or_default()
}
