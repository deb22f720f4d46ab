//! Fetches what a subscriber that is too far behind reads next: of each key the newest event.
//!
//! Law: every fetch brings its subscriber on, or its index towards what it needs, or gives it what there is as it
//! is; nobody undoes what another's fetch has done.

use std::{ops::Range, sync::Arc};

use super::{
    Chunk, Fetch, Filter, Hub, Passed,
    chunk::CHUNK_BYTES,
    conflation::{Conflation, Side},
    fetching::{LEARNED_BYTES, first_that},
};
use crate::{
    frame::Format,
    log::{Entry, Offset, Read},
};

/// How many events one fetch passes over at most where it looks for those that are not conflated.
const LOOKED_AT: u64 = 10_000;

impl Hub {
    /// The encoded events from `from` up to before `until` for which no newer one before `until` stands:
    /// as far as one fetch looks. What is older than the tail, or beyond what an index may hold, comes as it
    /// is: which of it is superseded is not known.
    pub fn fetch_conflated(
        self: &Arc<Self>,
        format: Format,
        filter: Option<&Arc<Filter>>,
        range: Range<Offset>,
    ) -> Fetch {
        let as_it_is = || match filter {
            Some(filter) => self.fetch_filtered(format, filter, range.start),
            None => self.fetch(format, range.start),
        };
        let held = self.tail.first();
        if range.start < held {
            return as_it_is();
        }
        let index = filter.map_or(&self.conflation, |filter| filter.conflation());
        let mut index = index.lock();
        index.start(range.start, held);
        let Some(side) = index.lacks(&range) else {
            return self.pick_newest(format, filter.map(AsRef::as_ref), &index, range);
        };
        if index.has_room() {
            self.index_more(&mut index, side, filter.map(AsRef::as_ref), range.start);
            // The shards take turns with a long backlog, too.
            return Fetch::Skipped(Passed::default());
        }
        let known = index.first()..index.end();
        if known.contains(&range.start) {
            let range = range.start..known.end;
            return self.pick_newest(format, filter.map(AsRef::as_ref), &index, range);
        }
        drop(index);
        as_it_is()
    }

    /// The events of a range that the index knows for which none before its end stands.
    fn pick_newest(
        &self,
        format: Format,
        filter: Option<&Filter>,
        index: &Conflation,
        range: Range<Offset>,
    ) -> Fetch {
        let Range { start, end: until } = range;
        let (mut passed, mut picked, mut bytes) = (Passed::default(), Vec::new(), 0);
        let (id, mut end) = (self.log_id(), start);
        'pages: while end < until {
            let entries = match self.tail.read(end, CHUNK_BYTES) {
                Read::Entries(entries) => entries,
                // What is no longer in memory comes as it is, with the next fetch.
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

    /// Lets an index grow towards `from`, or towards the head, by as many events as one fetch looks at.
    fn index_more(
        &self,
        index: &mut Conflation,
        side: Side,
        filter: Option<&Filter>,
        from: Offset,
    ) {
        let keys = self.keys.load();
        let key = |entry: &Entry| {
            let wanted = filter.is_none_or(|filter| filter.matches(entry, &self.accounts));
            wanted.then(|| keys.of(&entry.posted.event)).flatten()
        };
        match side {
            Side::Newer => {
                let read = self.tail.read(index.end(), LEARNED_BYTES);
                let Read::Entries(entries) = read else { return };
                entries.iter().for_each(|entry| index.push(entry, key(entry)));
            }
            Side::Older => {
                let entries = self.before(from..index.first());
                entries.iter().rev().for_each(|entry| index.push_older(entry, key(entry)));
            }
        }
        index.settle();
    }

    /// The newest events of a range, where its first is in memory: as many as one fetch looks at.
    fn before(&self, range: Range<Offset>) -> Vec<Arc<Entry>> {
        self.tail.look(|ring| {
            let Some(last) = range.end.checked_sub(1) else { return Vec::new() };
            let behind = ring.bytes_since(range.end);
            let bytes = |from| ring.bytes_since(from).saturating_sub(behind);
            let from = first_that(range.start..last, |from| bytes(from) <= LEARNED_BYTES);
            match ring.read(from, bytes(from)) {
                Read::Entries(entries) if range.start >= ring.first() => entries,
                Read::Entries(_) | Read::Evicted { first: _ } => Vec::new(),
            }
        })
    }
}

#[cfg(test)]
#[cfg(feature = "cel")]
mod tests;
