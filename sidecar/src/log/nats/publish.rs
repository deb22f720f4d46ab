//! Publishes a batch: every event once and in order, however often its answer is lost.
//!
//! The messages of a batch are sent one behind the other over one connection, and their answers awaited
//! together. Where some don't come, what is unanswered is sent again, in order: the broker takes a message
//! id once. Whether a duplicate is then the message itself, or an equal event of another publisher that was
//! first, stands in what is stored: no two messages of one id have the same bytes, as each says which replica
//! accepted it and when.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use async_nats::jetstream::publish::PublishAck;
use bytes::Bytes;
use tokio::time;

use super::{Core, LogError, message, stream::unavailable};
use crate::{
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
    let origin = Origin { replica: core.replica, accepted: core.moment() };
    let mut items: Vec<_> = events.iter().map(|posted| Item::new(core, posted, origin)).collect();
    drop(events);
    let deadline = Instant::now() + APPEND;
    for items in items.chunks_mut(WINDOW) {
        insist(core, items, deadline).await?;
    }
    let answers = || items.iter().filter_map(|item| item.answer);
    // One that stands in the batch twice is new once.
    let fresh = answers().filter(|answer| answer.fresh).map(|answer| answer.offset);
    let accepted = fresh.collect::<HashSet<_>>().len();
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
    async fn answered(
        &mut self,
        core: &Core,
        ack: &PublishAck,
        first: Offset,
    ) -> Result<(), LogError> {
        let PublishAck { sequence, duplicate, .. } = *ack;
        match self.identity {
            Some(identity) if duplicate && sequence < first => {
                let renamed = message::name(&identity, Some(sequence));
                // The same again: the renamed one has left the log, too.
                self.unsure = false;
                self.name = renamed;
            }
            Some(_) | None => {
                let fresh = !duplicate || (self.unsure && self.is_at(core, sequence).await?);
                self.answer = Some(Answer { offset: sequence, fresh });
            }
        }
        Ok(())
    }

    /// Whether it is this message that the stream holds at an offset. Where that has just left, or the server
    /// that is asked is behind, another try finds out.
    async fn is_at(&self, core: &Core, offset: Offset) -> Result<bool, LogError> {
        let held = core.stream.direct_get(offset).await.map_err(unavailable)?;
        Ok(held.payload == self.event)
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
        let answered = match answer {
            Ok(ack) => item.answered(core, &ack, first).await,
            Err(error) => {
                item.unsure = true;
                Err(explain(error.kind(), &error))
            }
        };
        if let Err(error) = answered {
            failed.get_or_insert(error);
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

    async fn sent(core: &Core, item: &mut Item) -> bool {
        let deadline = Instant::now() + APPEND;
        insist(core, std::slice::from_mut(item), deadline).await.unwrap();
        item.answer.unwrap().fresh
    }

    /// What is made of an event, when its append begins.
    fn item(core: &Core, id: &str) -> Item {
        let origin = Origin { replica: core.replica, accepted: core.moment() };
        Item::new(core, &event(id), origin)
    }

    /// As if the answer to the first try had been lost.
    fn lose_the_answer(item: &mut Item) {
        (item.unsure, item.answer) = (true, None);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_was_first_is_answered_so_though_the_first_answer_is_lost() {
        let nats = Nats::start();
        let (one, _) = nats.open("a", UNBOUNDED).await;
        let (two, _) = nats.open("a", UNBOUNDED).await;
        // Begun before the other's was known.
        let mut late = item(&two.core, "a");
        let mut first = item(&one.core, "a");
        assert!(sent(&one.core, &mut first).await);
        for _ in 0..2 {
            lose_the_answer(&mut first);
            assert!(sent(&one.core, &mut first).await, "it is its own duplicate");
            lose_the_answer(&mut late);
            assert!(!sent(&two.core, &mut late).await, "the other was first");
        }
        // And where both are of one replica.
        let [mut first, mut late] = [(); 2].map(|()| item(&one.core, "b"));
        assert!(sent(&one.core, &mut first).await);
        lose_the_answer(&mut late);
        assert!(!sent(&one.core, &mut late).await);
        assert_eq!(one.head().await.unwrap(), 3);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_event_that_a_batch_has_twice_is_new_once() {
        let nats = Nats::start();
        let (log, tail) = nats.open("a", UNBOUNDED).await;
        let appended = log.append(vec![event("a"), event("b"), event("a")]).await.unwrap();
        assert_eq!(appended, Appended { accepted: 2, duplicates: 1, last: 1 });
        reaches(&tail, 3).await;
    }
}
