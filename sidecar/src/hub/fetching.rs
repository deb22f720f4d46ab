//! Fetches what a subscriber reads next: encoded, filtered or conflated, and from the log where it is older
//! than the tail.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time;

use super::{
    Chunk, Fetch, Filter, Hub, Known, Opened, Passed,
    chunk::CHUNK_BYTES,
    conflation::Conflation,
    history::{Look, PAGE_BYTES},
};
use crate::{
    frame::Format,
    log::{Entry, Log, LogId, Offset, Read},
    seldom::Seldom,
};

/// How long to wait after a part of the log could not be read, before its readers ask again.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);

/// How much of the log is looked at to learn what a filter says of it.
const LEARNED_BYTES: u64 = 16 * CHUNK_BYTES;

/// How many events one fetch passes over at most where it looks for those that are not conflated.
const LOOKED_AT: u64 = 10_000;

/// Every subscriber that resumes asks for such a part, again and again.
static NOT_READ: Seldom = Seldom::new();

impl Hub {
    /// The encoded events from `from` on: at least one, unless `from` is the head.
    pub fn fetch(self: &Arc<Self>, format: Format, from: Offset) -> Fetch {
        if from >= self.head() {
            return Fetch::Empty;
        }
        let make = || {
            let (id, entries) = self.entries(from)?;
            Chunk::encode(format, id, &entries).ok_or(Fetch::Empty)
        };
        let chunk = self.chunks.get_or_make(format, from, || self.head(), make);
        chunk.map_or_else(|instead| instead, Fetch::Chunk)
    }

    /// The encoded events from `from` on that a filter matches, as far as one fetch looks.
    pub fn fetch_filtered(
        self: &Arc<Self>,
        format: Format,
        filter: &Filter,
        from: Offset,
    ) -> Fetch {
        if from >= self.head() {
            return Fetch::Empty;
        }
        let make = || {
            let (id, entries) = self.entries(from)?;
            let read: u64 = entries.iter().map(|entry| entry.size()).sum();
            match filter.select(format, id, &entries, &self.accounts) {
                Some(Ok(mut chunk)) => {
                    if read > CHUNK_BYTES / 2 {
                        chunk.set_full();
                    }
                    Ok(chunk)
                }
                Some(Err(passed)) => Err(Fetch::Skipped(passed)),
                None => Err(Fetch::Empty),
            }
        };
        let chunk = filter.chunks.get_or_make(format, from, || self.head(), make);
        chunk.map_or_else(|instead| instead, Fetch::Chunk)
    }

    /// The encoded events from `from` up to before `until` for which no newer one before `until` stands:
    /// as far as one fetch looks.
    pub fn fetch_conflated(
        self: &Arc<Self>,
        format: Format,
        filter: Option<&Filter>,
        range: Range<Offset>,
    ) -> Fetch {
        let first = self.tail.first();
        if range.start < first {
            // What is older than the tail comes as it is: which of it is superseded is not known.
            return match filter {
                Some(filter) => self.fetch_filtered(format, filter, range.start),
                None => self.fetch(format, range.start),
            };
        }
        let index = filter.map_or(&self.conflation, Filter::conflation);
        let mut index = index.lock();
        index.start(range.start, first);
        if index.end() < range.end {
            self.index_more(&mut index, filter);
            // The shards take turns with a long backlog, too.
            return Fetch::Skipped(Passed::default());
        }
        let Range { start, end: until } = range;
        let (mut passed, mut picked, mut bytes) = (Passed::default(), Vec::new(), 0);
        let (id, mut end) = (self.log_id(), start);
        'pages: while end < until {
            let entries = match self.tail.read(end, CHUNK_BYTES) {
                Read::Entries(entries) => entries,
                Read::Evicted { first } if picked.is_empty() && passed.count() == 0 => {
                    return Fetch::Evicted { first };
                }
                Read::Evicted { first: _ } => break,
            };
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                if entry.offset >= until || bytes > CHUNK_BYTES || passed.count() > LOOKED_AT {
                    break 'pages;
                }
                end = entry.offset + 1;
                if filter.is_some_and(|filter| !filter.matches(&entry, &self.accounts)) {
                    passed.filtered += 1;
                } else if index.is_superseded(entry.offset, until) {
                    passed.conflated += 1;
                } else {
                    bytes += entry.size();
                    picked.push((entry, u32::try_from(passed.conflated).unwrap_or(u32::MAX)));
                }
            }
        }
        let events = picked.iter().map(|(entry, conflated)| (entry, *conflated));
        let Some(mut chunk) = Chunk::pick(format, id, start..end, events) else {
            return Fetch::Skipped(passed);
        };
        chunk.set_conflated(passed.conflated);
        Fetch::Chunk(Arc::new(chunk))
    }

    /// Takes more events into an index of what is conflated, as many as one fetch looks at.
    fn index_more(&self, index: &mut Conflation, filter: Option<&Filter>) {
        let keys = self.keys.load();
        let Read::Entries(entries) = self.tail.read(index.end(), LEARNED_BYTES) else { return };
        for entry in entries {
            let wanted = filter.is_none_or(|filter| filter.matches(&entry, &self.accounts));
            index.push(&entry, wanted.then(|| keys.of(&entry.posted.event)).flatten());
        }
    }

    /// The offset behind which no more waits than this.
    #[must_use]
    pub fn offset_within(&self, events: u64, bytes: u64) -> Offset {
        self.tail.look(|ring| {
            let (mut low, mut high) =
                (ring.head().saturating_sub(events).max(ring.first()), ring.head());
            // The smallest offset from which on the bytes fit.
            while low < high {
                let middle = low + (high - low) / 2;
                if ring.bytes_since(middle) <= bytes {
                    high = middle;
                } else {
                    low = middle + 1;
                }
            }
            low
        })
    }

    pub(super) fn log_id(&self) -> LogId {
        self.log.get().map_or_else(LogId::default, |opened| opened.id)
    }

    /// Neighbouring entries from `from` on, and the log's name; or what to answer instead.
    fn entries(self: &Arc<Self>, from: Offset) -> Result<(LogId, Vec<Arc<Entry>>), Fetch> {
        let Some(Opened { id, log }) = self.log.get() else { return Err(Fetch::Empty) };
        let entries = match self.tail.read(from, CHUNK_BYTES) {
            Read::Entries(entries) => entries,
            Read::Evicted { first: _ } => self.older_entries(log, from)?,
        };
        Ok((*id, entries))
    }

    /// What is older than the tail: gone, here, or under way.
    fn older_entries(
        self: &Arc<Self>,
        log: &Arc<dyn Log>,
        from: Offset,
    ) -> Result<Vec<Arc<Entry>>, Fetch> {
        let first = log.first();
        if from < first {
            return Err(Fetch::Evicted { first });
        }
        match self.history.look(from, CHUNK_BYTES) {
            Look::Here(entries) => Ok(entries),
            Look::Wait => Err(Fetch::Loading),
            Look::Load => {
                self.runtime.spawn(Arc::clone(self).load(Arc::clone(log), from));
                Err(Fetch::Loading)
            }
        }
    }

    /// What a filter is known to say of a range of events, after a look at those of them that are in
    /// memory. Costs no more than a fetch; what is not known then is known a few looks later.
    pub fn learn(&self, filter: &Filter, range: Range<Offset>) -> Known {
        let known = filter.known(range.clone());
        let seen = known.matched + known.unmatched;
        if seen >= range.end.saturating_sub(range.start) {
            return known;
        }
        // Verdicts come in order, but for those before the window.
        let from = range.start + seen;
        if let Read::Entries(entries) = self.tail.read(from, LEARNED_BYTES) {
            filter.learn(&entries, &self.accounts);
        }
        filter.known(range)
    }

    /// Loads a part of the log, and tells those who wait for it.
    async fn load(self: Arc<Self>, log: Arc<dyn Log>, from: Offset) {
        let entries = match log.read(from, PAGE_BYTES).await {
            Ok(Read::Entries(entries)) => entries,
            // The log knows its first event now, and the readers are told.
            Ok(Read::Evicted { first: _ }) => Vec::new(),
            Err(error) => {
                self.accounts.log.unreadable.add(1);
                if NOT_READ.is_due() {
                    tracing::warn!(pipeline = self.name, %error, from, "can't read an older part of the log");
                }
                time::sleep(RELOAD_PAUSE).await;
                Vec::new()
            }
        };
        self.history.finish(from, entries);
        self.loads.fetch_add(1, Ordering::Release);
        self.tail.tell();
    }
}
