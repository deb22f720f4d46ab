//! Fetches what a subscriber reads next: encoded, filtered or conflated, and from the log where it is older
//! than the tail.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time;

use super::{
    Chunk, Fetch, Filter, Hub, Known, Opened,
    chunk::CHUNK_BYTES,
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
pub(super) const LEARNED_BYTES: u64 = 16 * CHUNK_BYTES;

/// How many steps a second are taken for subscribers who can't be written to: a twentieth of a core.
const STEPS_AHEAD: u32 = 5_000_000;

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
        let chunk = self.chunks.get_or_make(format, from, usize::MAX, || self.head(), make);
        chunk.map_or_else(|instead| instead, Fetch::Chunk)
    }

    /// The encoded events from `from` on that a filter matches, as far as one fetch looks.
    pub fn fetch_filtered(
        self: &Arc<Self>,
        format: Format,
        filter: &Arc<Filter>,
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
        // Each of its subscribers holds it, and one of several on a socket twice.
        let holders = Arc::strong_count(filter);
        let chunk = filter.chunks.get_or_make(format, from, holders, || self.head(), make);
        chunk.map_or_else(|instead| instead, Fetch::Chunk)
    }

    /// The offset behind which no more waits than this.
    #[must_use]
    pub fn offset_within(&self, events: u64, bytes: u64) -> Offset {
        self.tail.look(|ring| {
            let (low, high) = (ring.head().saturating_sub(events).max(ring.first()), ring.head());
            first_that(low..high, |offset| ring.bytes_since(offset) <= bytes)
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
        let Known { matched, unmatched } = known;
        if matched + unmatched >= range.end.saturating_sub(range.start) {
            return known;
        }
        self.learn_more(filter, range.clone());
        filter.known(range)
    }

    /// Evaluates a filter on what waits for a subscriber that can't be written to: if it leaves the log, it is known
    /// what of it was for the subscriber. Those of a pipeline who can't be written to share what this may cost.
    pub fn look_ahead(&self, filter: &Filter, range: Range<Offset>) {
        filter.remember(range.start);
        if self.ahead.load(Ordering::Relaxed) < STEPS_AHEAD {
            self.ahead.fetch_add(self.learn_more(filter, range), Ordering::Relaxed);
        }
    }

    /// Evaluates a filter on those events of a range that are in memory, and that it was not evaluated on, as
    /// far as one fetch looks. Returns the steps that it took.
    fn learn_more(&self, filter: &Filter, range: Range<Offset>) -> u32 {
        let in_memory = range.start.max(self.tail.first())..range.end;
        let Some(from) = filter.first_unknown(in_memory) else { return 0 };
        match self.tail.read(from, LEARNED_BYTES) {
            Read::Entries(entries) => filter.learn(&entries, &self.accounts),
            Read::Evicted { first: _ } => 0,
        }
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

/// The first offset of a range that fits, where all behind one that fits do, too; the end where none does.
pub(super) fn first_that(range: Range<Offset>, fits: impl Fn(Offset) -> bool) -> Offset {
    let Range { start: mut low, end: mut high } = range;
    while low < high {
        let middle = low + (high - low) / 2;
        if fits(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}
