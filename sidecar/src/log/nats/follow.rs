//! Follows the stream: what any replica appends comes into this one's index and tail.
//!
//! # Laws
//!
//! - The tail has every entry once and in order, however often the connection breaks.
//! - After a break nothing is taken from the stream before it has been seen to hold what this replica has
//!   seen: a broker that went back in time has lost events, and may give their offsets to others.
//! - However far this replica is behind, some tens of megabytes are under way to it and not more.

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

/// The most bytes that are put into the tail at once, but for one entry.
const MOST_BYTES: usize = 1 << 20;

/// What may be under way to this replica in all, and about half as much again: the client asks for the next
/// when half of what it asked for has come.
const ASKED_BYTES: usize = 16 << 20;

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
        let next = tokio::select! {
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
        let Some(first) = next else {
            return Err(LogError::Unavailable("the consumer ended".to_owned()));
        };
        let batch = gather(first.map_err(unavailable)?, &mut messages)?;
        backoff.reset();
        take(core, batch)?;
    }
}

/// A message, and what else is here already, as far as it is no more than the tail may take at once.
fn gather(first: Message, messages: &mut pull::Ordered) -> Result<Vec<Message>, LogError> {
    let mut bytes = first.payload.len();
    let mut batch = vec![first];
    while batch.len() < MOST && bytes < MOST_BYTES {
        let Some(next) = messages.next().now_or_never().flatten() else { break };
        let next = next.map_err(unavailable)?;
        bytes += next.payload.len();
        batch.push(next);
    }
    Ok(batch)
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
    // No message is larger than the server takes. Headers are small, and 0 leaves their number to the client.
    let fitting = ASKED_BYTES / core.context.client().max_payload().max(1);
    let fitting = i64::try_from(fitting.clamp(1, MOST)).unwrap_or(1);
    let config = pull::OrderedConfig {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
        headers_only,
        max_batch: if headers_only { 0 } else { fitting },
        ..Default::default()
    };
    let consumer = core.stream.create_consumer(config).await.map_err(unavailable)?;
    consumer.messages().await.map_err(unavailable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{
        Log,
        conformance::{
            UNBOUNDED,
            replicas::{Shared, event, reaches},
        },
        nats::tests::Nats,
    };

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_replica_that_is_far_behind_gets_the_log_in_parts_that_it_can_hold() {
        const EVENTS: u64 = 50;
        const SIZE: usize = 300_000;
        let nats = Nats::start();
        let (log, tail) = nats.open("a", UNBOUNDED).await;
        for n in 0..EVENTS {
            let mut large = event(&n.to_string());
            large.event.data = vec![b'1'; SIZE].into();
            log.append(vec![large]).await.unwrap();
        }
        let core = &log.core;
        let mut messages = messages(core, 1, false).await.unwrap();
        let mut next = messages.next().await.unwrap().unwrap();
        let name = next.info().unwrap().consumer.to_owned();
        // Nobody takes more, so no more is sent than was asked for; and that has time to come.
        for _ in 0..20 {
            let info = core.stream.consumer_info(&name).await.unwrap();
            assert!(info.delivered.consumer_sequence <= 24, "{:?}", info.delivered);
            time::sleep(Duration::from_millis(10)).await;
        }
        let mut seen = 0;
        loop {
            let batch = gather(next, &mut messages).unwrap();
            let bytes: usize = batch.iter().map(|message| message.payload.len()).sum();
            assert!(bytes < MOST_BYTES + SIZE + 1_000, "{bytes} bytes at once");
            for message in batch {
                seen += 1;
                assert_eq!(message.info().unwrap().stream_sequence, seen);
            }
            if seen == EVENTS {
                break;
            }
            next = messages.next().await.unwrap().unwrap();
        }
        reaches(&tail, EVENTS + 1).await;
    }
}
