//! Judges StreamSLOs: samples the sidecars of their pipelines, and writes what the counts say.
//!
//! The StreamSLO controller: observe → validate → sample and evaluate → report. There is nothing to
//! build and to apply but the status.
//!
//! # Guarantees
//!
//! - The condition Ready tells whether the objectives are evaluated, never whether they are met.
//! - No data is neither good nor bad.
//! - A sidecar that does not answer delays no other, and is named in the condition DataAvailable.
//! - The status is written when something changed that a person reads, and counts alone twice a minute.

mod burn;
mod changes;
mod data;
mod evaluators;
mod metrics;
mod observe;
mod replicas;
mod report;
mod schedule;
mod status;
#[cfg(test)]
mod testing;
mod validate;

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::{StreamExt, stream};
use kube::ResourceExt;
use kube::runtime::controller::Controller;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use prometheus_client::registry::Registry;
use tracing::Instrument;
use weir_crds::v1alpha1::{STREAM_SLO, StreamPipeline, StreamSLO};
use weir_slo::{Millis, Timestamp};

use self::evaluators::{Evaluators, Subject, Tracked};
use self::metrics::SloMetrics;
use self::observe::{ObserveError, Observed};
use self::replicas::Replicas;
use self::status::Outcome;
use self::validate::ValidatedSlo;
use crate::apply::ApplyError;
use crate::context::Context;
use crate::controller::{Done, Next, Phase, Reconciler};
use crate::failure::{Category, Failure};
use crate::farewells::Farewells;
use crate::kept::Kept;
use crate::samples::Sampler;
use crate::triggers::gathered;

/// Looks again at an SLO that can't be evaluated as it stands. A change of it, or of its pipeline, is
/// seen at once; this is for what no watch tells.
const RESYNC: Duration = Duration::from_secs(300);

/// What becomes of a pipeline within so long is one change.
const TOGETHER: Duration = Duration::from_millis(500);

/// The StreamSLO controller.
pub struct Slos {
    context: Arc<Context>,
    evaluators: Evaluators,
    metrics: Arc<SloMetrics>,
    store: OnceLock<Store<StreamSLO>>,
    pipelines: Kept<StreamPipeline>,
}

/// Why an evaluation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The SLO, its pipeline or its pods could not be read.
    #[error("can't observe the SLO")]
    Observe(#[from] ObserveError),
    /// An objective that was found valid can't be evaluated.
    #[error("can't evaluate the SLO")]
    Evaluate(#[from] weir_slo::ObjectiveError),
    /// The status could not be written.
    #[error("can't report the SLO's status")]
    Report(#[source] ApplyError),
}

impl Failure for Error {
    fn category(&self) -> Category {
        match self {
            Self::Observe(error) => Category::of(error.cause()),
            Self::Evaluate(_) => Category::Internal,
            Self::Report(error) => Category::of(error.cause()),
        }
    }
}

impl Reconciler for Slos {
    const KIND: &'static str = STREAM_SLO;
    type Object = StreamSLO;
    type Error = Error;

    fn watch(&self, controller: Controller<StreamSLO>) -> Controller<StreamSLO> {
        let store = controller.store();
        let of_pipeline = store.clone();
        // The controller is built once, so nothing is there yet.
        let _ = self.store.set(store);
        let pipelines = self.pipelines.watch(&self.context, watcher::Config::default());
        let triggers =
            pipelines.flat_map(move |pipeline| stream::iter(referring(&pipeline, &of_pipeline)));
        controller.reconcile_on(gathered(triggers, TOGETHER, || false))
    }

    async fn reconcile(&self, slo: Arc<StreamSLO>) -> Result<Done, Error> {
        let tracked = self.evaluators.of(&slo.uid().unwrap_or_default());
        let mut tracked = tracked.lock().await;
        if let Some(wait) = early(&tracked, &slo) {
            return Ok(Done { outcome: "early", next: Next::After(wait) });
        }
        tracked.due = None;
        let result = self.evaluate(&slo, &mut tracked).await;
        let outcome = match &result {
            Ok(done) => done.outcome,
            Err(error) => error.category().as_str(),
        };
        self.metrics.count(outcome);
        result
    }

    fn gone(&self) {
        let Some(store) = self.store.get() else { return };
        let living: HashSet<_> = store.state().iter().filter_map(|slo| slo.uid()).collect();
        for uid in self.evaluators.forget_others(&living) {
            self.metrics.forget(&uid);
        }
    }
}

impl Slos {
    /// A controller that works with `context`, and registers its metrics.
    #[must_use]
    pub fn register(context: Arc<Context>, registry: &mut Registry) -> Self {
        let metrics = Arc::new(SloMetrics::register(registry));
        Self::with(context, metrics)
    }

    /// Another controller, for another scope, that shows what it finds in the same metrics.
    #[must_use]
    pub fn within(&self, context: Arc<Context>) -> Self {
        Self::with(context, Arc::clone(&self.metrics))
    }

    fn with(context: Arc<Context>, metrics: Arc<SloMetrics>) -> Self {
        Self {
            context,
            evaluators: Evaluators::default(),
            metrics,
            store: OnceLock::new(),
            pipelines: Kept::default(),
        }
    }

    async fn evaluate(&self, slo: &StreamSLO, tracked: &mut Tracked) -> Result<Done, Error> {
        let observing = observe::observe(&self.context, &self.pipelines, slo);
        let Observed { slo, replicas } = match Phase::Observe.run(observing).await {
            Ok(Some(observed)) => observed,
            Ok(None) => return Ok(Done { outcome: "gone", next: Next::OnChange }),
            Err(error) => {
                let reporting = report::failed(&self.context, slo, error.into());
                return Err(reporting.instrument(Phase::Report.span()).await);
            }
        };
        let valid = validate::validate(&slo.name_any(), &slo.spec);
        let (outcome, done) = match (valid, replicas) {
            (Err(violations), _) => (Outcome::InvalidSpec(violations), idle("invalid")),
            (Ok(_), None) => (Outcome::PipelineNotFound, idle("pipeline_not_found")),
            (Ok(valid), Some(replicas)) => {
                let Context { sampler, farewells, .. } = self.context.as_ref();
                let heard = Heard { sampler, farewells, objectives: self.objectives(&slo) };
                let outcome = judge(heard, &slo, &valid, &replicas, tracked).await?;
                (outcome, self.again(&slo, &valid, tracked))
            }
        };
        self.show(&slo, &outcome);
        Phase::Report.run(report::report(&self.context, &slo, &outcome, tracked)).await?;
        Ok(done)
    }

    /// How many objectives a replica counts at most, for whichever SLOs of the namespace.
    fn objectives(&self, slo: &StreamSLO) -> usize {
        let Some(store) = self.store.get() else { return usize::MAX };
        let near = |other: &StreamSLO| other.metadata.namespace == slo.metadata.namespace;
        store.state_filter(near).iter().map(|slo| slo.spec.objectives.len()).sum()
    }

    /// When the SLO is evaluated again.
    fn again(&self, slo: &StreamSLO, valid: &ValidatedSlo, tracked: &mut Tracked) -> Done {
        let namespace = slo.namespace().unwrap_or_default();
        let now = clock();
        let due = schedule::next(now, valid.interval, &namespace, &slo.spec.pipeline_ref.name);
        let generation = slo.metadata.generation.unwrap_or_default();
        tracked.due = Some((generation, due));
        let wait = Duration::from_millis(due.saturating_sub(now).0);
        Done { outcome: "evaluated", next: Next::After(wait) }
    }

    fn show(&self, slo: &StreamSLO, outcome: &Outcome) {
        let uid = slo.uid().unwrap_or_default();
        match outcome {
            Outcome::Evaluated { judged, data: _ } => {
                let namespace = slo.namespace().unwrap_or_default();
                self.metrics.show(&uid, &namespace, &slo.name_any(), judged);
            }
            Outcome::InvalidSpec(_) | Outcome::PipelineNotFound => self.metrics.forget(&uid),
        }
    }
}

/// By whom replicas are heard, those that run and those that ran.
#[derive(Clone, Copy)]
struct Heard<'a> {
    sampler: &'a Sampler,
    farewells: &'a Farewells,
    /// How many objectives each counts at most.
    objectives: usize,
}

/// Samples the replicas, and evaluates every objective.
async fn judge(
    Heard { sampler, farewells, objectives }: Heard<'_>,
    slo: &StreamSLO,
    valid: &ValidatedSlo,
    replicas: &Replicas,
    tracked: &mut Tracked,
) -> Result<Outcome, Error> {
    let generation = slo.metadata.generation.unwrap_or_default();
    tracked.revise(valid, generation)?;
    let targets = replicas.running.iter().map(|replica| replica.target.clone());
    let queries = targets.map(|target| {
        let query = tracked.query(&target, valid.interval, objectives);
        (target, query)
    });
    let sampling = sampler.sample_all(queries.collect());
    let answers = sampling.instrument(Phase::Sample.span()).await;
    let (namespace, name) = (slo.namespace().unwrap_or_default(), slo.name_any());
    let subject = Subject { namespace: &namespace, name: &name, generation };
    let now = clock();
    let problems = tracked.ingest(subject, &answers, now);
    tracked.hear(subject, &farewells.of(&namespace), now);
    let data = data::assess(replicas, &problems);
    Ok(Outcome::Evaluated { judged: tracked.judge(now), data })
}

/// How long there is to wait, where nothing is asked for that the last evaluation did not know, and the
/// next is not due yet: a change of the status, or of the pipeline's, has led here.
fn early(tracked: &Tracked, slo: &StreamSLO) -> Option<Duration> {
    let (generation, due) = tracked.due?;
    let interval = Millis(slo.spec.evaluation.interval.millis());
    let wait = schedule::wait(due, clock(), interval)?;
    (slo.metadata.generation == Some(generation)).then(|| Duration::from_millis(wait.0))
}

fn idle(outcome: &'static str) -> Done {
    Done { outcome, next: Next::Around(RESYNC) }
}

/// The SLOs that refer to a pipeline.
fn referring(pipeline: &StreamPipeline, slos: &Store<StreamSLO>) -> Vec<ObjectRef<StreamSLO>> {
    let slos = slos.state();
    let refer = |slo: &&Arc<StreamSLO>| {
        slo.metadata.namespace == pipeline.metadata.namespace
            && Some(&slo.spec.pipeline_ref.name) == pipeline.metadata.name.as_ref()
    };
    slos.iter().filter(refer).map(|slo| ObjectRef::from_obj(&**slo)).collect()
}

/// The wall clock, as the sidecars' samples tell time.
fn clock() -> Timestamp {
    let millis = jiff::Timestamp::now().as_millisecond();
    Timestamp::from_millis(u64::try_from(millis).unwrap_or_default())
}

#[cfg(test)]
mod tests;
