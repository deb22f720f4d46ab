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
    filters::STEPS_PER_FETCH,
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
        let (id, mut end, mut steps) = (self.log_id(), start, 0);
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
                let enough =
                    bytes > CHUNK_BYTES || passed.count() > LOOKED_AT || steps > STEPS_PER_FETCH;
                if entry.offset >= until || enough {
                    break 'pages;
                }
                end = entry.offset + 1;
                let (wanted, took) = filter.map_or((true, 0), |one| self.takes(one, &entry));
                steps += took;
                if !wanted {
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
        let entries = match side {
            Side::Newer => match self.tail.read(index.end(), LEARNED_BYTES) {
                Read::Entries(entries) => entries,
                Read::Evicted { first: _ } => Vec::new(),
            },
            Side::Older => {
                let mut entries = self.before(from..index.first());
                entries.reverse();
                entries
            }
        };
        let (keys, mut steps) = (self.keys.load(), 0);
        for entry in &entries {
            let (wanted, took) = filter.map_or((true, 0), |one| self.takes(one, entry));
            let (key, more) =
                if wanted { keys.of(&entry.posted.event) } else { Default::default() };
            match side {
                Side::Newer => index.push(entry, key),
                Side::Older => index.push_older(entry, key),
            }
            steps += took + more;
            if steps > STEPS_PER_FETCH {
                break;
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
