//! The memory log: a ring of entries, bounded by age, count and bytes.

use std::{
    collections::{HashMap, VecDeque, hash_map},
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Appended, Entry, Offset, Read};
use crate::{event::Event, intake::Posted};

/// When an event leaves the log: as soon as the first of the bounds is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The oldest age.
    pub max_age: Duration,
    /// The most events.
    pub max_events: usize,
    /// The most bytes of events.
    pub max_bytes: u64,
}

/// A log in memory. See the laws of [the module](super).
#[derive(Debug)]
pub struct MemoryLog {
    entries: VecDeque<Arc<Entry>>,
    /// The offset of the next event.
    head: Offset,
    /// The size of all events ever appended.
    end_bytes: u64,
    retention: Retention,
    identities: Identities,
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new(retention: Retention) -> Self {
        Self {
            entries: VecDeque::new(),
            head: 1,
            end_bytes: 0,
            retention,
            identities: Identities::default(),
        }
    }

    /// Changes the bounds; events that no longer fit leave at the next append or expiry.
    pub fn set_retention(&mut self, retention: Retention) {
        self.retention = retention;
    }

    /// The offset of the oldest event held, or the head where none is.
    #[must_use]
    pub fn first(&self) -> Offset {
        self.entries.front().map_or(self.head, |entry| entry.offset)
    }

    /// The offset that the next event will have.
    #[must_use]
    pub const fn head(&self) -> Offset {
        self.head
    }

    /// The size of the events held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.end_bytes - self.start_bytes()
    }

    /// The size of the events from `from` to the head.
    #[must_use]
    pub fn bytes_since(&self, from: Offset) -> u64 {
        let before = from.checked_sub(1).and_then(|offset| self.get(offset));
        self.end_bytes - before.map_or_else(|| self.start_bytes(), |entry| entry.end_bytes)
    }

    /// The number of events held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no event is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Appends events in order, all of them at one instant.
    pub fn append(&mut self, events: Vec<Posted>, now: Instant) -> Appended {
        let mut appended = Appended { accepted: 0, duplicates: 0, last: self.head - 1 };
        for posted in events {
            if let Some(offset) = self.identities.find_or_remember(&posted, self.head) {
                appended.duplicates += 1;
                appended.last = offset;
                continue;
            }
            self.end_bytes += size_of_event(&posted.event);
            appended.accepted += 1;
            appended.last = self.head;
            self.entries.push_back(Arc::new(Entry {
                offset: self.head,
                accepted_at: now,
                end_bytes: self.end_bytes,
                posted,
            }));
            self.head += 1;
        }
        self.expire(now);
        appended
    }

    /// Evicts what is past a bound.
    pub fn expire(&mut self, now: Instant) {
        while self.entries.front().is_some_and(|oldest| self.is_past_a_bound(oldest, now)) {
            if let Some(entry) = self.entries.pop_front() {
                self.identities.forget(&entry.posted);
            }
        }
    }

    /// Reads entries from `from` on, at least one where there is one, and no more than fit into
    /// `max_bytes`.
    #[must_use]
    pub fn read(&self, from: Offset, max_bytes: u64) -> Read {
        let first = self.first();
        if from < first {
            return Read::Evicted { first };
        }
        let Some(index) = self.index(from) else { return Read::Entries(Vec::new()) };
        let mut entries = Vec::new();
        let mut start = None;
        for entry in self.entries.range(index..) {
            let start = *start.get_or_insert(entry.end_bytes - size_of_event(&entry.posted.event));
            if !entries.is_empty() && entry.end_bytes - start > max_bytes {
                break;
            }
            entries.push(Arc::clone(entry));
        }
        Read::Entries(entries)
    }

    /// The offset of the first event accepted at or after `instant`; the head where there is none.
    #[must_use]
    pub fn offset_at(&self, instant: Instant) -> Offset {
        let index = self.entries.partition_point(|entry| entry.accepted_at < instant);
        self.entries.get(index).map_or(self.head, |entry| entry.offset)
    }

    fn is_past_a_bound(&self, oldest: &Entry, now: Instant) -> bool {
        let Retention { max_age, max_events, max_bytes } = self.retention;
        // The newest event always stays for its readers, however large it is.
        let alone = self.entries.len() == 1;
        let aged = now.saturating_duration_since(oldest.accepted_at) > max_age;
        aged || (!alone && (self.entries.len() > max_events || self.bytes() > max_bytes))
    }

    fn start_bytes(&self) -> u64 {
        self.entries
            .front()
            .map_or(self.end_bytes, |oldest| oldest.end_bytes - size_of_event(&oldest.posted.event))
    }

    fn get(&self, offset: Offset) -> Option<&Entry> {
        self.entries.get(self.index(offset)?).map(AsRef::as_ref)
    }

    /// Offsets are dense, so the place of an entry is its distance from the first.
    fn index(&self, offset: Offset) -> Option<usize> {
        let index = usize::try_from(offset.checked_sub(self.first())?).ok()?;
        (index < self.entries.len()).then_some(index)
    }
}

/// What an event costs beside its payload and attributes: its place in the ring, the remembered id, and
/// what the allocator rounds up.
const OVERHEAD: u64 = 256;

/// The size by which retention and lag are counted.
fn size_of_event(event: &Event) -> u64 {
    event.size() as u64 + OVERHEAD
}

/// Which events the log holds, by source and id.
///
/// An event is known by 128 bits of two independently keyed hashes. The keys are random, so nobody
/// can make two events collide; by chance it happens once in 10^20 logs of a billion events.
#[derive(Debug, Default)]
struct Identities {
    hashers: [RandomState; 2],
    offsets: HashMap<[u64; 2], Offset>,
}

impl Identities {
    /// The offset of an equal event, or `None` after the event was remembered at `offset`.
    fn find_or_remember(&mut self, posted: &Posted, offset: Offset) -> Option<Offset> {
        if !posted.idempotent {
            return None;
        }
        match self.offsets.entry(self.key(&posted.event)) {
            hash_map::Entry::Occupied(known) => Some(*known.get()),
            hash_map::Entry::Vacant(place) => {
                place.insert(offset);
                None
            }
        }
    }

    fn key(&self, event: &Event) -> [u64; 2] {
        self.hashers.each_ref().map(|state| state.hash_one((&event.source, &event.id)))
    }

    fn forget(&mut self, posted: &Posted) {
        if posted.idempotent {
            self.offsets.remove(&self.key(&posted.event));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::tests::posted;

    const UNBOUNDED: Retention =
        Retention { max_age: Duration::MAX, max_events: usize::MAX, max_bytes: u64::MAX };

    fn log(retention: Retention, ids: &[&str]) -> MemoryLog {
        let mut log = MemoryLog::new(retention);
        let now = Instant::now();
        for id in ids {
            log.append(vec![posted(id, b"{}")], now);
        }
        log
    }

    fn offsets(read: &Read) -> Vec<Offset> {
        match read {
            Read::Entries(entries) => entries.iter().map(|entry| entry.offset).collect(),
            Read::Evicted { first } => panic!("evicted up to {first}"),
        }
    }

    #[test]
    fn events_are_read_in_the_order_of_their_appends() {
        let log = log(UNBOUNDED, &["a", "b", "c"]);
        assert_eq!(offsets(&log.read(1, u64::MAX)), [1, 2, 3]);
        assert_eq!(offsets(&log.read(3, u64::MAX)), [3]);
        assert!(offsets(&log.read(4, u64::MAX)).is_empty());
    }

    #[test]
    fn a_read_is_bounded_in_bytes_but_makes_progress() {
        let log = log(UNBOUNDED, &["a", "b", "c"]);
        let one = size_of_event(&posted("a", b"{}").event);
        assert_eq!(offsets(&log.read(1, 0)), [1]);
        assert_eq!(offsets(&log.read(1, 2 * one)), [1, 2]);
    }

    #[test]
    fn a_duplicate_is_answered_with_the_first_ones_offset() {
        let mut log = log(UNBOUNDED, &["a", "b"]);
        let appended = log.append(vec![posted("c", b"{}"), posted("a", b"{}")], Instant::now());
        assert_eq!(appended, Appended { accepted: 1, duplicates: 1, last: 1 });
        assert_eq!(log.head(), 4);
    }

    #[test]
    fn a_duplicate_inside_one_batch_is_found_too() {
        let mut log = log(UNBOUNDED, &[]);
        let appended = log.append(vec![posted("a", b"1"), posted("a", b"2")], Instant::now());
        assert_eq!((appended.accepted, appended.duplicates, log.len()), (1, 1, 1));
    }

    #[test]
    fn the_oldest_leave_when_there_are_too_many() {
        let log = log(Retention { max_events: 2, ..UNBOUNDED }, &["a", "b", "c"]);
        assert_eq!((log.first(), log.head(), log.len()), (2, 4, 2));
        assert!(matches!(log.read(1, u64::MAX), Read::Evicted { first: 2 }));
    }

    #[test]
    fn the_oldest_leave_when_they_are_too_large_but_the_newest_stays() {
        let log = log(Retention { max_bytes: 1, ..UNBOUNDED }, &["a", "b", "c"]);
        assert_eq!((log.first(), log.len()), (3, 1));
    }

    #[test]
    fn events_age_out_and_leave_the_head_where_it_was() {
        let mut log = log(Retention { max_age: Duration::from_secs(1), ..UNBOUNDED }, &["a", "b"]);
        log.expire(Instant::now() + Duration::from_secs(2));
        assert_eq!((log.first(), log.head(), log.bytes()), (3, 3, 0));
        assert!(matches!(log.read(2, u64::MAX), Read::Evicted { first: 3 }));
        assert!(offsets(&log.read(3, u64::MAX)).is_empty());
    }

    #[test]
    fn an_evicted_id_may_come_again() {
        let mut log = log(Retention { max_events: 1, ..UNBOUNDED }, &["a", "b"]);
        let appended = log.append(vec![posted("a", b"{}")], Instant::now());
        assert_eq!((appended.accepted, appended.last), (1, 3));
    }

    #[test]
    fn a_distance_in_bytes_counts_from_the_offset_on() {
        let log = log(UNBOUNDED, &["a", "b", "c"]);
        let one = size_of_event(&posted("a", b"{}").event);
        assert_eq!([1, 2, 3, 4].map(|from| log.bytes_since(from)), [3 * one, 2 * one, one, 0]);
    }

    #[test]
    fn a_time_is_found_by_acceptance() {
        let mut log = MemoryLog::new(UNBOUNDED);
        let start = Instant::now();
        for (id, second) in [("a", 0), ("b", 10), ("c", 20)] {
            log.append(vec![posted(id, b"{}")], start + Duration::from_secs(second));
        }
        let at = |second| log.offset_at(start + Duration::from_secs(second));
        assert_eq!([at(0), at(5), at(10), at(21)], [1, 2, 2, 4]);
    }
}
