//! What a log on a disk holds and where, in memory. Sans-I/O.
//!
//! It costs about 60 bytes for each event held, and 32 for each frame.
//!
//! # Laws
//!
//! - Retention is exact: an event is held until the first bound is passed, whatever files there are.
//! - A file goes when the last of its events has left.

use std::{collections::VecDeque, ops::Range, sync::Arc, time::Duration};

use super::record::{HEAD_BYTES, Span};
use crate::log::{Held, Micros, Offset, Retention, identities::Key};

/// The segments, frames and events of a log. `F` is an open file.
#[derive(Debug)]
pub(super) struct Index<F> {
    /// The last one takes what is appended.
    segments: VecDeque<Segment<F>>,
    /// Those that hold an event from `first` on.
    frames: VecDeque<Mark>,
    /// The events from `first` on.
    slots: VecDeque<Slot>,
    first: Offset,
    bytes: u64,
    newest: Micros,
}

/// A file of the log.
#[derive(Debug)]
pub(super) struct Segment<F> {
    /// The offset of its first event.
    pub(super) base: Offset,
    /// Where its checksums start from.
    pub(super) salt: u32,
    /// Its size, up to the last whole group.
    pub(super) length: u64,
    pub(super) file: Arc<F>,
}

impl<F> Clone for Segment<F> {
    fn clone(&self) -> Self {
        let Self { base, salt, length, file } = self;
        Self { base: *base, salt: *salt, length: *length, file: Arc::clone(file) }
    }
}

/// Where a frame starts, and when it was accepted.
#[derive(Debug, Clone, Copy)]
struct Mark {
    span: Span,
    time: Micros,
}

/// One event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// What its size is counted as.
    pub(super) size: u32,
    /// By which its repetition is known; `None` where none can come.
    pub(super) key: Option<Key>,
}

/// What is to be read for a reader.
#[derive(Debug)]
pub(super) enum Plan<F> {
    /// Whole frames, of which the first one holds the offset.
    Frames { file: Arc<F>, salt: u32, bytes: Range<u64> },
    /// There is nothing newer.
    Nothing,
    /// The offset is no longer held.
    Evicted { first: Offset },
}

impl<F> Index<F> {
    /// An index of nothing, whose next event has offset `head`.
    pub(super) const fn new(head: Offset) -> Self {
        Self {
            segments: VecDeque::new(),
            frames: VecDeque::new(),
            slots: VecDeque::new(),
            first: head,
            bytes: 0,
            newest: 0,
        }
    }

    pub(super) const fn first(&self) -> Offset {
        self.first
    }

    pub(super) fn head(&self) -> Offset {
        self.first + self.slots.len() as u64
    }

    /// The time of the newest event that there ever was.
    pub(super) const fn newest(&self) -> Micros {
        self.newest
    }

    pub(super) fn held(&self) -> Held {
        Held { events: self.slots.len() as u64, bytes: self.bytes }
    }

    /// The segment that takes what is appended.
    pub(super) fn active(&self) -> Option<&Segment<F>> {
        self.segments.back()
    }

    /// The room that the segments take.
    pub(super) fn room(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    /// Appends from now on to this segment.
    pub(super) fn roll(&mut self, segment: Segment<F>) {
        self.segments.push_back(segment);
    }

    /// Adds a frame that lies at `span` of the active segment.
    pub(super) fn add(&mut self, span: Span, time: Micros, slots: impl Iterator<Item = Slot>) {
        self.frames.push_back(Mark { span, time });
        self.newest = self.newest.max(time);
        for slot in slots {
            self.bytes += u64::from(slot.size);
            self.slots.push_back(slot);
        }
    }

    /// Says how far the active segment is written.
    pub(super) fn set_length(&mut self, length: u64) {
        if let Some(active) = self.segments.back_mut() {
            active.length = length;
        }
    }

    /// Evicts what is past a bound, and hands each evicted key to `forget`, with its offset.
    pub(super) fn expire(
        &mut self,
        retention: Retention,
        now: Micros,
        forget: impl FnMut(Key, Offset),
    ) {
        let mut forget = forget;
        while let Some(oldest) = self.frames.front() {
            let age = Duration::from_micros(now.saturating_sub(oldest.time));
            if !retention.is_passed(self.slots.len(), self.bytes, age) {
                break;
            }
            self.evict(&mut forget);
        }
    }

    /// Evicts the events before `first`.
    pub(super) fn evict_before(&mut self, first: Offset, forget: impl FnMut(Key, Offset)) {
        let mut forget = forget;
        while self.first < first && !self.slots.is_empty() {
            self.evict(&mut forget);
        }
    }

    fn evict(&mut self, forget: &mut impl FnMut(Key, Offset)) {
        let Some(Slot { size, key }) = self.slots.pop_front() else { return };
        self.bytes -= u64::from(size);
        if let Some(key) = key {
            forget(key, self.first);
        }
        self.first += 1;
        let next = self.frames.get(1).map_or_else(|| self.head(), |next| next.span.first);
        if next <= self.first {
            self.frames.pop_front();
        }
    }

    /// Lets go of the segments whose events have all left, but for the active one.
    pub(super) fn drop_segments(&mut self) -> Vec<Segment<F>> {
        let mut dropped = Vec::new();
        while self.segments.get(1).is_some_and(|second| second.base <= self.first) {
            dropped.extend(self.segments.pop_front());
        }
        dropped
    }

    /// The offset at which the segment behind the one that holds `offset` starts; `None` where that is the
    /// active one.
    pub(super) fn next_base(&self, offset: Offset) -> Option<Offset> {
        self.segments.iter().map(|segment| segment.base).find(|base| *base > offset)
    }

    /// Where the second segment starts: what is before it can leave with one file.
    pub(super) fn second_base(&self) -> Option<Offset> {
        self.segments.get(1).map(|second| second.base)
    }

    /// Whether anything was written to the active segment.
    pub(super) fn is_active_written(&self) -> bool {
        self.active().is_some_and(|active| active.length > HEAD_BYTES as u64)
    }

    /// Whether the active segment holds nothing but events that have left.
    pub(super) fn is_active_left(&self) -> bool {
        self.is_active_written() && self.slots.is_empty()
    }

    /// What to read for `max_bytes` of events from `from` on: at least one frame where there is one.
    pub(super) fn plan(&self, from: Offset, max_bytes: u64) -> Plan<F> {
        if from < self.first {
            return Plan::Evicted { first: self.first };
        }
        let behind = self.frames.partition_point(|mark| mark.span.first <= from);
        let holding = behind.checked_sub(1).and_then(|index| self.frames.get(index));
        let (Some(start), true) = (holding, from < self.head()) else { return Plan::Nothing };
        let following = self.segments.partition_point(|segment| segment.base <= start.span.first);
        let index = following.checked_sub(1).and_then(|index| self.segments.get(index));
        let Some(Segment { base: _, salt, length, file }) = index else { return Plan::Nothing };
        let end_of_segment = self.segments.get(following).map_or(Offset::MAX, |next| next.base);
        // A frame's bytes are fewer than what its events are counted as, so this much is enough.
        let enough = start.span.at.saturating_add(max_bytes);
        let ends = self.frames.range(behind..).map(|mark| mark.span);
        let mut ends = ends.take_while(|span| span.first < end_of_segment).map(|span| span.at);
        let end = ends.find(|at| *at >= enough).unwrap_or(*length);
        Plan::Frames { file: Arc::clone(file), salt: *salt, bytes: start.span.at..end }
    }

    /// The offset of the first event accepted at or after a moment; the head where there is none.
    pub(super) fn offset_at(&self, time: Micros) -> Offset {
        let index = self.frames.partition_point(|mark| mark.time < time);
        self.frames.get(index).map_or(self.head(), |mark| mark.span.first.max(self.first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNBOUNDED: Retention =
        Retention { max_age: Duration::MAX, max_events: usize::MAX, max_bytes: u64::MAX };

    /// Two segments, of the offsets 1 to 4 and 5 to 6, in frames of two events at times 10, 20, 30.
    fn index() -> Index<&'static str> {
        let mut index = Index::new(1);
        for (base, file) in [(1, "a"), (5, "b")] {
            index.roll(Segment { base, salt: 0, length: 32, file: Arc::new(file) });
            let frames = if base == 1 { 0..2 } else { 0..1 };
            for n in frames {
                let span = Span { first: base + 2 * n, at: 32 + 100 * n };
                let slot = |n| Slot { size: 300, key: Some([base, n]) };
                let time = (base / 2 + n + 1) * 10;
                index.add(span, time.min(30), [slot(2 * n), slot(2 * n + 1)].into_iter());
                index.set_length(32 + 100 * (n + 1));
            }
        }
        index
    }

    fn plan(from: Offset, max_bytes: u64) -> Option<(&'static str, Range<u64>)> {
        match index().plan(from, max_bytes) {
            Plan::Frames { file, salt: _, bytes } => Some((*file, bytes)),
            Plan::Nothing => None,
            Plan::Evicted { first } => panic!("evicted up to {first}"),
        }
    }

    #[test]
    fn a_plan_has_whole_frames_of_one_segment() {
        assert_eq!(plan(1, 0), Some(("a", 32..132)));
        assert_eq!(plan(2, 100), Some(("a", 32..132)));
        assert_eq!(plan(2, 101), Some(("a", 32..232)));
        assert_eq!(plan(3, u64::MAX), Some(("a", 132..232)));
        assert_eq!(plan(6, u64::MAX), Some(("b", 32..132)));
        assert_eq!(plan(7, u64::MAX), None);
    }

    #[test]
    fn retention_is_exact_and_files_go_when_their_last_event_has_left() {
        let mut index = index();
        let mut forgotten = Vec::new();
        index.expire(Retention { max_events: 3, ..UNBOUNDED }, 0, |key, _| forgotten.push(key));
        assert_eq!((index.first(), index.head(), index.held().events), (4, 7, 3));
        assert_eq!(forgotten, [[1, 0], [1, 1], [1, 2]]);
        assert!(index.drop_segments().is_empty());
        assert!(matches!(index.plan(3, 1), Plan::Evicted { first: 4 }));
        index.expire(Retention { max_bytes: 600, ..UNBOUNDED }, 0, |_, _| ());
        assert_eq!((index.first(), index.held().bytes), (5, 600));
        let dropped: Vec<_> = index.drop_segments().iter().map(|s| s.base).collect();
        assert_eq!((dropped, index.room()), (vec![1], 132));
        index.expire(Retention { max_age: Duration::from_micros(5), ..UNBOUNDED }, 36, |_, _| ());
        assert_eq!((index.first(), index.head()), (7, 7));
        assert!(index.is_active_left());
    }

    #[test]
    fn a_time_is_found_by_its_frame() {
        let mut index = index();
        let found = |index: &Index<_>| [0, 10, 11, 30, 31].map(|time| index.offset_at(time));
        assert_eq!(found(&index), [1, 1, 3, 5, 7]);
        index.evict_before(2, |_, _| ());
        assert_eq!(found(&index), [2, 2, 3, 5, 7]);
    }
}
