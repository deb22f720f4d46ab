//! The ring: neighbouring entries in memory, from any offset on. Sans-I/O.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{Entry, Micros, Offset, Read, Retention};

/// Entries in memory, the oldest first. Their offsets are dense.
#[derive(Debug)]
pub struct Ring {
    slots: VecDeque<Slot>,
    /// The offset of the next entry.
    head: Offset,
    /// The size of all entries ever pushed.
    end_bytes: u64,
    /// The offset and the time of the newest entry that left.
    left: Option<(Offset, Micros)>,
    retention: Retention,
}

#[derive(Debug)]
struct Slot {
    entry: Arc<Entry>,
    /// The size of all entries up to and including this one, so that a distance in bytes is one
    /// subtraction.
    end_bytes: u64,
}

impl Ring {
    /// An empty ring, whose next entry has offset `head`.
    #[must_use]
    pub const fn new(head: Offset, retention: Retention) -> Self {
        Self { slots: VecDeque::new(), head, end_bytes: 0, left: None, retention }
    }

    /// The bounds.
    #[must_use]
    pub const fn retention(&self) -> Retention {
        self.retention
    }

    /// Changes the bounds; entries that no longer fit leave at the next expiry.
    pub const fn set_retention(&mut self, retention: Retention) {
        self.retention = retention;
    }

    /// The offset of the oldest entry held, or the head where none is.
    #[must_use]
    pub fn first(&self) -> Offset {
        self.slots.front().map_or(self.head, |slot| slot.entry.offset)
    }

    /// The offset that the next entry must have.
    #[must_use]
    pub const fn head(&self) -> Offset {
        self.head
    }

    /// The time of the newest entry; 0 where there is none.
    #[must_use]
    pub fn newest(&self) -> Micros {
        self.slots.back().map_or(0, |slot| slot.entry.time)
    }

    /// The size of the entries held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.end_bytes - self.start_bytes()
    }

    /// The size of the entries from `from` to the head, as far as they are held.
    #[must_use]
    pub fn bytes_since(&self, from: Offset) -> u64 {
        let before = from.checked_sub(1).and_then(|offset| self.index(offset));
        let before = before.and_then(|index| self.slots.get(index));
        let past = if from >= self.head { self.end_bytes } else { self.start_bytes() };
        self.end_bytes - before.map_or(past, |slot| slot.end_bytes)
    }

    /// The number of entries held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether no entry is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Adds the next entry. One that is not the next makes the ring start anew behind what is missing:
    /// an entry out of its place would be delivered under another's offset.
    pub fn push(&mut self, entry: Entry) {
        if entry.offset != self.head {
            self.slots.clear();
        }
        self.head = entry.offset + 1;
        self.end_bytes += entry.size();
        self.slots.push_back(Slot { entry: Arc::new(entry), end_bytes: self.end_bytes });
    }

    /// Evicts what is past a bound at `now`, and returns it.
    pub fn expire(&mut self, now: Micros) -> Vec<Arc<Entry>> {
        let mut evicted = Vec::new();
        while self.slots.front().is_some_and(|oldest| self.is_past_a_bound(oldest, now)) {
            evicted.extend(self.evict());
        }
        evicted
    }

    /// Evicts the entries before `first`.
    pub fn evict_before(&mut self, first: Offset) {
        while self.slots.front().is_some_and(|oldest| oldest.entry.offset < first) {
            self.evict();
        }
    }

    fn evict(&mut self) -> Option<Arc<Entry>> {
        let entry = self.slots.pop_front()?.entry;
        self.left = Some((entry.offset, entry.time));
        Some(entry)
    }

    /// The time of an entry that left, where that is remembered: only the newest one is.
    #[must_use]
    pub fn time_of_evicted(&self, offset: Offset) -> Option<Micros> {
        self.left.filter(|(left, _)| *left == offset).map(|(_, time)| time)
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
        let mut bytes = 0;
        for Slot { entry, end_bytes: _ } in self.slots.range(index..) {
            bytes += entry.size();
            if !entries.is_empty() && bytes > max_bytes {
                break;
            }
            entries.push(Arc::clone(entry));
        }
        Read::Entries(entries)
    }

    /// The offset of the first entry accepted at or after a moment; the head where there is none.
    #[must_use]
    pub fn offset_at(&self, time: Micros) -> Offset {
        let index = self.slots.partition_point(|slot| slot.entry.time < time);
        self.slots.get(index).map_or(self.head, |slot| slot.entry.offset)
    }

    fn is_past_a_bound(&self, oldest: &Slot, now: Micros) -> bool {
        let age = Duration::from_micros(now.saturating_sub(oldest.entry.time));
        self.retention.is_passed(self.slots.len(), self.bytes(), age)
    }

    fn start_bytes(&self) -> u64 {
        self.slots.front().map_or(self.end_bytes, |oldest| oldest.end_bytes - oldest.entry.size())
    }

    /// Offsets are dense, so the place of an entry is its distance from the first.
    fn index(&self, offset: Offset) -> Option<usize> {
        let index = usize::try_from(offset.checked_sub(self.first())?).ok()?;
        (index < self.slots.len()).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::log::tests::posted;

    const UNBOUNDED: Retention =
        Retention { max_age: Duration::MAX, max_events: usize::MAX, max_bytes: u64::MAX };

    fn entry(offset: Offset, time: Micros) -> Entry {
        Entry { offset, accepted_at: Instant::now(), time, posted: posted("a", b"{}") }
    }

    fn ring(retention: Retention, offsets: std::ops::Range<Offset>) -> Ring {
        let mut ring = Ring::new(offsets.start, retention);
        for offset in offsets {
            ring.push(entry(offset, offset * 10));
            ring.expire(0);
        }
        ring
    }

    fn offsets(read: &Read) -> Vec<Offset> {
        match read {
            Read::Entries(entries) => entries.iter().map(|entry| entry.offset).collect(),
            Read::Evicted { first } => panic!("evicted up to {first}"),
        }
    }

    #[test]
    fn entries_are_read_in_order_from_any_offset_on() {
        let ring = ring(UNBOUNDED, 7..10);
        assert_eq!(offsets(&ring.read(7, u64::MAX)), [7, 8, 9]);
        assert_eq!(offsets(&ring.read(9, u64::MAX)), [9]);
        assert!(offsets(&ring.read(10, u64::MAX)).is_empty());
        assert!(matches!(ring.read(6, u64::MAX), Read::Evicted { first: 7 }));
    }

    #[test]
    fn a_read_is_bounded_in_bytes_but_makes_progress() {
        let ring = ring(UNBOUNDED, 1..4);
        let one = entry(1, 0).size();
        assert_eq!(offsets(&ring.read(1, 0)), [1]);
        assert_eq!(offsets(&ring.read(1, 2 * one)), [1, 2]);
    }

    #[test]
    fn the_oldest_leave_when_there_are_too_many() {
        let ring = ring(Retention { max_events: 2, ..UNBOUNDED }, 1..4);
        assert_eq!((ring.first(), ring.head(), ring.len()), (2, 4, 2));
    }

    #[test]
    fn the_oldest_leave_when_they_are_too_large_but_the_newest_stays() {
        let ring = ring(Retention { max_bytes: 1, ..UNBOUNDED }, 1..4);
        assert_eq!((ring.first(), ring.len()), (3, 1));
    }

    #[test]
    fn entries_age_out_and_leave_the_head_where_it_was() {
        let mut ring = ring(Retention { max_age: Duration::from_micros(5), ..UNBOUNDED }, 1..3);
        assert_eq!(ring.expire(26).len(), 2);
        assert_eq!((ring.first(), ring.head(), ring.bytes()), (3, 3, 0));
        assert!(offsets(&ring.read(3, u64::MAX)).is_empty());
    }

    #[test]
    fn a_distance_in_bytes_counts_from_the_offset_on() {
        let ring = ring(UNBOUNDED, 5..8);
        let one = entry(1, 0).size();
        let distances = [1, 5, 6, 7, 8, 9].map(|from| ring.bytes_since(from));
        assert_eq!(distances, [3 * one, 3 * one, 2 * one, one, 0, 0]);
    }

    #[test]
    fn a_time_is_found_by_acceptance() {
        let ring = ring(UNBOUNDED, 1..4);
        assert_eq!([5, 10, 15, 30, 31].map(|time| ring.offset_at(time)), [1, 1, 2, 3, 4]);
    }

    #[test]
    fn an_entry_that_is_not_the_next_leaves_nothing_before_it() {
        let mut ring = ring(UNBOUNDED, 1..4);
        ring.push(entry(9, 90));
        assert_eq!((ring.first(), ring.head(), ring.len()), (9, 10, 1));
        let one = entry(1, 0).size();
        assert_eq!(ring.bytes(), one);
    }

    #[test]
    fn what_the_log_evicted_leaves_the_ring_too() {
        let mut ring = ring(UNBOUNDED, 1..4);
        ring.evict_before(3);
        assert_eq!((ring.first(), ring.len()), (3, 1));
    }
}
