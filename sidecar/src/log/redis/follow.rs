//! Follows the stream: what any replica appends comes into this one's tail.
//!
//! # Laws
//!
//! - The tail has every entry once and in order, however often the connection breaks.
//! - After a break nothing is taken from the stream before it has been seen to hold what this replica has
//!   seen: a store that went back in time has lost events, and may give their offsets to others.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use redis::{ErrorKind, RedisError, Value, aio::MultiplexedConnection};
use tokio::time;

use super::{
    Core, LogError, answer,
    link::explain,
    script::{CHECKING, RENEWING},
};
use crate::log::{Backoff, Health, LogId, Offset};

/// How long one read waits for news. A connection that is silently cut is noticed within twice this.
const BLOCK: Duration = Duration::from_secs(2);

/// How long after that its answer may still take.
const GRACE: Duration = Duration::from_secs(2);

/// The most entries of one read: at the largest, they take some tens of megabytes.
const MOST: usize = 256;

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
    let mut connection = core.link.connect_patient().await.map_err(|error| explain(&error))?;
    if !check(core, last.as_ref()).await? {
        renew(core).await?;
        core.pulse.say(Health::Lost);
        return Ok(());
    }
    core.pulse.say(Health::Well);
    loop {
        let stored = read(core, &mut connection).await?;
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

async fn read(
    core: &Core,
    connection: &mut MultiplexedConnection,
) -> Result<Vec<answer::Stored>, LogError> {
    let seen: Offset = core.tail.head() - 1;
    let mut command = redis::cmd("XREAD");
    command.arg("BLOCK").arg(u64::try_from(BLOCK.as_millis()).unwrap_or(1_000));
    command.arg("COUNT").arg(MOST).arg("STREAMS").arg(&core.keys.stream).arg(format!("{seen}-0"));
    let answer = time::timeout(BLOCK + GRACE, command.query_async::<Value>(connection)).await;
    let late = || RedisError::from((ErrorKind::Io, "no answer in time"));
    let answer = answer.unwrap_or_else(|_| Err(late())).map_err(|error| explain(&error))?;
    answer::news(answer)
}
