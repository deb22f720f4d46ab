//! What a NATS stream holds, without its payloads: by it a replica knows duplicates that are older than the
//! broker remembers, what to ask for, and what is past a bound. Sans-I/O.

use std::collections::{HashMap, VecDeque};

use crate::log::{Held, Micros, Offset, Retention, codec::Identity};

/// One row for each event held. Offsets are dense.
#[derive(Debug)]
pub(super) struct Index {
    rows: VecDeque<Row>,
    head: Offset,
    bytes: u64,
    offsets: HashMap<Identity, Offset>,
}

/// What is known of an event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) time: Micros,
    pub(super) size: u64,
    pub(super) identity: Option<Identity>,
}

impl Index {
    /// An index whose first row will have this offset.
    pub(super) fn new(head: Offset) -> Self {
        Self { rows: VecDeque::new(), head, bytes: 0, offsets: HashMap::new() }
    }

    pub(super) const fn head(&self) -> Offset {
        self.head
    }

    pub(super) fn first(&self) -> Offset {
        self.head - self.rows.len() as u64
    }

    pub(super) fn held(&self) -> Held {
        Held { events: self.rows.len() as u64, bytes: self.bytes }
    }

    pub(super) fn find(&self, identity: &Identity) -> Option<Offset> {
        self.offsets.get(identity).copied()
    }

    /// Adds the row of an event; one that is here already is left out. Times never step back, though
    /// those of a broker whose leader changes may: the time that counts is returned.
    pub(super) fn push(&mut self, offset: Offset, row: Row) -> Micros {
        if offset < self.head {
            return row.time;
        }
        if offset > self.head {
            // What is between has left the stream.
            self.evict_before(self.head);
            self.head = offset;
        }
        let Row { time, size, identity } = row;
        let time = self.rows.back().map_or(time, |newest| newest.time.max(time));
        self.rows.push_back(Row { time, size, identity });
        self.head += 1;
        self.bytes += size;
        if let Some(identity) = identity {
            self.offsets.insert(identity, offset);
        }
        time
    }

    /// Evicts what is past a bound.
    pub(super) fn expire(&mut self, retention: Retention, now: Micros) {
        while let Some(oldest) = self.rows.front() {
            let age = std::time::Duration::from_micros(now.saturating_sub(oldest.time));
            if !retention.is_passed(self.rows.len(), self.bytes, age) {
                return;
            }
            self.pop();
        }
    }

    /// Evicts what is before `first`.
    pub(super) fn evict_before(&mut self, first: Offset) {
        while !self.rows.is_empty() && self.first() < first {
            self.pop();
        }
    }

    /// The offset of the first event at or after a moment.
    pub(super) fn offset_at(&self, time: Micros) -> Offset {
        self.first() + self.rows.partition_point(|row| row.time < time) as u64
    }

    /// The offsets from `from` on that fit into `max_bytes`, at least one where there is one, and no more
    /// than `most`.
    pub(super) fn fitting(
        &self,
        from: Offset,
        max_bytes: u64,
        most: usize,
    ) -> std::ops::Range<Offset> {
        let skipped = usize::try_from(from.saturating_sub(self.first())).unwrap_or(usize::MAX);
        let mut bytes = 0_u64;
        let rows = self.rows.iter().skip(skipped).take(most).enumerate();
        let fitting = rows.take_while(|(index, row)| {
            bytes = bytes.saturating_add(row.size);
            *index == 0 || bytes <= max_bytes
        });
        from..from + fitting.count() as u64
    }

    fn pop(&mut self) {
        let offset = self.first();
        let Some(Row { time: _, size, identity }) = self.rows.pop_front() else { return };
        self.bytes -= size;
        if let Some(identity) = identity
            && self.offsets.get(&identity) == Some(&offset)
        {
            self.offsets.remove(&identity);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const UNBOUNDED: Retention =
        Retention { max_age: Duration::MAX, max_events: usize::MAX, max_bytes: u64::MAX };

    fn row(identity: u8) -> Row {
        Row { time: u64::from(identity) * 10, size: 100, identity: Some([identity; 16]) }
    }

    fn index(offsets: std::ops::Range<u8>) -> Index {
        let mut index = Index::new(offsets.start.into());
        for offset in offsets {
            index.push(offset.into(), row(offset));
        }
        index
    }

    #[test]
    fn what_is_evicted_is_forgotten() {
        let mut index = index(5..9);
        assert_eq!((index.first(), index.head(), index.find(&[5; 16])), (5, 9, Some(5)));
        index.expire(Retention { max_events: 3, ..UNBOUNDED }, 0);
        assert_eq!((index.first(), index.find(&[5; 16]), index.find(&[6; 16])), (6, None, Some(6)));
        index.expire(Retention { max_bytes: 200, ..UNBOUNDED }, 0);
        assert_eq!(index.held(), Held { events: 2, bytes: 200 });
        index.expire(Retention { max_age: Duration::from_micros(5), ..UNBOUNDED }, 1_000);
        assert_eq!((index.first(), index.head(), index.held()), (9, 9, Held::default()));
    }

    #[test]
    fn one_that_came_again_is_not_forgotten_with_its_first() {
        let mut index = index(1..2);
        index.push(2, row(1));
        index.evict_before(2);
        assert_eq!(index.find(&[1; 16]), Some(2));
    }

    #[test]
    fn a_hole_leaves_nothing_before_it() {
        let mut index = index(1..4);
        index.push(2, row(9));
        assert_eq!(index.head(), 4);
        index.push(7, row(7));
        assert_eq!((index.first(), index.head(), index.held().events), (7, 8, 1));
        assert_eq!(index.find(&[3; 16]), None);
    }

    #[test]
    fn times_are_searched_and_never_step_back() {
        let mut index = index(1..4);
        assert_eq!([0, 10, 15, 30, 31].map(|time| index.offset_at(time)), [1, 1, 2, 3, 4]);
        assert_eq!(index.push(4, Row { time: 5, ..row(4) }), 30);
    }

    #[test]
    fn a_page_is_bounded_but_makes_progress() {
        let index = index(1..6);
        assert_eq!(index.fitting(2, 0, 10), 2..3);
        assert_eq!(index.fitting(2, 250, 10), 2..4);
        assert_eq!(index.fitting(2, u64::MAX, 3), 2..5);
        assert_eq!(index.fitting(6, u64::MAX, 3), 6..6);
    }
}
