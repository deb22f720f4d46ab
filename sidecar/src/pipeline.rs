//! A pipeline that is being served: its hub, its sources and its objectives' meters.

mod secrets;
pub mod storage;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_util::task::AbortOnDropHandle;
use weir_crds::v1alpha1::{DiskStorage, Objective, ObjectiveKind, Source, SourceKind, StorageKind};
use weir_slo::{KeysSample, LogSample, PipelineSample, SloSample, Timestamp};

use crate::{
    auth::{Grant, Guard, KeysReading},
    config::{PipelineConfig, SloConfig},
    count::{Judge, Meter, MeterName},
    durable::{Limits, Streams},
    engine::Wakers,
    filter::{Claims, Expression},
    hub::{Client, Demand, Hub, Settings},
    source::{SourceState, generator},
};
use storage::Keeper;

/// A pipeline that is being served.
#[derive(Debug)]
pub struct Pipeline {
    config: PipelineConfig,
    hub: Arc<Hub>,
    guard: Guard,
    sources: BTreeMap<String, RunningSource>,
    streams: Option<Arc<Streams>>,
    /// Where the Secrets are that the manifest names.
    secrets: PathBuf,
}

/// A source, and the task that feeds it where it has one. The task ends with the last handle.
#[derive(Debug, Clone)]
struct RunningSource {
    spec: Source,
    state: Arc<SourceState>,
    _task: Option<Arc<AbortOnDropHandle<()>>>,
}

impl Pipeline {
    /// Starts a pipeline, or carries `running` over to a changed configuration: subscribers, log,
    /// counters and unchanged sources are kept. Where its log is to be another, only the counters are: its
    /// subscribers are sent away, and come back to the new one.
    ///
    /// Must be called within a tokio runtime, on which the sources run.
    #[must_use]
    pub fn start(
        config: PipelineConfig,
        running: Option<&Self>,
        wakers: &Wakers,
        keeper: &Keeper,
        secrets: &Path,
    ) -> Self {
        let same_log = running.filter(|running| running.has_log_of(&config));
        let hub = hub(&config, running, same_log, wakers, keeper);
        let meters = meters(&config.slos, &hub.accounts().meters(), wakers.len());
        hub.accounts().set_meters(meters);
        let known = running.map(|running| &running.guard);
        let guard = Guard::start(&config.name, &config.spec, secrets, known);
        let kept = |source: &Source| {
            let known = same_log?.sources.get(&source.name)?;
            (known.spec == *source).then(|| known.clone())
        };
        let sources = config.spec.sources.iter().map(|source| {
            let started = kept(source).unwrap_or_else(|| RunningSource::start(source, &hub));
            (source.name.clone(), started)
        });
        let sources = sources.collect();
        let streams = streams(&config, running, keeper);
        Self { config, hub, guard, sources, streams, secrets: secrets.to_owned() }
    }

    fn has_log_of(&self, config: &PipelineConfig) -> bool {
        let own = (&self.config.namespace, &self.config.spec.log.storage);
        own == (&config.namespace, &config.spec.log.storage) && !self.hub.is_lost()
    }

    /// Sends the subscribers away, and closes what is to be closed.
    pub fn close(&self, keeper: &Keeper) {
        keeper.close(&self.hub);
        if let Some(streams) = &self.streams {
            keeper.close_streams(streams);
        }
    }

    /// The configuration that is being served.
    #[must_use]
    pub const fn config(&self) -> &PipelineConfig {
        &self.config
    }

    /// The hub.
    #[must_use]
    pub const fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// The durable streams, where they are served.
    #[must_use]
    pub const fn streams(&self) -> Option<&Arc<Streams>> {
        self.streams.as_ref()
    }

    /// What decides who may do what on the public port.
    #[must_use]
    pub const fn guard(&self) -> &Guard {
        &self.guard
    }

    /// What a subscriber is to be sent to whom this is granted, and who wishes for this.
    #[must_use]
    pub fn demand(&self, grant: &Grant, client: Client, wished: Option<Arc<Expression>>) -> Demand {
        let claims = grant.claims.as_ref();
        Demand {
            wished,
            granted: self.guard.filter().map(Arc::clone),
            claims: claims.map_or(Claims::Null, |claims| Claims::Object(claims.all().clone())),
            client,
        }
    }

    /// The source into which publishers post, if there is one.
    #[must_use]
    pub fn http_source(&self) -> Option<&Arc<SourceState>> {
        let http = self.sources.values().find(|source| source.spec.http.is_some());
        http.map(|source| &source.state)
    }

    /// The states of the sources.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<SourceState>> {
        self.sources.values().map(|source| &source.state)
    }

    /// What the operator is told.
    #[must_use]
    pub fn sample(&self, since: Timestamp) -> PipelineSample {
        let PipelineConfig { namespace, name, uid, generation, share: _, spec, slos } =
            &self.config;
        let meters = self.hub.accounts().meters();
        PipelineSample {
            namespace: namespace.clone(),
            name: name.clone(),
            uid: uid.clone(),
            generation: *generation,
            sources: self.sources().map(|source| source.sample()).collect(),
            log: Some(sample_log(&self.hub, self.streams())),
            keys: self.guard.keys().and_then(sample_keys),
            missing_secrets: secrets::missing(spec, &self.secrets),
            subscribers: self.hub.accounts().subscribers(),
            deliveries: self.hub.cut().deliveries,
            slos: slos.iter().map(|slo| sample_slo(slo, &meters, since)).collect(),
        }
    }
}

impl RunningSource {
    fn start(source: &Source, hub: &Arc<Hub>) -> Self {
        let state = Arc::new(SourceState::new(&source.name));
        let task = match source.kind() {
            Some(SourceKind::Generator(generator)) => {
                let (hub, state) = (Arc::clone(hub), Arc::clone(&state));
                let name = hub.name().to_owned();
                let task = tokio::spawn(generator::run(generator.clone(), name, hub, state));
                Some(Arc::new(AbortOnDropHandle::new(task)))
            }
            // Fed by the publish endpoint; and a source without a kind doesn't get past validation.
            Some(SourceKind::Http(_)) | None => None,
        };
        Self { spec: source.clone(), state, _task: task }
    }
}

/// The durable streams that `running` has, within what is granted now; others where it has none in this
/// place.
fn streams(
    config: &PipelineConfig,
    running: Option<&Pipeline>,
    keeper: &Keeper,
) -> Option<Arc<Streams>> {
    let limits = config.spec.endpoints.durable_streams.as_ref().map(Limits::from);
    let known = running.and_then(|running| running.streams.as_ref());
    let same_place = running.is_some_and(|running| disk(&running.config) == disk(config));
    match (known, limits) {
        (Some(known), Some(limits)) if same_place => {
            known.set_limits(limits);
            Some(Arc::clone(known))
        }
        (known, limits) => {
            // First, because both may be of one directory.
            known.into_iter().for_each(|known| keeper.close_streams(known));
            limits.map(|limits| keeper.streams(config, limits))
        }
    }
}

/// Where on a disk a pipeline has its place, if it has any.
const fn disk(config: &PipelineConfig) -> Option<(&String, &DiskStorage)> {
    match config.spec.log.storage.kind() {
        Some(StorageKind::Disk(disk)) => Some((&config.namespace, disk)),
        Some(StorageKind::Memory(_) | StorageKind::Redis(_) | StorageKind::Nats(_)) | None => None,
    }
}

/// The hub of a pipeline: that of `same_log`, or a new one, which goes on with the counters of `running`.
fn hub(
    config: &PipelineConfig,
    running: Option<&Pipeline>,
    same_log: Option<&Pipeline>,
    wakers: &Wakers,
    keeper: &Keeper,
) -> Arc<Hub> {
    let settings = Settings::from(&config.spec);
    if let Some(running) = same_log {
        running.hub.set_settings(settings);
        return Arc::clone(&running.hub);
    }
    let hub = match running.map(Pipeline::hub) {
        Some(old) => {
            // First, because both may be of one directory.
            keeper.close(old);
            Hub::after(old, settings, wakers.clone())
        }
        None => Hub::new(&config.name, settings, wakers.clone()),
    };
    let hub = Arc::new(hub);
    keeper.open(config, &hub);
    hub
}

fn sample_log(hub: &Hub, streams: Option<&Arc<Streams>>) -> LogSample {
    let of_streams = || {
        let fault = streams?.fault()?;
        Some(format!("the durable streams: {fault}"))
    };
    let message = match hub.fault() {
        Some(fault) => Some(fault.to_string()),
        None if hub.log().is_none() => Some("the log is being opened".to_owned()),
        None => of_streams(),
    };
    LogSample { healthy: message.is_none(), message }
}

/// How the issuer's keys are; `None` until somebody has tried to read them.
fn sample_keys(reading: KeysReading) -> Option<KeysSample> {
    let KeysReading { keys: _, age: _, read, failed, good, trouble } = reading;
    let message = trouble.filter(|_| !good);
    (read + failed > 0).then_some(KeysSample { healthy: good, message })
}

fn sample_slo(slo: &SloConfig, meters: &[Arc<Meter>], since: Timestamp) -> SloSample {
    let SloConfig { namespace, name, generation, spec: _ } = slo;
    let own = meters
        .iter()
        .filter(|meter| meter.name().namespace == *namespace && meter.name().slo == *name);
    SloSample {
        namespace: namespace.clone(),
        name: name.clone(),
        generation: *generation,
        objectives: own.map(|meter| meter.sample(since)).collect(),
    }
}

/// One meter for each objective. A meter that counts the same as before is kept.
fn meters(slos: &[SloConfig], running: &[Arc<Meter>], shards: usize) -> Vec<Arc<Meter>> {
    let now = crate::clock::now();
    let wanted = slos.iter().flat_map(|slo| {
        slo.spec.objectives.iter().filter_map(|objective| {
            let name = MeterName {
                namespace: slo.namespace.clone(),
                slo: slo.name.clone(),
                objective: objective.name.clone(),
            };
            Some((name, judge(objective)?))
        })
    });
    wanted
        .map(|(name, judge)| {
            let same = |meter: &&Arc<Meter>| *meter.name() == name && meter.judge() == judge;
            let kept = running.iter().find(same).map(Arc::clone);
            kept.unwrap_or_else(|| Arc::new(Meter::new(name, judge, shards, now)))
        })
        .collect()
}

fn judge(objective: &Objective) -> Option<Judge> {
    Some(match objective.kind()? {
        ObjectiveKind::Latency(latency) => Judge::Latency(latency.threshold.get()),
        ObjectiveKind::ErrorRate(_) => Judge::Written,
        ObjectiveKind::Delivery(delivery) => Judge::Settled(delivery.settle.get()),
    })
}
