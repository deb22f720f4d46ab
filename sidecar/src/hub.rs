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
//! - A publish is answered after the log has the event as safely as it promises.
//! - Nothing here waits for the log but what is asynchronous: a shard that needs an older part of it is
//!   told when it has come.

pub(crate) mod chunk;
mod history;
mod position;
mod settings;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use tokio::{runtime, time};

use chunk::{CHUNK_BYTES, Cache};
pub use chunk::{Chunk, Fetch, Framing};
use history::{History, Look, PAGE_BYTES};
pub use position::{Gap, Position, Start};
pub use settings::Settings;

use crate::{
    count::{Accounts, Seat, Transport},
    engine::Wakers,
    frame::Format,
    intake::Posted,
    log::{Appended, Cursor, Entry, Held, Log, LogError, LogId, Offset, Read, Tail},
};

/// How long to wait after a part of the log could not be read, before its readers ask again.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);

/// One pipeline, as publishers and subscribers see it.
#[derive(Debug)]
pub struct Hub {
    name: String,
    tail: Arc<Tail>,
    /// Set once, when the log is open.
    log: OnceLock<Opened>,
    /// Why the log isn't open, or can't be reached; empty while it works.
    fault: ArcSwapOption<String>,
    history: History,
    /// How many parts of the log were loaded, or could not be.
    loads: AtomicU64,
    chunks: Mutex<Cache>,
    settings: ArcSwap<Settings>,
    /// Set when the pipeline is gone from the configuration: subscribers are sent away.
    closed: AtomicBool,
    accounts: Arc<Accounts>,
    runtime: runtime::Handle,
}

#[derive(Debug)]
struct Opened {
    id: LogId,
    log: Arc<dyn Log>,
}

/// The pipeline takes no more connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pipeline's limit of {limit} connections is reached")]
pub struct Full {
    /// `spec.delivery.maxConnections`.
    pub limit: u64,
}

impl Hub {
    /// A hub whose log is still to be opened: see [`Self::open`].
    ///
    /// Must be called within a tokio runtime, on which older parts of the log are loaded.
    #[must_use]
    pub fn new(name: &str, settings: Settings, wakers: Wakers) -> Self {
        let accounts = Arc::new(Accounts::new(wakers.len()));
        let tail = Tail::new(settings.tail(), Arc::clone(&accounts), wakers);
        Self {
            name: name.to_owned(),
            tail: Arc::new(tail),
            log: OnceLock::new(),
            fault: ArcSwapOption::empty(),
            history: History::default(),
            loads: AtomicU64::new(0),
            chunks: Mutex::default(),
            settings: ArcSwap::from_pointee(settings),
            closed: AtomicBool::new(false),
            accounts,
            runtime: runtime::Handle::current(),
        }
    }

    /// Serves `log`, which fills the [`Self::tail`], from now on. Only the first call counts.
    pub fn open(&self, log: Arc<dyn Log>) {
        let id = log.id();
        if self.log.set(Opened { id, log }).is_ok() {
            self.fault.store(None);
        }
    }

    /// The log, once it is open.
    #[must_use]
    pub fn log(&self) -> Option<&Arc<dyn Log>> {
        self.log.get().map(|opened| &opened.log)
    }

    /// The newest events, which the log fills.
    #[must_use]
    pub const fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    /// Says why the log can't be used, or that it can.
    pub fn set_fault(&self, fault: Option<String>) {
        self.fault.store(fault.map(Arc::new));
    }

    /// Why the log can't be used; `None` while it can.
    #[must_use]
    pub fn fault(&self) -> Option<Arc<String>> {
        self.fault.load_full()
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
        self.tail.set_bounds(settings.tail());
        if let Some(log) = self.log() {
            log.set_retention(settings.retention);
        }
        self.settings.store(Arc::new(settings));
    }

    /// The counters of the pipeline.
    #[must_use]
    pub const fn accounts(&self) -> &Arc<Accounts> {
        &self.accounts
    }

    /// Appends events. When this returns, the log has them, and subscribers are woken or soon will be.
    ///
    /// # Errors
    ///
    /// Says why the log can't take them; it has taken none.
    pub async fn publish(&self, events: Vec<Posted>) -> Result<Appended, LogError> {
        match self.log() {
            Some(log) => log.append(events).await,
            None => Err(self.not_open()),
        }
    }

    /// What is said while the log is not open.
    fn not_open(&self) -> LogError {
        let why =
            self.fault().map_or_else(|| "it is being opened".to_owned(), |why| why.to_string());
        LogError::Unavailable(why)
    }

    /// The cursor of an offset.
    #[must_use]
    pub fn cursor(&self, offset: Offset) -> Cursor {
        // Before the log is open nobody has an offset.
        let log = self.log.get().map_or_else(LogId::default, |opened| opened.id);
        Cursor { log, offset }
    }

    /// The offset of the next event.
    #[must_use]
    pub fn head(&self) -> Offset {
        self.tail.head()
    }

    /// How often a part of the log was loaded. Who waits for one looks again when this has grown.
    #[must_use]
    pub fn loads(&self) -> u64 {
        self.loads.load(Ordering::Acquire)
    }

    /// The size of what waits for a subscriber whose next event is `from`, as far as it is in memory.
    #[must_use]
    pub fn bytes_since(&self, from: Offset) -> u64 {
        self.tail.look(|ring| ring.bytes_since(from))
    }

    /// Events and bytes that the log holds.
    #[must_use]
    pub fn held(&self) -> Held {
        self.log().map(|log| log.held()).unwrap_or_default()
    }

    /// Where a subscriber with this position starts to read.
    ///
    /// # Errors
    ///
    /// Says why the log can't be asked.
    pub async fn start(&self, position: &Position) -> Result<Start, LogError> {
        let Some(Opened { id, log }) = self.log.get() else { return Err(self.not_open()) };
        let first = log.first();
        match position {
            Position::At(time) => Ok(Start::without_gap(log.offset_at(*time).await?)),
            Position::Latest | Position::Earliest | Position::Malformed => {
                Ok(position.resolve(*id, first, self.head()))
            }
            // A replica may have been told of more than this one has seen yet.
            Position::After(cursor) if cursor.log == *id && cursor.offset >= self.head() => {
                Ok(position.resolve(*id, first, log.head().await?))
            }
            Position::After(_) => Ok(position.resolve(*id, first, self.head())),
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
    pub fn fetch(self: &Arc<Self>, format: Format, from: Offset) -> Fetch {
        if from >= self.head() {
            return Fetch::Empty;
        }
        if let Some(chunk) = self.chunks.lock().get(format, from, self.head()) {
            return Fetch::Chunk(chunk);
        }
        match self.tail.read(from, CHUNK_BYTES) {
            Read::Entries(entries) => self.encode(format, &entries),
            Read::Evicted { first: _ } => self.fetch_older(format, from),
        }
    }

    fn encode(&self, format: Format, entries: &[Arc<Entry>]) -> Fetch {
        let Some(Opened { id, log: _ }) = self.log.get() else { return Fetch::Empty };
        match Chunk::encode(format, *id, entries) {
            Some(chunk) => Fetch::Chunk(self.chunks.lock().put(format, chunk)),
            None => Fetch::Empty,
        }
    }

    /// What is older than the tail: gone, here, or under way.
    fn fetch_older(self: &Arc<Self>, format: Format, from: Offset) -> Fetch {
        let Some(Opened { id: _, log }) = self.log.get() else { return Fetch::Empty };
        let first = log.first();
        if from < first {
            return Fetch::Evicted { first };
        }
        match self.history.look(from, CHUNK_BYTES) {
            Look::Here(entries) => self.encode(format, &entries),
            Look::Wait => Fetch::Loading,
            Look::Load => {
                self.runtime.spawn(Arc::clone(self).load(Arc::clone(log), from));
                Fetch::Loading
            }
        }
    }

    /// Loads a part of the log, and tells those who wait for it.
    async fn load(self: Arc<Self>, log: Arc<dyn Log>, from: Offset) {
        let entries = match log.read(from, PAGE_BYTES).await {
            Ok(Read::Entries(entries)) => entries,
            // The log knows its first event now, and the readers are told.
            Ok(Read::Evicted { first: _ }) => Vec::new(),
            Err(error) => {
                tracing::warn!(pipeline = self.name, %error, from, "can't read an older part of the log");
                time::sleep(RELOAD_PAUSE).await;
                Vec::new()
            }
        };
        self.history.finish(from, entries);
        self.loads.fetch_add(1, Ordering::Release);
        self.tail.tell();
    }

    /// Evicts events that are past their age.
    pub fn expire(&self) {
        if let Some(log) = self.log() {
            log.expire();
        }
        if self.tail.look(crate::log::Ring::is_empty) {
            self.chunks.lock().clear();
            self.history.clear();
        }
    }

    /// Sends the subscribers away: the pipeline is gone.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.tail.tell();
    }

    /// Whether the pipeline is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}
