//! The hub: one pipeline's log, and what its subscribers need to read from it.
//!
//! # Laws
//!
//! - A subscription is an offset into the log. The hub keeps no queue for a subscriber, and a slow one
//!   is simply one whose offset lags.
//! - An event is encoded once for each wire format, together with its neighbours, into a [`Chunk`]
//!   that all subscribers share.
//! - A subscriber that can't be given the event at its offset is told so by a [`Gap`], never by
//!   silence.
//! - A publish is answered after the log has the event, and before any subscriber is written to.

pub(crate) mod chunk;
mod position;
mod settings;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};

use chunk::{CHUNK_BYTES, Cache};
pub use chunk::{Chunk, Fetch, Framing};
pub use position::{Gap, Position, Start};
pub use settings::Settings;

use crate::{
    count::{Accounts, Seat, Transport},
    engine::Wakers,
    frame::Format,
    intake::Posted,
    log::{Appended, Cursor, LogId, MemoryLog, Offset, Read},
};

/// One pipeline, as publishers and subscribers see it.
#[derive(Debug)]
pub struct Hub {
    name: String,
    log_id: LogId,
    log: RwLock<MemoryLog>,
    /// The log's head, to be compared without the lock.
    head: AtomicU64,
    chunks: Mutex<Cache>,
    settings: ArcSwap<Settings>,
    /// Set when the pipeline is gone from the configuration: subscribers are sent away.
    closed: AtomicBool,
    accounts: Arc<Accounts>,
    wakers: Wakers,
}

/// The pipeline takes no more connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pipeline's limit of {limit} connections is reached")]
pub struct Full {
    /// `spec.delivery.maxConnections`.
    pub limit: u64,
}

impl Hub {
    /// A hub with an empty log.
    #[must_use]
    pub fn new(name: &str, settings: Settings, wakers: Wakers) -> Self {
        let log = MemoryLog::new(settings.retention);
        Self {
            name: name.to_owned(),
            log_id: LogId::random(),
            head: AtomicU64::new(log.head()),
            log: RwLock::new(log),
            chunks: Mutex::default(),
            settings: ArcSwap::from_pointee(settings),
            closed: AtomicBool::new(false),
            accounts: Arc::new(Accounts::new(wakers.len())),
            wakers,
        }
    }

    /// The pipeline's name, which stands in its URLs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the manifest grants, in the units of the data plane.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Takes up changed settings. Connections that they still allow are kept.
    pub fn set_settings(&self, settings: Settings) {
        self.log.write().set_retention(settings.retention);
        self.settings.store(Arc::new(settings));
    }

    /// The counters of the pipeline.
    #[must_use]
    pub const fn accounts(&self) -> &Arc<Accounts> {
        &self.accounts
    }

    /// Appends events and wakes the subscribers. When this returns, the log has the events.
    pub fn publish(&self, events: Vec<Posted>) -> Appended {
        let appended = {
            let mut log = self.log.write();
            let appended = log.append(events, Instant::now());
            // Inside the lock, so that the head never steps back.
            self.head.store(log.head(), Ordering::Release);
            appended
        };
        if appended.accepted > 0 {
            self.accounts.accepted.add(appended.accepted as u64);
            self.wakers.wake();
        }
        appended
    }

    /// The cursor of an offset.
    #[must_use]
    pub const fn cursor(&self, offset: Offset) -> Cursor {
        Cursor { log: self.log_id, offset }
    }

    /// The offset of the next event.
    #[must_use]
    pub fn head(&self) -> Offset {
        self.head.load(Ordering::Acquire)
    }

    /// The size of what waits for a subscriber whose next event is `from`.
    #[must_use]
    pub fn bytes_since(&self, from: Offset) -> u64 {
        self.log.read().bytes_since(from)
    }

    /// Events and bytes that the log holds.
    #[must_use]
    pub fn held(&self) -> (u64, u64) {
        let log = self.log.read();
        (log.len() as u64, log.bytes())
    }

    /// Where a subscriber with this position starts to read.
    #[must_use]
    pub fn start(&self, position: &Position) -> Start {
        let log = self.log.read();
        match position {
            Position::At(instant) => Start::without_gap(log.offset_at(*instant)),
            Position::Latest | Position::Earliest | Position::After(_) | Position::Malformed => {
                position.resolve(self.log_id, log.first(), log.head())
            }
        }
    }

    /// Takes a seat for a subscriber, until the seat is dropped.
    ///
    /// # Errors
    ///
    /// Fails when `spec.delivery.maxConnections` are taken.
    pub fn take_seat(&self, transport: Transport) -> Result<Seat, Full> {
        let limit = self.settings.load().max_connections;
        Seat::take(&self.accounts, transport, limit).ok_or(Full { limit })
    }

    /// The encoded events from `from` on: at least one, unless `from` is the head.
    pub fn fetch(&self, format: Format, from: Offset) -> Fetch {
        if from >= self.head() {
            return Fetch::Empty;
        }
        if let Some(chunk) = self.chunks.lock().get(format, from, self.head()) {
            return Fetch::Chunk(chunk);
        }
        let read = self.log.read().read(from, CHUNK_BYTES);
        match read {
            Read::Evicted { first } => Fetch::Evicted { first },
            Read::Entries(entries) => match Chunk::encode(format, self.log_id, &entries) {
                Some(chunk) => Fetch::Chunk(self.chunks.lock().put(format, chunk)),
                None => Fetch::Empty,
            },
        }
    }

    /// Evicts events that are past their age.
    pub fn expire(&self) {
        self.log.write().expire(Instant::now());
        if self.log.read().is_empty() {
            self.chunks.lock().clear();
        }
    }

    /// Sends the subscribers away: the pipeline is gone.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wakers.wake();
    }

    /// Whether the pipeline is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}
