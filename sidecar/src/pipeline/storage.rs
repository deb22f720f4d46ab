//! Opens the log that a manifest asks for, and closes it.
//!
//! A log may take long to open, or be out of reach for a while. So that is done by a task, which goes on
//! until it has succeeded or the pipeline is gone; meanwhile the hub says why there is no log.

#[cfg(any(feature = "nats", feature = "redis"))]
mod replicated;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::{task, time};
use tokio_util::task::TaskTracker;
use weir_crds::v1alpha1::{DiskStorage, StorageKind};

use crate::{
    config::PipelineConfig,
    hub::Hub,
    log::{DataDir, DiskLog, DiskOptions, Log, MemoryLog, OpenError, Report},
};

#[cfg(any(feature = "nats", feature = "redis"))]
use replicated::Place;

/// How long to wait before another try, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A namespace comes from a file, and must not lead out of the data directory.
const ODD: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-');

/// Opens and closes the logs of pipelines.
#[derive(Debug, Clone)]
pub struct Keeper {
    data: Arc<DataDir>,
    /// Where the Secrets are that manifests name.
    #[cfg_attr(
        not(any(feature = "nats", feature = "redis")),
        expect(dead_code, reason = "only shared logs have passwords")
    )]
    secrets: Arc<Path>,
    tasks: TaskTracker,
}

impl Keeper {
    /// Keeps the logs that are to be on a disk in `data`, and finds passwords in `secrets`.
    #[must_use]
    pub fn new(data: DataDir, secrets: &Path) -> Self {
        Self { data: Arc::new(data), secrets: secrets.into(), tasks: TaskTracker::new() }
    }

    /// Opens the log of a hub, at once or by and by.
    pub(super) fn open(&self, config: &PipelineConfig, hub: &Arc<Hub>) {
        match config.spec.log.storage.kind() {
            Some(StorageKind::Memory(_)) => {
                hub.open(Arc::new(MemoryLog::new(Arc::clone(hub.tail()))));
            }
            Some(StorageKind::Disk(disk)) => {
                let [namespace, name] = [&config.namespace, &config.name]
                    .map(|name| utf8_percent_encode(name, ODD).to_string());
                let place = PathBuf::from(namespace).join(name);
                let data = Arc::clone(&self.data);
                self.tasks.spawn(open_disk(data, place, disk.clone(), Arc::clone(hub)));
            }
            #[cfg(feature = "redis")]
            Some(StorageKind::Redis(redis)) => {
                let place = Place::redis(redis, config, &self.secrets);
                self.tasks.spawn(replicated::attend(place, Arc::clone(hub)));
            }
            #[cfg(feature = "nats")]
            Some(StorageKind::Nats(nats)) => {
                let place = Place::nats(nats, config, &self.secrets);
                self.tasks.spawn(replicated::attend(place, Arc::clone(hub)));
            }
            // Refused with the configuration.
            #[cfg(not(feature = "redis"))]
            Some(StorageKind::Redis(_)) => {}
            #[cfg(not(feature = "nats"))]
            Some(StorageKind::Nats(_)) => {}
            // A storage without a kind doesn't get past validation.
            None => {}
        }
    }

    /// Sends a hub's subscribers away and closes its log.
    pub fn close(&self, hub: &Arc<Hub>) {
        hub.close();
        if let Some(log) = hub.log().map(Arc::clone) {
            self.tasks.spawn(async move { log.close().await });
        }
    }

    /// Returns when all that is to be closed is.
    pub async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn open_disk(data: Arc<DataDir>, place: PathBuf, disk: DiskStorage, hub: Arc<Hub>) {
    let mut pause = FIRST_PAUSE;
    while !hub.is_closed() {
        let closing = hub.tail().grown();
        let (data, place, disk) = (Arc::clone(&data), place.clone(), disk.clone());
        let opening = Arc::clone(&hub);
        let opened = task::spawn_blocking(move || open_at(&data, place, &disk, &opening)).await;
        let error = match opened {
            Ok(Ok(log)) => return serve(log, &hub).await,
            Ok(Err(error)) => error.to_string(),
            Err(gone) => gone.to_string(),
        };
        tracing::warn!(pipeline = hub.name(), error, "can't open the log; trying again");
        hub.set_fault(Some(error));
        tokio::select! {
            () = time::sleep(pause) => {}
            // Or until there is nobody left to open it for.
            () = closing => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn open_at(
    data: &DataDir,
    place: PathBuf,
    disk: &DiskStorage,
    hub: &Arc<Hub>,
) -> Result<DiskLog, OpenError> {
    let DiskStorage { size, durability } = disk;
    let directory = data.claim()?.join(place);
    let options = DiskOptions {
        directory: directory.clone(),
        quota: size.bytes(),
        durability: *durability,
        retention: hub.settings().retention,
    };
    let told = Arc::downgrade(hub);
    let report: Report = Box::new(move |fault| {
        if let Some(hub) = told.upgrade() {
            hub.set_fault(fault);
        }
    });
    let log = DiskLog::open(options, Arc::clone(hub.tail()), report)?;
    let events = log.held().events;
    tracing::info!(pipeline = hub.name(), directory = %directory.display(), events, "opened the log");
    Ok(log)
}

async fn serve(log: DiskLog, hub: &Hub) {
    let log: Arc<dyn Log> = Arc::new(log);
    hub.open(Arc::clone(&log));
    // What was changed or ended while it was being opened.
    log.set_retention(hub.settings().retention);
    if hub.is_closed() {
        log.close().await;
    }
}
