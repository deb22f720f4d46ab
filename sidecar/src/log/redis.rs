//! The Redis log: one stream that all replicas of a pipeline append to and follow.
//!
//! # Laws
//!
//! - Every change is one script, which Redis runs alone: offsets are dense, an event with an id is taken
//!   once, and an append that is asked for again after a lost answer is answered, not repeated.
//! - The tail is filled by following the stream only, so that all replicas see one order.
//! - A store that has lost what was acknowledged is never taken for the log that it was: the incarnation
//!   ends, and cursors into it are recognised.

mod answer;
mod follow;
mod link;
mod script;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use redis::{ScriptInvocation, Value};
use tokio::{sync::Notify, sync::watch, time};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Appended, Backoff, Health, Held, Log, LogError, LogId, Micros, Offset, Password, Pending, Read,
    Retention, Tail,
    codec::{self, Origin},
    health::Pulse,
    size_of_event,
};
use crate::{clock, count::Eviction, intake::Posted};
use link::{Link, explain, is_passing};

/// How long an append is tried: a failover is waited for, an outage is reported while the publisher still
/// listens.
const APPEND: Duration = Duration::from_secs(5);

/// How long the answer to an append is kept: longer than it is tried, by far.
const ANSWER_KEPT: Duration = Duration::from_secs(60);

/// The least time between two expiries, however often they are asked for.
const LEAST_PAUSE: Duration = Duration::from_millis(50);

/// Where the log is.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user of Redis' access control list.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Password>,
    /// What all keys of the log begin with: one log, one prefix. It has a hash tag, so that a cluster
    /// keeps the keys together.
    pub keys: String,
}

/// A log in Redis.
#[derive(Debug)]
pub struct RedisLog {
    core: Arc<Core>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

#[derive(Debug)]
struct Core {
    link: Link,
    keys: Keys,
    id: LogId,
    tail: Arc<Tail>,
    retention: Mutex<Retention>,
    known: Mutex<Known>,
    /// Drawn at random when the log is opened.
    replica: u64,
    pulse: Pulse,
    expiry: Notify,
}

#[derive(Debug)]
struct Keys {
    stream: String,
    ids: String,
    state: String,
    batch: String,
}

/// What was last heard of the stream.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    first: Offset,
    head: Offset,
    bytes: u64,
}

impl RedisLog {
    /// Opens the log, or makes it where there is none. What is appended from now on comes into `tail`.
    ///
    /// # Errors
    ///
    /// Says why it can't be opened; another try may succeed.
    pub async fn open(
        config: &RedisConfig,
        tail: Arc<Tail>,
        retention: Retention,
    ) -> Result<Self, LogError> {
        let link = Link::new(config);
        let keys = Keys::new(&config.keys);
        let (id, known) = open(&link, &keys).await?;
        tail.start_at(known.head);
        let core = Arc::new(Core {
            link,
            keys,
            id,
            tail,
            retention: Mutex::new(retention),
            known: Mutex::new(known),
            replica: fastrand::u64(..),
            pulse: Pulse::default(),
            expiry: Notify::new(),
        });
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

async fn open(link: &Link, keys: &Keys) -> Result<(LogId, Known), LogError> {
    let mut script = script::OPENING.prepare_invoke();
    keys.name(&mut script);
    script.arg(written(LogId::random())).arg(script::FORMAT);
    let answer = link.run(&script).await.map_err(|error| explain(&error))?;
    let mut parts = answer::parts(answer)?.ok_or_else(answer::malformed)?;
    let format = answer::number(&mut parts)?;
    if format != u64::from(script::FORMAT) {
        let why = format!("{} has the form {format}, of another version of weir", keys.state);
        return Err(LogError::Damaged(why));
    }
    let id = parts.next().ok_or_else(answer::malformed)?;
    let id = u64::from_str_radix(answer::text(&id)?, 16).map_err(|_| answer::malformed())?;
    Ok((LogId::from_number(id), Known::read(&mut parts)?))
}

/// An incarnation as it is written down.
fn written(id: LogId) -> String {
    format!("{:012x}", id.number())
}

impl Keys {
    fn new(prefix: &str) -> Self {
        let key = |name: &str| format!("{prefix}:{name}");
        Self { stream: key("log"), ids: key("ids"), state: key("state"), batch: key("batch") }
    }

    /// Names the keys that every script has.
    fn name(&self, script: &mut ScriptInvocation<'_>) {
        let Self { stream, ids, state, batch: _ } = self;
        script.key(stream).key(ids).key(state);
    }
}

impl Known {
    fn read(parts: &mut impl Iterator<Item = Value>) -> Result<Self, LogError> {
        let [first, head, bytes] = [(); 3].map(|()| answer::number(parts));
        Ok(Self { first: first?, head: head?, bytes: bytes? })
    }
}

impl Core {
    fn id(&self) -> String {
        written(self.id)
    }

    /// Takes up what an answer says of the stream. Answers overtake each other; bounds never step back.
    fn learn(&self, parts: &mut impl Iterator<Item = Value>) -> Result<(), LogError> {
        let heard = Known::read(parts)?;
        let mut known = self.known.lock();
        if heard.head >= known.head && heard.first >= known.first {
            self.tail.counts().evicted(Eviction::Retention, heard.first - known.first);
            *known = heard;
        }
        drop(known);
        self.tail.evict_before(heard.first);
        Ok(())
    }

    /// Runs a script, again where that may help, until a deadline.
    async fn insist(
        &self,
        script: &ScriptInvocation<'_>,
        patience: Duration,
    ) -> Result<std::vec::IntoIter<Value>, LogError> {
        let deadline = Instant::now() + patience;
        let mut backoff = Backoff::default();
        loop {
            let error = match time::timeout_at(deadline.into(), self.link.run(script)).await {
                Ok(Ok(answer)) => return self.parts(answer).await,
                Ok(Err(error)) if is_passing(&error) => explain(&error),
                Ok(Err(error)) => return Err(explain(&error)),
                Err(_) => return Err(LogError::Unavailable("redis does not answer".to_owned())),
            };
            let pause = backoff.pause();
            if Instant::now() + pause >= deadline {
                return Err(error);
            }
            time::sleep(pause).await;
        }
    }

    async fn parts(&self, answer: Value) -> Result<std::vec::IntoIter<Value>, LogError> {
        if let Some(parts) = answer::parts(answer)? {
            return Ok(parts);
        }
        // Before it is said: whoever opens the log then must not find the incarnation that has lost events.
        follow::renew(self).await?;
        self.pulse.say(Health::Lost);
        Err(LogError::Unavailable("redis has lost events; the log begins anew".to_owned()))
    }

    /// A script that is told which log it is to find.
    fn ask(&self, script: &'static redis::Script) -> ScriptInvocation<'static> {
        let mut script = script.prepare_invoke();
        self.keys.name(&mut script);
        script.arg(self.id());
        script
    }

    async fn append(&self, events: Vec<Posted>) -> Result<Appended, LogError> {
        let origin = Origin { replica: self.replica, accepted: clock::micros() };
        let mut script = script::APPENDING.prepare_invoke();
        self.keys.name(&mut script);
        script.key(format!("{}:{:032x}", self.keys.batch, fastrand::u128(..)));
        script.arg(self.id()).arg(self.tail.head());
        bounds(&mut script, *self.retention.lock());
        script.arg(millis(ANSWER_KEPT));
        for posted in &events {
            let identity = codec::identity(posted);
            script.arg(identity.as_ref().map_or(&[][..], |identity| identity));
            script.arg(size_of_event(&posted.event)).arg(codec::encode(posted, origin));
        }
        drop(events);
        let mut parts = self.insist(&script, APPEND).await?;
        let [accepted, duplicates, last] = [(); 3].map(|()| answer::number(&mut parts));
        self.learn(&mut parts)?;
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(Appended { accepted: count(accepted?), duplicates: count(duplicates?), last: last? })
    }

    async fn read(&self, from: Offset, max_bytes: u64) -> Result<Read, LogError> {
        let mut script = self.ask(&script::READING);
        // What Lua takes for a number has 53 bits.
        script.arg(from).arg(max_bytes.min(1 << 40));
        let mut parts = self.insist(&script, APPEND).await?;
        let first = answer::number(&mut parts)?;
        let head = answer::number(&mut parts)?;
        let stored = answer::entries(parts.next())?;
        if from < first || stored.is_empty() && from < head {
            let first = if from < first { first } else { head };
            let mut known = self.known.lock();
            self.tail.counts().evicted(Eviction::Retention, first.saturating_sub(known.first));
            known.first = first;
            return Ok(Read::Evicted { first });
        }
        let entries = stored.into_iter().map(|stored| answer::entry(stored).map(Arc::new));
        Ok(Read::Entries(entries.collect::<Result<_, _>>()?))
    }

    async fn offset_at(&self, time: Micros) -> Result<Offset, LogError> {
        let mut script = self.ask(&script::SEEKING);
        script.arg(time.min(1 << 52));
        answer::number(&mut self.insist(&script, APPEND).await?)
    }

    async fn head(&self) -> Result<Offset, LogError> {
        let mut script = self.ask(&script::CHECKING);
        script.arg(1);
        self.learn(&mut self.insist(&script, APPEND).await?)?;
        Ok(self.known.lock().head)
    }

    /// Evicts what is past a bound, in steps that keep Redis busy for a moment only.
    async fn expire_once(&self) -> Result<(), LogError> {
        loop {
            let mut script = self.ask(&script::EXPIRING);
            script.arg(self.tail.head());
            bounds(&mut script, *self.retention.lock());
            let answer = self.link.run(&script).await.map_err(|error| explain(&error))?;
            let mut parts = self.parts(answer).await?;
            let more = answer::number(&mut parts)?;
            self.learn(&mut parts)?;
            if more == 0 {
                return Ok(());
            }
        }
    }
}

fn bounds(script: &mut ScriptInvocation<'_>, retention: Retention) {
    let Retention { max_age, max_events, max_bytes } = retention;
    let max_age = u64::try_from(max_age.as_micros()).unwrap_or(u64::MAX);
    script.arg(max_age).arg(max_events).arg(max_bytes);
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Expires whenever it is asked for, until the task is dropped.
async fn expire(core: Arc<Core>) {
    while !core.pulse.is_lost() {
        core.expiry.notified().await;
        if let Err(error) = core.expire_once().await {
            tracing::debug!(%error, "can't expire the log");
        }
        time::sleep(LEAST_PAUSE).await;
    }
}

impl Log for RedisLog {
    fn id(&self) -> LogId {
        self.core.id
    }

    fn first(&self) -> Offset {
        self.core.known.lock().first
    }

    fn held(&self) -> Held {
        let Known { first, head, bytes } = *self.core.known.lock();
        Held { events: head - first, bytes }
    }

    fn append(&self, events: Vec<Posted>) -> Pending<'_, Result<Appended, LogError>> {
        Box::pin(self.core.append(events))
    }

    fn read(&self, from: Offset, max_bytes: u64) -> Pending<'_, Result<Read, LogError>> {
        Box::pin(self.core.read(from, max_bytes))
    }

    fn offset_at(&self, time: Micros) -> Pending<'_, Result<Offset, LogError>> {
        Box::pin(self.core.offset_at(time))
    }

    fn head(&self) -> Pending<'_, Result<Offset, LogError>> {
        Box::pin(self.core.head())
    }

    fn set_retention(&self, retention: Retention) {
        *self.core.retention.lock() = retention;
        self.core.expiry.notify_one();
    }

    fn expire(&self) {
        self.core.tail.expire();
        self.core.expiry.notify_one();
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async {})
    }
}
