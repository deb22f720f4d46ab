//! The NATS log: one JetStream stream that all replicas of a pipeline append to and follow.
//!
//! # Laws
//!
//! - An offset is a sequence of the stream. Nobody may delete or purge, so they are dense.
//! - The tail is filled by following the stream only, so that all replicas see one order.
//! - A duplicate is recognised by the broker within its window, and beyond it by the replica, which knows
//!   the identities of all that the stream holds; a replica that has not followed for half a window
//!   appends nothing.
//! - A stream that has lost what was acknowledged is never taken for the log that it was: the incarnation
//!   ends, and cursors into it are recognised.
//!
//! A batch is not atomic: where the broker fails in its midst, a part may have been taken although the
//! publisher is told that the log can't be reached. Sent again with the same ids, it is completed.

mod follow;
mod index;
mod message;
mod publish;
mod stream;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{self, AtomicU64},
    },
    time::{Duration, Instant},
};

use async_nats::{
    Auth, AuthError, Client, ConnectOptions,
    jetstream::{
        Context,
        context::ContextBuilder,
        stream::{DirectGetErrorKind, Info, Stream},
    },
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore, watch},
    task::JoinSet,
    time,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Appended, Backoff, Entry, Health, Held, Log, LogError, LogId, Micros, Offset, Password,
    Pending, Read, Retention, Tail, health::Pulse,
};
use crate::{clock, count::Eviction, intake::Posted};
use index::Index;
use stream::unavailable;

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(2);

/// How long to wait for one answer.
const ANSWER: Duration = Duration::from_secs(2);

/// The most batches that are being sent.
const TURNS: usize = 64;

/// The most messages of one page, each of which is a question of its own.
const MOST: usize = 512;

/// The least time between two looks at the stream, however often they are asked for.
const LEAST_PAUSE: Duration = Duration::from_millis(50);

/// Where the log is.
#[derive(Debug, Clone)]
pub struct NatsConfig {
    /// `HOST:PORT`.
    pub address: String,
    /// The name of the stream: one log, one stream.
    pub stream: String,
    /// How many servers keep it.
    pub replicas: usize,
    /// The user, where there is one.
    pub user: Option<String>,
    /// The user's password, or without a user a token.
    pub password: Option<Password>,
}

impl NatsConfig {
    fn subject(&self) -> String {
        format!("weir.log.{}", self.stream)
    }
}

/// A log in a JetStream stream.
#[derive(Debug)]
pub struct NatsLog {
    core: Arc<Core>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

#[derive(Debug)]
struct Core {
    config: NatsConfig,
    context: Context,
    stream: Stream,
    subject: String,
    id: LogId,
    tail: Arc<Tail>,
    index: Mutex<Index>,
    retention: Mutex<Retention>,
    /// The newest message that was seen, by offset and message id.
    last: Mutex<Option<(Offset, String)>>,
    /// Drawn at random when the log is opened.
    replica: u64,
    /// When the last append was accepted.
    moment: AtomicU64,
    turns: Semaphore,
    freshness: Mutex<Freshness>,
    pulse: Pulse,
    expiry: Notify,
}

/// Until when this replica has surely followed the stream.
#[derive(Debug, Clone, Copy)]
struct Freshness {
    followed: Instant,
    /// The head at some moment, which is to be reached.
    target: (Offset, Instant),
}

impl NatsLog {
    /// Opens the log, or makes it where there is none. What is appended from now on comes into `tail`.
    ///
    /// # Errors
    ///
    /// Says why it can't be opened; another try may succeed.
    pub async fn open(
        config: &NatsConfig,
        tail: Arc<Tail>,
        retention: Retention,
    ) -> Result<Self, LogError> {
        let client = connect(config).await?;
        let inflight = TURNS * publish::WINDOW;
        let context =
            ContextBuilder::new().timeout(ANSWER).max_ack_inflight(inflight).build(client);
        let stream = stream::open(&context, config, retention).await?;
        let info = stream.get_info().await.map_err(unavailable)?;
        let (first, head) = stream::bounds(&info);
        let now = Instant::now();
        let core = Arc::new(Core {
            config: config.clone(),
            subject: config.subject(),
            id: stream::incarnation(&info),
            context,
            stream,
            tail,
            index: Mutex::new(Index::new(first)),
            retention: Mutex::new(retention),
            last: Mutex::default(),
            replica: fastrand::u64(..),
            moment: AtomicU64::new(0),
            turns: Semaphore::new(TURNS),
            freshness: Mutex::new(Freshness { followed: now, target: (head, now) }),
            pulse: Pulse::default(),
            expiry: Notify::new(),
        });
        follow::load(&core, first, head).await?;
        core.tail.start_at(head);
        let tasks =
            [tokio::spawn(follow::run(Arc::clone(&core))), tokio::spawn(expire(Arc::clone(&core)))];
        Ok(Self { core, _tasks: tasks.map(AbortOnDropHandle::new) })
    }

    /// How the log does.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.core.pulse.watch()
    }
}

async fn connect(config: &NatsConfig) -> Result<Client, LogError> {
    let NatsConfig { address, stream, replicas: _, user, password } = config;
    let (user, password) = (user.clone(), password.clone());
    // Asked for each connection, because a password may have been changed.
    let options = ConnectOptions::with_auth_callback(move |_| {
        let auth = authorize(user.clone(), password.as_ref());
        async move { auth }
    });
    let options = options
        .name(format!("weir {stream}"))
        .connection_timeout(CONNECT)
        .request_timeout(Some(ANSWER))
        .max_reconnects(None)
        .reconnect_delay_callback(|tries| Backoff::after(tries).pause());
    let connecting = time::timeout(2 * CONNECT, options.connect(address.as_str()));
    connecting.await.map_err(unavailable)?.map_err(unavailable)
}

/// What is shown to the server: a user and its password, or a token.
fn authorize(user: Option<String>, password: Option<&Password>) -> Result<Auth, AuthError> {
    let password = password.map(Password::read).transpose().map_err(AuthError::new)?;
    let mut auth = Auth::new();
    match user {
        Some(user) => {
            auth.username = Some(user);
            auth.password = password;
        }
        None => auth.token = password,
    }
    Ok(auth)
}

impl Core {
    /// How often the client has connected.
    fn connections(&self) -> u64 {
        self.context.client().statistics().connects.load(atomic::Ordering::Relaxed)
    }

    /// When an append is accepted that comes now: later than every other of this replica.
    fn moment(&self) -> Micros {
        let now = clock::micros();
        let later = |last: Micros| Some(now.max(last + 1));
        let (order, last) = (atomic::Ordering::Relaxed, &self.moment);
        let last = last.fetch_update(order, order, later).unwrap_or_default();
        now.max(last + 1)
    }

    /// Whether anything may be appended.
    fn is_usable(&self) -> Result<(), LogError> {
        let behind = "this replica is behind; it appends again when it has caught up";
        let retention = *self.retention.lock();
        let remembers_all = retention.max_age <= stream::WINDOW;
        let followed = self.freshness.lock().followed;
        if self.pulse.is_lost() {
            return Err(LogError::Unavailable(
                "nats has lost events; the log begins anew".to_owned(),
            ));
        }
        if !remembers_all && followed.elapsed() > stream::WINDOW / 2 {
            return Err(LogError::Unavailable(behind.to_owned()));
        }
        Ok(())
    }

    /// Looks at the stream: whether it still is the one that was opened and holds what was seen of it, and
    /// what has left it. `None` where the log is lost.
    async fn check(&self) -> Result<Option<Info>, LogError> {
        // Before the question: what is appended meanwhile is no loss.
        let (seen, last) = (self.tail.head(), self.last.lock().clone());
        let Some(info) = stream::look(&self.context, &self.config).await? else {
            return Ok(self.lose());
        };
        if stream::incarnation(&info) != self.id {
            return Ok(self.lose());
        }
        let (first, head) = stream::bounds(&info);
        if head < seen || !self.holds(first, last).await? {
            stream::renew(&self.context, &info).await?;
            return Ok(self.lose());
        }
        self.evict(|index| index.evict_before(first));
        self.freshen(head);
        Ok(Some(info))
    }

    fn lose(&self) -> Option<Info> {
        self.pulse.say(Health::Lost);
        None
    }

    /// Whether the newest message that was seen is still the same.
    async fn holds(&self, first: Offset, last: Option<(Offset, String)>) -> Result<bool, LogError> {
        let Some((offset, name)) = last.filter(|(offset, _)| *offset >= first) else {
            return Ok(true);
        };
        match self.stream.direct_get(offset).await {
            Ok(held) => Ok(message::read_headers(&held.headers).is_some_and(|(id, ..)| id == name)),
            // It may have left since, or this server is behind.
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(true),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Evicts from the index, and returns where it begins then.
    fn evict(&self, evict: impl FnOnce(&mut Index)) -> Offset {
        let mut index = self.index.lock();
        let before = index.first();
        evict(&mut index);
        let first = index.first();
        drop(index);
        self.tail.counts().evicted(Eviction::Retention, first - before);
        first
    }

    /// Evicts from the index what is past a bound, and returns where it begins then.
    fn expire_index(&self) -> Offset {
        let retention = *self.retention.lock();
        self.evict(|index| index.expire(retention, clock::micros()))
    }

    fn freshen(&self, head: Offset) {
        let mut freshness = self.freshness.lock();
        let (target, at) = freshness.target;
        if self.tail.head() >= target {
            *freshness = Freshness { followed: at, target: (head, Instant::now()) };
        }
    }

    async fn read(&self, from: Offset, max_bytes: u64) -> Result<Read, LogError> {
        let wanted = {
            let index = self.index.lock();
            if from < index.first() {
                return Ok(Read::Evicted { first: index.first() });
            }
            if from >= index.head() {
                return Ok(Read::Entries(Vec::new()));
            }
            index.fitting(from, max_bytes, MOST)
        };
        let mut asked = JoinSet::new();
        for offset in wanted {
            let stream = self.stream.clone();
            asked.spawn(async move { stream.direct_get(offset).await });
        }
        let mut entries: Vec<Entry> = Vec::new();
        while let Some(answer) = asked.join_next().await {
            match answer.map_err(unavailable)? {
                Ok(held) => {
                    let time = stream::micros(held.time);
                    entries.push(message::entry(held.sequence, time, &held.payload)?);
                }
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => {
                    return self.missing(from).await;
                }
                Err(error) => return Err(unavailable(error)),
            }
        }
        entries.sort_unstable_by_key(|entry| entry.offset);
        Ok(Read::Entries(entries.into_iter().map(Arc::new).collect()))
    }

    /// What is said of a page that is not there: it has left, or this server is behind.
    async fn missing(&self, from: Offset) -> Result<Read, LogError> {
        self.check().await?;
        let first = self.index.lock().first();
        if from < first {
            return Ok(Read::Evicted { first });
        }
        Err(LogError::Unavailable("the server that was asked does not have it yet".to_owned()))
    }

    async fn head(&self) -> Result<Offset, LogError> {
        let info = self.stream.get_info().await.map_err(unavailable)?;
        Ok(stream::bounds(&info).1)
    }

    async fn expire_once(&self) -> Result<(), LogError> {
        let Some(info) = self.check().await? else { return Ok(()) };
        let retention = *self.retention.lock();
        stream::bound(&self.context, &info.config, &self.config, retention).await
    }
}

/// Looks at the stream whenever it is asked for, until the task is dropped.
async fn expire(core: Arc<Core>) {
    while !core.pulse.is_lost() {
        core.expiry.notified().await;
        if let Err(error) = core.expire_once().await {
            tracing::debug!(%error, "can't look at the log");
        }
        time::sleep(LEAST_PAUSE).await;
    }
}

impl Log for NatsLog {
    fn id(&self) -> LogId {
        self.core.id
    }

    fn first(&self) -> Offset {
        self.core.index.lock().first()
    }

    fn held(&self) -> Held {
        self.core.index.lock().held()
    }

    fn append(&self, events: Vec<Posted>) -> Pending<'_, Result<Appended, LogError>> {
        Box::pin(publish::append(&self.core, events))
    }

    fn read(&self, from: Offset, max_bytes: u64) -> Pending<'_, Result<Read, LogError>> {
        Box::pin(self.core.read(from, max_bytes))
    }

    fn offset_at(&self, time: Micros) -> Pending<'_, Result<Offset, LogError>> {
        let offset = self.core.index.lock().offset_at(time);
        Box::pin(async move { Ok(offset) })
    }

    fn head(&self) -> Pending<'_, Result<Offset, LogError>> {
        Box::pin(self.core.head())
    }

    fn set_retention(&self, retention: Retention) {
        *self.core.retention.lock() = retention;
        self.core.expiry.notify_one();
    }

    fn expire(&self) {
        let first = self.core.expire_index();
        self.core.tail.evict_before(first);
        self.core.tail.expire();
        self.core.expiry.notify_one();
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async {})
    }
}
