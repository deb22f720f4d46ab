//! Opens the log and the durable streams that a manifest asks for, and closes them.
//!
//! A log may take long to open, or be out of reach for a while. So that is done by a task, which goes on
//! until it has succeeded or the pipeline is gone; meanwhile the hub says why there is no log.

#[cfg(any(feature = "nats", feature = "redis"))]
mod replicated;
mod streams;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::{task, time};
use tokio_util::task::TaskTracker;
use weir_crds::v1alpha1::{DiskStorage, StorageKind};

use crate::{
    config::PipelineConfig,
    durable::{Limits, Streams},
    hub::Hub,
    log::{DataDir, DiskLog, DiskOptions, Log, MemoryLog, OpenError, Report, Room},
};

#[cfg(any(feature = "nats", feature = "redis"))]
use replicated::Shared;

/// How long to wait before another try, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A namespace comes from a file, and must not lead out of the data directory.
const ODD: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-');

/// Opens and closes the logs of pipelines.
#[derive(Debug, Clone)]
pub struct Keeper {
    data: Arc<DataDir>,
    /// The room that the log of a directory shares with its streams.
    rooms: Arc<Mutex<HashMap<PathBuf, Weak<Room>>>>,
    /// Where the Secrets are that manifests name.
    #[cfg_attr(
        not(any(feature = "nats", feature = "redis")),
        expect(dead_code, reason = "only shared logs have passwords")
    )]
    secrets: Arc<Path>,
    tasks: TaskTracker,
}

/// Where on a disk a pipeline has its place.
#[derive(Debug, Clone)]
struct Place {
    data: Arc<DataDir>,
    /// Its directory in that of the data.
    directory: PathBuf,
    disk: DiskStorage,
    room: Arc<Room>,
}

impl Place {
    /// Its directory, which is no other process's.
    fn claim(&self) -> Result<PathBuf, OpenError> {
        Ok(self.data.claim()?.join(&self.directory))
    }
}

impl Keeper {
    /// Keeps the logs that are to be on a disk in `data`, and finds passwords in `secrets`.
    #[must_use]
    pub fn new(data: DataDir, secrets: &Path) -> Self {
        Self {
            data: Arc::new(data),
            rooms: Arc::default(),
            secrets: secrets.into(),
            tasks: TaskTracker::new(),
        }
    }

    /// Opens the log of a hub, at once or by and by.
    pub(super) fn open(&self, config: &PipelineConfig, hub: &Arc<Hub>) {
        match config.spec.log.storage.kind() {
            Some(StorageKind::Memory(_)) => {
                hub.open(Arc::new(MemoryLog::new(Arc::clone(hub.tail()))));
            }
            Some(StorageKind::Disk(disk)) => {
                self.tasks.spawn(open_disk(self.place(config, disk), Arc::clone(hub)));
            }
            #[cfg(feature = "redis")]
            Some(StorageKind::Redis(redis)) => {
                let place = Shared::redis(redis, config, &self.secrets);
                self.tasks.spawn(replicated::attend(place, Arc::clone(hub)));
            }
            #[cfg(feature = "nats")]
            Some(StorageKind::Nats(nats)) => {
                let place = Shared::nats(nats, config, &self.secrets);
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

    /// The durable streams of a pipeline: beside its log where that is on a disk, and otherwise in the
    /// memory of this replica.
    pub(super) fn streams(&self, config: &PipelineConfig, limits: Limits) -> Arc<Streams> {
        match config.spec.log.storage.kind() {
            Some(StorageKind::Disk(disk)) => {
                let streams = Streams::opening(limits);
                let place = self.place(config, disk);
                let name = config.name.clone();
                self.tasks.spawn(streams::open(place, name, Arc::clone(&streams)));
                streams
            }
            Some(StorageKind::Memory(_) | StorageKind::Redis(_) | StorageKind::Nats(_)) | None => {
                Streams::new(limits)
            }
        }
    }

    fn place(&self, config: &PipelineConfig, disk: &DiskStorage) -> Place {
        let [namespace, name] = [&config.namespace, &config.name]
            .map(|name| utf8_percent_encode(name, ODD).to_string());
        let directory = PathBuf::from(namespace).join(name);
        let mut rooms = self.rooms.lock();
        rooms.retain(|_, room| room.strong_count() > 0);
        let known = rooms.get(&directory).and_then(Weak::upgrade);
        let room = known.unwrap_or_else(|| Room::new(0));
        room.resize(disk.size.bytes());
        rooms.insert(directory.clone(), Arc::downgrade(&room));
        Place { data: Arc::clone(&self.data), directory, disk: disk.clone(), room }
    }

    /// Closes durable streams.
    pub(super) fn close_streams(&self, streams: &Arc<Streams>) {
        let streams = Arc::clone(streams);
        self.tasks.spawn(async move { streams.close().await });
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

async fn open_disk(place: Place, hub: Arc<Hub>) {
    let mut pause = FIRST_PAUSE;
    while !hub.is_closed() {
        let closing = hub.tail().grown();
        let (place, opening) = (place.clone(), Arc::clone(&hub));
        let opened = task::spawn_blocking(move || open_at(place, &opening)).await;
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

fn open_at(place: Place, hub: &Arc<Hub>) -> Result<DiskLog, OpenError> {
    let directory = place.claim()?;
    let Place { data: _, directory: _, disk: DiskStorage { size: _, durability }, room } = place;
    let options = DiskOptions {
        directory: directory.clone(),
        room,
        durability,
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
