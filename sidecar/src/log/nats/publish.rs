//! Publishes a batch: every event once and in order, however often its answer is lost.
//!
//! The messages of a batch are sent one behind the other over one connection, and their answers awaited
//! together. Where some don't come, what is unanswered is sent again, in order: the broker takes a message
//! id once.

use std::time::{Duration, Instant};

use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use async_nats::jetstream::publish::PublishAck;
use bytes::Bytes;
use tokio::time;

use super::{Core, LogError, message};
use crate::{
    clock,
    intake::Posted,
    log::{
        Appended, Backoff, Offset,
        codec::{self, Identity, Origin},
        size_of_event,
    },
};

/// How long an append is tried: a failover is waited for, an outage is reported while the publisher still
/// listens.
const APPEND: Duration = Duration::from_secs(5);

/// The most messages on their way for one batch.
pub(super) const WINDOW: usize = 256;

struct Item {
    name: String,
    identity: Option<Identity>,
    size: u64,
    event: Bytes,
    /// Whether it was sent before, and the answer did not come: a duplicate may be itself.
    unsure: bool,
    answer: Option<Answer>,
}

#[derive(Clone, Copy)]
struct Answer {
    offset: Offset,
    fresh: bool,
}

pub(super) async fn append(core: &Core, events: Vec<Posted>) -> Result<Appended, LogError> {
    let origin = Origin { replica: core.replica, accepted: clock::micros() };
    let mut items: Vec<_> = events.iter().map(|posted| Item::new(core, posted, origin)).collect();
    drop(events);
    let deadline = Instant::now() + APPEND;
    for items in items.chunks_mut(WINDOW) {
        insist(core, items, deadline).await?;
    }
    let answers = || items.iter().filter_map(|item| item.answer);
    let accepted = answers().filter(|answer| answer.fresh).count();
    let last = answers().last().map_or_else(|| core.tail.head() - 1, |answer| answer.offset);
    Ok(Appended { accepted, duplicates: items.len() - accepted, last })
}

impl Item {
    fn new(core: &Core, posted: &Posted, origin: Origin) -> Self {
        let identity = codec::identity(posted);
        let known = identity.and_then(|identity| core.index.lock().find(&identity));
        Self {
            name: identity.map_or_else(message::token, |identity| message::name(&identity, None)),
            identity,
            size: size_of_event(&posted.event),
            event: codec::encode(posted, origin).into(),
            unsure: false,
            answer: known.map(|offset| Answer { offset, fresh: false }),
        }
    }

    /// Takes an answer up. A duplicate of what has left the log is sent again, under another name.
    fn answered(&mut self, ack: &PublishAck, first: Offset) {
        let PublishAck { sequence, duplicate, .. } = *ack;
        match self.identity {
            Some(identity) if duplicate && sequence < first => {
                let renamed = message::name(&identity, Some(sequence));
                // The same again: the renamed one has left the log, too.
                self.unsure = false;
                self.name = renamed;
            }
            Some(_) | None => {
                let fresh = !duplicate || self.unsure;
                self.answer = Some(Answer { offset: sequence, fresh });
            }
        }
    }
}

/// Sends until all are answered, or the deadline is over.
async fn insist(core: &Core, items: &mut [Item], deadline: Instant) -> Result<(), LogError> {
    // Bounds what is on its way for all batches.
    let _turn = core.turns.acquire().await;
    let mut backoff = Backoff::default();
    loop {
        let failed = match time::timeout_at(deadline.into(), send(core, items)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(LogError::Unavailable("nats does not answer".to_owned())),
        };
        if items.iter().all(|item| item.answer.is_some()) {
            return Ok(());
        }
        let Some(error) = failed else { continue };
        let pause = backoff.pause();
        let passing = matches!(error, LogError::Unavailable(_));
        if !passing || Instant::now() + pause >= deadline {
            return Err(error);
        }
        time::sleep(pause).await;
    }
}

/// Sends what is unanswered, and awaits the answers.
async fn send(core: &Core, items: &mut [Item]) -> Result<(), LogError> {
    core.is_usable()?;
    let mut sent: Vec<(usize, PublishAckFuture)> = Vec::new();
    let mut failed = None;
    for (place, item) in items.iter_mut().enumerate().filter(|(_, item)| item.answer.is_none()) {
        let message = message::message(&item.name, item.size, item.event.clone());
        match core.context.send_publish(core.subject.clone(), message).await {
            Ok(answer) => sent.push((place, answer)),
            Err(error) => {
                failed = Some(explain(error.kind(), &error));
                break;
            }
        }
    }
    let first = core.index.lock().first();
    for (place, answer) in sent {
        let answer = answer.await;
        let Some(item) = items.get_mut(place) else { continue };
        match answer {
            Ok(ack) => item.answered(&ack, first),
            Err(error) => {
                item.unsure = true;
                failed.get_or_insert_with(|| explain(error.kind(), &error));
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

fn explain(kind: PublishErrorKind, error: &impl std::fmt::Display) -> LogError {
    let why = error.to_string();
    match kind {
        PublishErrorKind::MaxPayloadExceeded => LogError::Full(format!(
            "{why}: raise max_payload of the NATS server above the largest event, or lower http.maxEventBytes"
        )),
        PublishErrorKind::StreamNotFound
        | PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::WrongLastSequence
        | PublishErrorKind::TimedOut
        | PublishErrorKind::BrokenPipe
        | PublishErrorKind::MaxAckPending
        | PublishErrorKind::Other => LogError::Unavailable(why),
    }
}
