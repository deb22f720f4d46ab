//! The memory log: its tail is all there is.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{
    Appended, Entry, Held, Log, LogError, LogId, Micros, Offset, Pending, Read, Retention, Tail,
    identities::Identities,
};
use crate::{count::Eviction, intake::Posted};

/// A log in memory: fast, and gone with the process.
#[derive(Debug)]
pub struct MemoryLog {
    id: LogId,
    tail: Arc<Tail>,
    /// Held during an append, so that appends come one after the other.
    identities: Mutex<Identities>,
}

impl MemoryLog {
    /// A log that keeps everything in `tail`, whose bounds are the log's.
    #[must_use]
    pub fn new(tail: Arc<Tail>) -> Self {
        Self { id: LogId::random(), tail, identities: Mutex::default() }
    }

    fn append_now(&self, events: Vec<Posted>) -> Appended {
        let mut identities = self.identities.lock();
        let mut next = self.tail.head();
        let mut appended = Appended { accepted: 0, duplicates: 0, last: next - 1 };
        let mut fresh = Vec::with_capacity(events.len());
        for posted in events {
            if let Some(offset) = identities.find_or_remember(&posted, next) {
                appended.duplicates += 1;
                appended.last = offset;
                continue;
            }
            appended.accepted += 1;
            appended.last = next;
            next += 1;
            fresh.push(posted);
        }
        self.forget(&mut identities, &self.tail.append(fresh.into_iter()));
        appended
    }

    fn forget(&self, identities: &mut Identities, evicted: &[Arc<Entry>]) {
        evicted.iter().for_each(|entry| identities.forget(&entry.posted));
        self.tail.counts().evicted(Eviction::Retention, evicted.len() as u64);
    }
}

impl Log for MemoryLog {
    fn id(&self) -> LogId {
        self.id
    }

    fn first(&self) -> Offset {
        self.tail.first()
    }

    fn held(&self) -> Held {
        self.tail.look(|ring| Held { events: ring.len() as u64, bytes: ring.bytes() })
    }

    fn append(&self, events: Vec<Posted>) -> Pending<'_, Result<Appended, LogError>> {
        let appended = self.append_now(events);
        Box::pin(async move { Ok(appended) })
    }

    fn read(&self, from: Offset, max_bytes: u64) -> Pending<'_, Result<Read, LogError>> {
        let read = self.tail.read(from, max_bytes);
        Box::pin(async move { Ok(read) })
    }

    fn offset_at(&self, time: Micros) -> Pending<'_, Result<Offset, LogError>> {
        let offset = self.tail.look(|ring| ring.offset_at(time));
        Box::pin(async move { Ok(offset) })
    }

    fn head(&self) -> Pending<'_, Result<Offset, LogError>> {
        let head = self.tail.head();
        Box::pin(async move { Ok(head) })
    }

    fn set_retention(&self, retention: Retention) {
        self.tail.set_bounds(retention);
    }

    fn expire(&self) {
        let mut identities = self.identities.lock();
        self.forget(&mut identities, &self.tail.expire());
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::conformance::{self, Opened, Subject};

    struct Memory;

    impl Subject for Memory {
        async fn open(&self, retention: Retention) -> Opened {
            let tail = conformance::tail(retention);
            Opened { log: Arc::new(MemoryLog::new(Arc::clone(&tail))), tail }
        }
    }

    conformance::suite!(Memory);
}
