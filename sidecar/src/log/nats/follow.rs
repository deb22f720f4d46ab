//! Follows the stream: what any replica appends comes into this one's index and tail.
//!
//! # Laws
//!
//! - The tail has every entry once and in order, however often the connection breaks.
//! - After a break nothing is taken from the stream before it has been seen to hold what this replica has
//!   seen: a broker that went back in time has lost events, and may give their offsets to others.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{
    Message,
    consumer::{DeliverPolicy, pull},
};
use futures::{FutureExt, StreamExt};
use tokio::time;

use super::{
    Core, LogError,
    index::Row,
    message,
    stream::{self, unavailable},
};
use crate::log::{Backoff, Health, Offset};

/// The most entries that are put into the tail at once.
const MOST: usize = 256;

/// How often to look whether the connection is still the one over which the consumer was made.
const LOOK: Duration = Duration::from_millis(250);

/// How long to wait for a message that the stream is known to hold.
const PATIENCE: Duration = Duration::from_secs(10);

/// Follows until the task is dropped or the log is lost.
pub(super) async fn run(core: Arc<Core>) {
    let mut backoff = Backoff::default();
    while !core.pulse.is_lost() {
        let Err(error) = follow(&core, &mut backoff).await else { return };
        tracing::warn!(%error, "can't follow the log");
        core.pulse.say(Health::Down(error.to_string()));
        time::sleep(backoff.pause()).await;
    }
}

/// Follows by one consumer. Returns where the log is lost, and fails where the consumer does.
async fn follow(core: &Core, backoff: &mut Backoff) -> Result<(), LogError> {
    core.check().await?;
    if core.pulse.is_lost() {
        return Ok(());
    }
    let connection = core.connections();
    let mut messages = messages(core, core.tail.head(), false).await?;
    core.pulse.say(Health::Well);
    let mut look = time::interval(LOOK);
    loop {
        let mut batch = Vec::new();
        let mut next = tokio::select! {
            biased;
            next = messages.next() => next,
            _ = look.tick() => {
                if core.connections() == connection {
                    continue;
                }
                // The consumer was of a server that may have restarted, and then it is waited for in vain.
                return Err(LogError::Unavailable("the connection is a new one".to_owned()));
            }
        };
        while let Some(message) = next {
            batch.push(message.map_err(unavailable)?);
            let full = batch.len() >= MOST;
            next = if full { None } else { messages.next().now_or_never().flatten() };
        }
        if batch.is_empty() {
            return Err(LogError::Unavailable("the consumer ended".to_owned()));
        }
        backoff.reset();
        take(core, batch)?;
    }
}

fn take(core: &Core, batch: Vec<Message>) -> Result<(), LogError> {
    let mut entries = Vec::with_capacity(batch.len());
    for message in batch {
        let (offset, row) = row(core, &message)?;
        let time = core.index.lock().push(offset, row);
        entries.push(message::entry(offset, time, &message.payload)?);
    }
    core.expire_index();
    core.tail.push(entries);
    Ok(())
}

/// What the index keeps of a message.
fn row(core: &Core, message: &Message) -> Result<(Offset, Row), LogError> {
    let foreign = || LogError::Damaged("the stream holds a message that is not weir's".to_owned());
    let info = message.info().map_err(unavailable)?;
    let headers = message.headers.as_ref().ok_or_else(foreign)?;
    let (name, size, identity) = message::read_headers(headers).ok_or_else(foreign)?;
    *core.last.lock() = Some((info.stream_sequence, name));
    Ok((info.stream_sequence, Row { time: stream::micros(info.published), size, identity }))
}

/// Fills the index with what the stream holds already, up to `head`.
pub(super) async fn load(core: &Core, first: Offset, head: Offset) -> Result<(), LogError> {
    if first >= head {
        return Ok(());
    }
    let mut messages = messages(core, first, true).await?;
    loop {
        let next = time::timeout(PATIENCE, messages.next()).await.map_err(unavailable)?;
        let message = match next {
            Some(message) => message.map_err(unavailable)?,
            None => return Err(LogError::Unavailable("the consumer ended".to_owned())),
        };
        let (offset, row) = row(core, &message)?;
        core.index.lock().push(offset, row);
        if offset + 1 >= head {
            return Ok(());
        }
    }
}

async fn messages(
    core: &Core,
    from: Offset,
    headers_only: bool,
) -> Result<pull::Ordered, LogError> {
    let config = pull::OrderedConfig {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
        headers_only,
        ..Default::default()
    };
    let consumer = core.stream.create_consumer(config).await.map_err(unavailable)?;
    consumer.messages().await.map_err(unavailable)
}
