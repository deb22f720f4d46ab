//! The registry: the pipelines that are being served, by name.
//!
//! Laws: a reader sees one whole configuration, never half of a change; a change keeps every
//! connection that the new configuration still allows.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use weir_slo::{Instance, SAMPLES_V1, Samples, Timestamp};

use crate::{
    clock,
    config::{Config, ConfigErrors},
    engine::Wakers,
    pipeline::{Pipeline, storage::Keeper},
};

/// The pipelines that are being served.
#[derive(Debug)]
pub struct Registry {
    instance: Instance,
    wakers: Wakers,
    keeper: Keeper,
    /// Where the Secrets are that manifests name.
    secrets: PathBuf,
    pipelines: ArcSwap<BTreeMap<String, Arc<Pipeline>>>,
    /// Why the configuration that was given last is not in force.
    refused: ArcSwapOption<String>,
    /// Held while a change is applied, so that changes come one after the other.
    applying: Mutex<()>,
}

impl Registry {
    /// A registry without pipelines.
    #[must_use]
    pub fn new(wakers: Wakers, keeper: Keeper, secrets: &Path) -> Self {
        Self {
            instance: Instance {
                id: format!("{:016x}", fastrand::u64(..)),
                started_at: clock::now(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            wakers,
            keeper,
            secrets: secrets.to_owned(),
            pipelines: ArcSwap::default(),
            refused: ArcSwapOption::empty(),
            applying: Mutex::default(),
        }
    }

    /// Serves what `config` says: starts, carries over and ends pipelines.
    ///
    /// Must be called within a tokio runtime.
    pub fn apply(&self, config: Config) {
        let _one_at_a_time = self.applying.lock();
        self.change(config);
        self.refused.store(None);
    }

    /// Goes on with the configuration that is in force, and tells whoever asks that another was refused.
    pub fn refuse(&self, errors: &ConfigErrors) {
        self.refused.store(Some(Arc::new(errors.in_short())));
    }

    /// Why the configuration that was given last is not in force; `None` where it is.
    #[must_use]
    pub fn refused(&self) -> Option<Arc<String>> {
        self.refused.load_full()
    }

    fn change(&self, config: Config) {
        let running = self.pipelines.load_full();
        let Config { pipelines } = config;
        let wanted: BTreeMap<_, _> = pipelines
            .into_iter()
            .map(|(name, config)| {
                let known = running.get(&name);
                let unchanged =
                    known.filter(|known| *known.config() == config && !known.hub().is_lost());
                let pipeline = unchanged.map(Arc::clone).unwrap_or_else(|| {
                    let known = known.map(AsRef::as_ref);
                    let (keeper, secrets) = (&self.keeper, &self.secrets);
                    Arc::new(Pipeline::start(config, known, &self.wakers, keeper, secrets))
                });
                (name, pipeline)
            })
            .collect();
        let gone = running.iter().filter(|(name, _)| !wanted.contains_key(*name));
        gone.for_each(|(_, pipeline)| pipeline.close(&self.keeper));
        self.pipelines.store(Arc::new(wanted));
    }

    /// Serves pipelines whose log has lost events from a log that begins anew: their subscribers are sent
    /// away, and are told so when they come back.
    ///
    /// Must be called within a tokio runtime.
    pub fn renew(&self) {
        let _one_at_a_time = self.applying.lock();
        let running = self.all();
        if running.values().any(|pipeline| pipeline.hub().is_lost()) {
            let configs = running.iter().map(|(name, p)| (name.clone(), p.config().clone()));
            self.change(Config { pipelines: configs.collect() });
        }
    }

    /// Closes all logs: what was accepted is safe when this has returned.
    pub async fn close(&self) {
        self.all().values().for_each(|pipeline| pipeline.close(&self.keeper));
        self.keeper.finish().await;
    }

    /// The pipeline of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Pipeline>> {
        self.pipelines.load().get(name).map(Arc::clone)
    }

    /// All pipelines, by name.
    #[must_use]
    pub fn all(&self) -> Arc<BTreeMap<String, Arc<Pipeline>>> {
        self.pipelines.load_full()
    }

    /// This process.
    #[must_use]
    pub const fn instance(&self) -> &Instance {
        &self.instance
    }

    /// What the operator is told.
    #[must_use]
    pub fn samples(&self, since: Timestamp) -> Samples {
        Samples {
            api_version: SAMPLES_V1.to_owned(),
            instance: self.instance.clone(),
            now: clock::now(),
            refused: self.refused().map(|why| why.as_ref().clone()),
            pipelines: self.all().values().map(|pipeline| pipeline.sample(since)).collect(),
        }
    }
}
