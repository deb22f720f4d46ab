//! Follows the stream: what any replica appends comes into this one's tail.
//!
//! # Laws
//!
//! - The tail has every entry once and in order, however often the connection breaks.
//! - After a break nothing is taken from the stream before it has been seen to hold what this replica has
//!   seen: a store that went back in time has lost events, and may give their offsets to others.
//! - However far this replica is behind, one answer takes some megabytes and not more.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use redis::{ErrorKind, RedisError, RedisResult, Value, aio::MultiplexedConnection};
use tokio::time;

use super::{
    Core, LogError, answer,
    link::explain,
    script::{CHECKING, READING, RENEWING},
};
use crate::log::{Backoff, Health, LogId, Offset};

/// How long one read waits for news. A connection that is silently cut is noticed within twice this.
const BLOCK: Duration = Duration::from_secs(2);

/// How long after that its answer may still take.
const GRACE: Duration = Duration::from_secs(2);

/// The most entries that are asked for by their number: Redis can't be told how large they may be in all, so
/// these are few enough though each be as large as an event may be.
const FEW: usize = 4;

/// The most bytes of a page, but for one entry, where there are more than a few.
const PAGE_BYTES: u64 = 1 << 20;

/// Follows until the task is dropped or the log is lost.
pub(super) async fn run(core: Arc<Core>) {
    let mut backoff = Backoff::default();
    let mut last = None;
    while !core.pulse.is_lost() {
        let Err(error) = follow(&core, &mut last, &mut backoff).await else { return };
        tracing::warn!(%error, "can't follow the log");
        core.pulse.say(Health::Down(error.to_string()));
        time::sleep(backoff.pause()).await;
    }
}

/// Follows over one connection. Returns where the log is lost, and fails where the connection does.
async fn follow(
    core: &Core,
    last: &mut Option<Bytes>,
    backoff: &mut Backoff,
) -> Result<(), LogError> {
    let mut follower = Follower::connect(core).await?;
    if !check(core, last.as_ref()).await? {
        return lose(core).await;
    }
    core.pulse.say(Health::Well);
    loop {
        let Some(stored) = follower.next(core.tail.head() - 1).await? else {
            return lose(core).await;
        };
        backoff.reset();
        if let Some(newest) = stored.last() {
            *last = Some(newest.event.clone());
        }
        let entries: Result<Vec<_>, _> = stored.into_iter().map(answer::entry).collect();
        let entries = entries?;
        if !entries.is_empty() {
            core.tail.push(entries);
        }
    }
}

/// Ends the incarnation.
async fn lose(core: &Core) -> Result<(), LogError> {
    // First, as whoever opens the log then must not find the one that has lost events.
    renew(core).await?;
    core.pulse.say(Health::Lost);
    Ok(())
}

/// Whether the stream still holds what was seen of it.
async fn check(core: &Core, last: Option<&Bytes>) -> Result<bool, LogError> {
    let mut script = CHECKING.prepare_invoke();
    core.keys.name(&mut script);
    script.arg(core.id()).arg(core.tail.head());
    let answer = core.link.run(&script).await.map_err(|error| explain(&error))?;
    let Some(mut parts) = answer::parts(answer)? else { return Ok(false) };
    core.learn(&mut parts)?;
    let held = answer::entries(parts.next())?;
    Ok(match (last, held.first()) {
        (Some(seen), Some(held)) => held.event == *seen,
        (_, None) | (None, Some(_)) => true,
    })
}

/// Gives the stream another incarnation, unless another replica has done so: cursors into the old one name
/// events that are gone.
pub(super) async fn renew(core: &Core) -> Result<(), LogError> {
    let mut script = RENEWING.prepare_invoke();
    core.keys.name(&mut script);
    script.arg(core.id()).arg(super::written(LogId::random()));
    core.link.run(&script).await.map(drop).map_err(|error| explain(&error))
}

/// What reads the stream over a connection of its own, which is checked once.
pub(super) struct Follower<'a> {
    core: &'a Core,
    connection: MultiplexedConnection,
    /// Whether there was more than was read last.
    behind: bool,
}

impl<'a> Follower<'a> {
    pub(super) async fn connect(core: &'a Core) -> Result<Self, LogError> {
        let connection = core.link.connect_patient().await.map_err(|error| explain(&error))?;
        Ok(Self { core, connection, behind: false })
    }

    /// Entries behind `seen`, none where none has come in a while; `None` where events were lost. What one
    /// answer takes is bounded, however far this replica is behind.
    pub(super) async fn next(
        &mut self,
        seen: Offset,
    ) -> Result<Option<Vec<answer::Stored>>, LogError> {
        if self.behind { self.page(seen).await } else { self.news(seen).await.map(Some) }
    }

    /// Waits for a few.
    async fn news(&mut self, seen: Offset) -> Result<Vec<answer::Stored>, LogError> {
        let mut command = redis::cmd("XREAD");
        command.arg("BLOCK").arg(u64::try_from(BLOCK.as_millis()).unwrap_or(1_000));
        command.arg("COUNT").arg(FEW).arg("STREAMS").arg(&self.core.keys.stream);
        command.arg(format!("{seen}-0"));
        let answer = command.query_async::<Value>(&mut self.connection);
        let news = answer::news(in_time(BLOCK + GRACE, answer).await?)?;
        self.behind = news.len() >= FEW;
        Ok(news)
    }

    /// Reads a page of many. On this connection, as only of this one it is known that it leads to what was
    /// checked.
    async fn page(&mut self, seen: Offset) -> Result<Option<Vec<answer::Stored>>, LogError> {
        let mut script = self.core.ask(&READING);
        script.arg(seen + 1).arg(PAGE_BYTES);
        let answer = in_time(GRACE, script.invoke_async::<Value>(&mut self.connection)).await?;
        let Some(mut parts) = answer::parts(answer)? else { return Ok(None) };
        let _first = answer::number(&mut parts)?;
        let head = answer::number(&mut parts)?;
        let page = answer::entries(parts.next())?;
        // Where what is next has left the stream, the news are what comes after it.
        self.behind = page.last().is_some_and(|newest| newest.offset + 1 < head);
        Ok(Some(page))
    }
}

/// An answer, if it comes in time.
async fn in_time(
    patience: Duration,
    answer: impl Future<Output = RedisResult<Value>>,
) -> Result<Value, LogError> {
    let late = || RedisError::from((ErrorKind::Io, "no answer in time"));
    let answer = time::timeout(patience, answer).await.unwrap_or_else(|_| Err(late()));
    answer.map_err(|error| explain(&error))
}
