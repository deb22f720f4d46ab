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

mod behind;
pub(crate) mod chunk;
mod conflating;
mod conflation;
mod fetching;
mod filters;
mod history;
mod lately;
mod pool;
mod position;
mod room;
mod settings;
mod shedding;
mod shelf;
mod vacancies;

use std::{
    net::IpAddr,
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use tokio::{runtime, sync::Notify, time};
use weir_crds::v1alpha1::SlowConsumer;

pub use behind::STALL;
pub use chunk::{Chunk, Fetch, Framing, Passed};
use conflation::{Conflation, Keys};
use filters::Filters;
pub use filters::{Client, Demand, Filter, Known, MAX_FILTERS, NoFilter, OwnFilter, TOO_COSTLY};
use history::History;
pub use position::{Gap, Position, SKEW, Start, moment};
pub use room::Mark;
use room::Room;
pub use settings::Settings;
pub use shedding::{HeardCall, Shedding};
use shelf::Shelf;
use vacancies::Vacancies;

use crate::{
    count::{Accounts, Cut, NoSeat, Seat, Transport},
    engine::Wakers,
    filter::{Expression, Refused, compile},
    intake::Posted,
    log::{Appended, Cursor, Entry, Held, Log, LogError, LogId, Offset, Read, Tail, size_of_event},
};

/// How long a client waits until the log is open, and until this replica has seen what another has shown it.
const CATCH_UP: Duration = Duration::from_secs(5);

/// How events are told apart where they are conflated. What can't be compiled is refused with the
/// configuration.
fn keys(settings: &Settings) -> Keys {
    let expression = settings.conflate_key.as_deref().and_then(|source| compile(source).ok());
    Keys::new(expression.map(Arc::new))
}

/// One pipeline, as publishers and subscribers see it.
#[derive(Debug)]
pub struct Hub {
    name: String,
    tail: Arc<Tail>,
    /// Set once, when the log is open.
    log: OnceLock<Opened>,
    /// Told when the log is open, or can't be opened.
    opening: Notify,
    /// Why the log isn't open, or can't be reached; empty while it works.
    fault: ArcSwapOption<String>,
    history: History,
    /// How many parts of the log were loaded, or could not be.
    loads: AtomicU64,
    chunks: Shelf,
    filters: Filters,
    keys: ArcSwap<Keys>,
    /// The steps of this second that were taken for subscribers who can't be written to.
    ahead: AtomicU32,
    /// What is conflated for subscribers without a filter.
    conflation: Mutex<Conflation>,
    room: Arc<Room>,
    /// [`Settings::slow_consumer`], to be looked at for every write.
    slow_consumer: AtomicU8,
    settings: ArcSwap<Settings>,
    /// Set when the log has lost events that were acknowledged: another hub is to take the place of this.
    lost: AtomicBool,
    /// Set when the pipeline is gone from the configuration: subscribers are sent away.
    closed: AtomicBool,
    closing: Notify,
    shedding: Shedding,
    /// Those who wait for the seat of another.
    vacancies: Vacancies,
    accounts: Arc<Accounts>,
    runtime: runtime::Handle,
}

#[derive(Debug)]
struct Opened {
    id: LogId,
    log: Arc<dyn Log>,
}

impl Hub {
    /// A hub whose log is still to be opened: see [`Self::open`].
    ///
    /// Must be called within a tokio runtime, on which older parts of the log are loaded.
    #[must_use]
    pub fn new(name: &str, settings: Settings, wakers: Wakers) -> Self {
        let accounts = Arc::new(Accounts::new(wakers.len()));
        Self::with_accounts(name, settings, accounts, wakers)
    }

    /// A hub in place of another whose log is to be another: it goes on counting where that one ends.
    #[must_use]
    pub fn after(other: &Self, settings: Settings, wakers: Wakers) -> Self {
        Self::with_accounts(&other.name, settings, Arc::clone(&other.accounts), wakers)
    }

    fn with_accounts(
        name: &str,
        settings: Settings,
        accounts: Arc<Accounts>,
        wakers: Wakers,
    ) -> Self {
        let tail = Tail::new(settings.tail(), Arc::clone(&accounts), wakers);
        let filters = Filters::default();
        Self {
            name: name.to_owned(),
            tail: Arc::new(tail),
            log: OnceLock::new(),
            opening: Notify::new(),
            fault: ArcSwapOption::empty(),
            history: History::default(),
            loads: AtomicU64::new(0),
            chunks: Shelf::of_all(),
            ahead: AtomicU32::new(0),
            conflation: Mutex::new(filters.index()),
            filters,
            keys: ArcSwap::from_pointee(keys(&settings)),
            room: Arc::default(),
            slow_consumer: AtomicU8::new(settings.slow_consumer as u8),
            settings: ArcSwap::from_pointee(settings),
            lost: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            closing: Notify::new(),
            shedding: Shedding::default(),
            vacancies: Vacancies::default(),
            accounts,
            runtime: runtime::Handle::current(),
        }
    }

    /// What calls on subscribers to leave.
    #[must_use]
    pub const fn shedding(&self) -> &Shedding {
        &self.shedding
    }

    /// Serves `log`, which fills the [`Self::tail`], from now on. Only the first call counts.
    pub fn open(&self, log: Arc<dyn Log>) {
        let id = log.id();
        if self.log.set(Opened { id, log }).is_ok() {
            self.fault.store(None);
            self.opening.notify_waiters();
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
        self.opening.notify_waiters();
    }

    /// Why the log can't be used; `None` while it can.
    #[must_use]
    pub fn fault(&self) -> Option<Arc<String>> {
        self.fault.load_full()
    }

    /// Says that the log has lost events that were acknowledged.
    pub fn set_lost(&self) {
        self.lost.store(true, Ordering::Release);
    }

    /// Whether another hub is to take the place of this one, because its log has lost events.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Returns when the hub is closed.
    pub async fn closed(&self) {
        // Before the look, so that a close in between is not missed.
        let closing = self.closing.notified();
        if !self.is_closed() {
            closing.await;
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
        self.tail.set_bounds(settings.tail());
        if let Some(log) = self.log() {
            log.set_retention(settings.retention);
        }
        self.slow_consumer.store(settings.slow_consumer as u8, Ordering::Relaxed);
        if settings.conflate_key != self.settings.load().conflate_key {
            self.keys.store(Arc::new(keys(&settings)));
            self.each_index(Conflation::forget);
        }
        self.settings.store(Arc::new(settings));
    }

    /// Does something to all indices of what is conflated.
    fn each_index(&self, change: impl Fn(&mut Conflation)) {
        change(&mut self.conflation.lock());
        self.filters.all().iter().for_each(|filter| change(&mut filter.conflation().lock()));
    }

    /// Whether subscribers that fall behind are dealt with in this way.
    #[must_use]
    pub fn deals_by(&self, policy: SlowConsumer) -> bool {
        self.slow_consumer.load(Ordering::Relaxed) == policy as u8
    }

    /// The counters of the pipeline.
    #[must_use]
    pub const fn accounts(&self) -> &Arc<Accounts> {
        &self.accounts
    }

    /// What became of all deliveries up to now.
    #[must_use]
    pub fn cut(&self) -> Cut {
        self.accounts.cut(&self.tail)
    }

    /// Appends events. When this returns, the log has them, and subscribers are woken or soon will be.
    ///
    /// # Errors
    ///
    /// Says why the log can't take them; it has taken none.
    pub async fn publish(&self, events: Vec<Posted>) -> Result<Appended, LogError> {
        let Opened { id: _, log } = self.opened().await?;
        if self.is_closed() {
            let why = "the pipeline is gone, or gets another log";
            return Err(LogError::Unavailable(why.to_owned()));
        }
        if self.deals_by(SlowConsumer::Block) {
            self.wait_for_room(&events).await?;
        }
        let begun = Instant::now();
        let appended = log.append(events).await;
        self.accounts.log.appends.record(begun.elapsed());
        appended
    }

    /// Waits until the slowest subscriber is near enough for these events. Publishers that wait together
    /// go on together, so that it may be behind by a batch of each.
    async fn wait_for_room(&self, events: &[Posted]) -> Result<(), LogError> {
        let count = events.len() as u64;
        let bytes: u64 = events.iter().map(|posted| size_of_event(&posted.event)).sum();
        let settings = self.settings();
        let has_room = |slowest: Option<Offset>| {
            let lag = slowest.map_or(0, |slowest| self.head().saturating_sub(slowest));
            // A batch that never fits is taken when nobody is behind.
            lag == 0
                || (lag + count <= settings.max_lag_events
                    && self.bytes_since(slowest.unwrap_or(0)) + bytes <= settings.max_lag_bytes)
        };
        if self.room.wait(has_room).await {
            return Ok(());
        }
        self.accounts.held_up.add(1);
        let why = format!("it did not come near enough in {} s", room::PATIENCE.as_secs());
        Err(LogError::SlowConsumer(why))
    }

    /// Lets publishers wait for a subscriber from now on, where they do.
    #[must_use]
    pub fn mark(&self, offset: Offset) -> Option<Mark> {
        self.deals_by(SlowConsumer::Block).then(|| self.room.mark(offset))
    }

    /// Whether publishers wait for a subscriber.
    #[must_use]
    pub fn is_held_up(&self) -> bool {
        self.room.is_wanted()
    }

    /// What is said while the log is not open.
    fn not_open(&self) -> LogError {
        let why =
            self.fault().map_or_else(|| "it is being opened".to_owned(), |why| why.to_string());
        LogError::NotOpen(why)
    }

    /// The log. While it is being opened, and nothing is known to be in the way, it is waited for: that takes
    /// milliseconds as a rule, and whoever comes at the start of the process need not come twice.
    async fn opened(&self) -> Result<&Opened, LogError> {
        let opened = async {
            loop {
                let mut changed = pin!(self.opening.notified());
                // Before the look, so that no change is missed.
                changed.as_mut().enable();
                if let Some(opened) = self.log.get() {
                    return Ok(opened);
                }
                if self.fault().is_some() || self.is_closed() {
                    return Err(self.not_open());
                }
                changed.await;
            }
        };
        time::timeout(CATCH_UP, opened).await.unwrap_or_else(|_| Err(self.not_open()))
    }

    /// The cursor of an offset.
    #[must_use]
    pub fn cursor(&self, offset: Offset) -> Cursor {
        // Before the log is open nobody has an offset.
        Cursor { log: self.log_id(), offset }
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

    /// Where a subscriber with this position starts to read: at the head of this replica, or before it.
    ///
    /// # Errors
    ///
    /// Says why the log can't be asked.
    pub async fn start(&self, position: &Position) -> Result<Start, LogError> {
        let Opened { id, log } = self.opened().await?;
        let first = log.first();
        match position {
            Position::At(time) => {
                let next = log.offset_at(*time).await?;
                let evicted = first.checked_sub(1).filter(|_| next <= first);
                let time_of = |offset| self.tail.look(|ring| ring.time_of_evicted(offset));
                self.reached(position::since(*time, next.max(first), evicted, time_of)).await
            }
            Position::Latest | Position::Earliest | Position::Malformed => {
                Ok(position.resolve(*id, first, self.head()))
            }
            // A replica may have been told of more than this one has seen yet.
            Position::After(cursor) if cursor.log == *id && cursor.offset >= self.head() => {
                self.reached(position.resolve(*id, first, log.head().await?)).await
            }
            Position::After(_) => Ok(position.resolve(*id, first, self.head())),
        }
    }

    /// The same start, once this replica has seen as much of the log as it has to.
    async fn reached(&self, start: Start) -> Result<Start, LogError> {
        let reached = async {
            loop {
                let mut grown = pin!(self.tail.grown());
                // Before the look, so that no news is missed.
                grown.as_mut().enable();
                if self.head() >= start.next {
                    return start;
                }
                grown.await;
            }
        };
        let behind = |_| LogError::Unavailable("this replica is behind it".to_owned());
        time::timeout(CATCH_UP, reached).await.map_err(behind)
    }

    /// Whether a subscriber with this position has seen events and goes on behind them, as far as is known
    /// without asking the log.
    #[must_use]
    pub fn can_resume(&self, position: &Position) -> bool {
        let (Position::After(cursor), Some(Opened { id, log })) = (position, self.log.get()) else {
            return false;
        };
        let held = log.first()..=self.head();
        cursor.log == *id && held.contains(&cursor.offset.saturating_add(1))
    }

    /// Reads entries from `from` on, be they in memory or not, and no more than fit into `max_bytes`.
    ///
    /// # Errors
    ///
    /// Says why the log can't be read.
    pub async fn read(&self, from: Offset, max_bytes: u64) -> Result<Read, LogError> {
        match (self.tail.read(from, max_bytes), self.log()) {
            (Read::Evicted { first: _ }, Some(log)) => log.read(from, max_bytes).await,
            (Read::Evicted { first: _ }, None) => Err(self.not_open()),
            (entries @ Read::Entries(_), _) => Ok(entries),
        }
    }

    /// Takes a seat for a subscriber, until the seat is dropped. Where it is a connection's, and not one
    /// subscription's of several, it counts among those of the client's address.
    ///
    /// # Errors
    ///
    /// Fails when `spec.delivery.maxConnections` are taken, or those that one address may have.
    pub fn take_seat(&self, transport: Transport, address: Option<IpAddr>) -> Result<Seat, NoSeat> {
        let settings = self.settings.load();
        let of_network = address.zip(settings.max_connections_per_address);
        let of_network = of_network.map(|(address, limit)| (address.into(), limit));
        Seat::take_of(&self.accounts, transport, settings.max_connections, of_network)
    }

    /// Takes a connection's seat, and waits a moment for it where there is none: the page that is loaded anew comes
    /// before its last connection is known to be gone.
    ///
    /// # Errors
    ///
    /// Fails when no seat was given back in time.
    pub async fn seat(&self, transport: Transport, address: IpAddr) -> Result<Seat, NoSeat> {
        let take = || self.take_seat(transport, Some(address));
        match take() {
            Ok(seat) => Ok(seat),
            Err(_) => self.vacancies.wait_for(&self.accounts, take).await,
        }
    }

    /// Reads a filter that a subscriber sent.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub async fn expression(&self, source: &str) -> Result<Arc<Expression>, Refused> {
        self.filters.compile(source).await
    }

    /// The filter of a subscriber, shared with those who want the same; `None` where it gets all.
    ///
    /// # Errors
    ///
    /// Fails when there are [`MAX_FILTERS`] others, or as many of the client's as it may have, or this one has just
    /// cost too much.
    pub fn filter(&self, demand: Demand) -> Result<Option<OwnFilter>, NoFilter> {
        self.filters.share(demand)
    }

    /// Whether a filter of this pipeline takes an event, and what it took to find out, in steps.
    pub(crate) fn takes(&self, filter: &Filter, entry: &Entry) -> (bool, u32) {
        filter.judge(entry, &self.accounts)
    }

    /// How many different filters the subscribers have.
    #[must_use]
    pub fn filters(&self) -> usize {
        self.filters.len()
    }

    /// Evicts events that are past their age, and lets go of what nobody needs any more. To be called every
    /// second.
    pub fn expire(&self) {
        if let Some(log) = self.log() {
            log.expire();
        }
        self.ahead.store(0, Ordering::Relaxed);
        self.each_index(Conflation::age);
        self.chunks.age();
        self.filters.age();
        if self.tail.look(crate::log::Ring::is_empty) {
            self.chunks.clear();
            self.history.clear();
        }
    }

    /// Sends the subscribers away: the pipeline is gone.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.closing.notify_waiters();
        self.opening.notify_waiters();
        self.tail.tell();
    }

    /// Whether the pipeline is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

#[cfg(test)]
#[cfg(feature = "cel")]
mod tests;
