//! What a stream holds, and what an append does to it: decided without I/O.
//!
//! # Laws
//!
//! - What stands at a position never changes; an append goes behind all that is there.
//! - An append is decided, recorded and applied as one: in between, no other is decided.
//! - A producer's append that was taken before is answered as such, whatever else has changed since.

use std::collections::HashMap;

use super::{
    content::{Batch, Kind, is_same_type},
    offset::{Anchor, Offset, Position},
    producer::{Producer, Progress, Turn},
    refusal::Refusal,
};

/// What a batch costs beside its bytes.
const BATCH_OVERHEAD: u64 = 128;

/// What a producer costs beside its id.
const PRODUCER_OVERHEAD: u64 = 96;

/// An append, as it was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Append {
    /// The media type of the body.
    pub(crate) content_type: Option<Box<str>>,
    /// The producer, where it is one that retries.
    pub(crate) producer: Option<Producer>,
    /// The writer's own number.
    pub(crate) seq: Option<Box<str>>,
    /// Whether nothing is to follow.
    pub(crate) close: bool,
    /// What to append; empty where the stream is only to be closed.
    pub(crate) body: bytes::Bytes,
}

/// An append that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) batch: Batch,
    pub(crate) producer: Option<Producer>,
    pub(crate) seq: Option<Box<str>>,
    pub(crate) close: bool,
}

/// What an append comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is to be recorded and applied.
    Accept(Accepted),
    /// There is nothing to do: it was done before.
    Done(Option<Progress>),
}

/// What a stream holds.
#[derive(Debug)]
pub(crate) struct State {
    lineage: u64,
    batches: Vec<Placed>,
    /// The position behind the last batch.
    end: Position,
    /// The memory that it takes.
    bytes: u64,
    producers: HashMap<Box<str>, Progress>,
    seq: Option<Box<str>>,
    /// Whether nothing follows.
    closed: bool,
    /// Set when it is deleted.
    gone: bool,
}

/// A batch at its place.
#[derive(Debug, Clone)]
struct Placed {
    start: Position,
    batch: Batch,
}

/// A part of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// What was read.
    pub(crate) parts: Vec<Batch>,
    /// The position from which it was read.
    pub(crate) from: Position,
    /// The position behind it.
    pub(crate) next: Position,
    /// Whether there is nothing behind it.
    pub(crate) up_to_date: bool,
    /// Whether nothing will ever follow it.
    pub(crate) closed: bool,
}

impl Page {
    pub(crate) const fn is_empty(&self) -> bool {
        self.from == self.next
    }
}

impl State {
    /// Nothing yet, in a stream of this lineage.
    pub(crate) fn new(lineage: u64) -> Self {
        Self {
            lineage,
            batches: Vec::new(),
            end: 0,
            bytes: 0,
            producers: HashMap::new(),
            seq: None,
            closed: false,
            gone: false,
        }
    }

    /// The place behind all that is there.
    pub(crate) const fn end(&self) -> Offset {
        self.offset(self.end)
    }

    /// The offset of a position.
    pub(crate) const fn offset(&self, position: Position) -> Offset {
        Offset { lineage: self.lineage, position }
    }

    /// The position that is meant; a place of another stream, or behind the end, is none.
    pub(crate) fn position(&self, from: Anchor) -> Result<Position, Refusal> {
        match from {
            Anchor::Start => Ok(0),
            Anchor::Now => Ok(self.end),
            Anchor::At(offset) if offset.lineage != self.lineage => Err(Refusal::EarlierStream),
            Anchor::At(offset) if offset.position > self.end => {
                Err(Refusal::parameter("offset", "is behind the end of the stream"))
            }
            Anchor::At(offset) => Ok(offset.position),
        }
    }

    /// The memory that it takes.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What it holds, append by append.
    pub(crate) fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.batches.iter().map(|placed| &placed.batch)
    }

    /// Makes all offsets that it gave out those of an earlier stream, because some may have led to what it
    /// no longer has.
    pub(crate) const fn renew(&mut self, lineage: u64) {
        self.lineage = lineage;
    }

    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) const fn is_gone(&self) -> bool {
        self.gone
    }

    /// Marks it as deleted. Its content stays for who reads it already.
    pub(crate) const fn delete(&mut self) {
        self.gone = true;
    }

    /// Decides an append to a stream of this media type.
    pub(crate) fn decide(&self, content_type: &str, append: Append) -> Result<Decision, Refusal> {
        let Append { content_type: sent, producer, seq, close, body } = append;
        if body.is_empty() && !close {
            return Err(Refusal::Empty);
        }
        if !body.is_empty() {
            let rule = "must be given: it is that of the stream";
            let sent = sent.ok_or(Refusal::header("content-type", rule))?;
            if !is_same_type(&sent, content_type) {
                return Err(Refusal::ContentType(content_type.into()));
            }
        }
        if let Some(producer) = &producer
            && let Turn::Repeated(progress) = self.turn(producer)?
        {
            return Ok(Decision::Done(Some(progress)));
        }
        if self.is_closed() {
            // To close what is closed is no mistake; to append to it, or to claim to be its last, is.
            let repeated = close && body.is_empty() && producer.is_none();
            let refused = Err(Refusal::Closed { end: self.end() });
            return if repeated { Ok(Decision::Done(None)) } else { refused };
        }
        let empty = body.is_empty();
        let batch = Batch::new(Kind::of(content_type), body)?;
        if batch.len() == 0 && !empty {
            return Err(Refusal::Empty);
        }
        self.check_seq(seq.as_deref())?;
        Ok(Decision::Accept(Accepted { batch, producer, seq, close }))
    }

    fn turn(&self, producer: &Producer) -> Result<Turn, Refusal> {
        producer.turn(self.producers.get(&producer.id).copied())
    }

    fn check_seq(&self, seq: Option<&str>) -> Result<(), Refusal> {
        match (seq, &self.seq) {
            (Some(seq), Some(last)) if seq.as_bytes() <= last.as_bytes() => {
                Err(Refusal::Seq { last: last.clone() })
            }
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// The memory that an append will take. A producer is remembered once, however often it appends.
    pub(crate) fn cost(&self, accepted: &Accepted) -> u64 {
        let Accepted { batch, producer, seq: _, close: _ } = accepted;
        let new = producer.as_ref().filter(|producer| !self.producers.contains_key(&producer.id));
        let producer = new.map_or(0, |new| new.id.len() as u64 + PRODUCER_OVERHEAD);
        let batch = if batch.len() == 0 { 0 } else { batch.bytes() + BATCH_OVERHEAD };
        producer + batch
    }

    /// Applies an append that was accepted.
    pub(crate) fn apply(&mut self, accepted: Accepted) {
        self.bytes += self.cost(&accepted);
        let Accepted { batch, producer, seq, close } = accepted;
        if batch.len() > 0 {
            let start = self.end;
            self.end += batch.len();
            self.batches.push(Placed { start, batch });
        }
        if let Some(producer) = producer {
            let progress = producer.progress();
            self.producers.insert(producer.id, progress);
        }
        if seq.is_some() {
            self.seq = seq;
        }
        self.closed |= close;
    }

    /// Reads from a position on: something, where there is something, and about so much.
    pub(crate) fn read(&self, from: Position, max_bytes: usize) -> Page {
        let mut page =
            Page { parts: Vec::new(), from, next: from, up_to_date: false, closed: false };
        let first =
            self.batches.partition_point(|placed| placed.start + placed.batch.len() <= from);
        let mut room = max_bytes;
        for Placed { start, batch } in self.batches.get(first..).unwrap_or_default() {
            let begin = page.next - start;
            let end = batch.fitting(begin, room);
            let part = batch.part(begin, end);
            let bytes = part.data().len();
            if bytes > room && !page.parts.is_empty() {
                break;
            }
            room = room.saturating_sub(bytes);
            page.next = start + end;
            page.parts.push(part);
            if end < batch.len() || room == 0 {
                break;
            }
        }
        page.up_to_date = page.next >= self.end;
        page.closed = page.up_to_date && self.is_closed();
        page
    }

    /// The content before a position, and `sub` more of the batch that begins there: what a fork
    /// inherits. Nothing is copied but references.
    pub(crate) fn fork(&self, at: Position, sub: u64) -> Result<Self, Refusal> {
        let end = if sub == 0 { at } else { self.within_batch(at, sub)? };
        let mut forked = Self::new(self.lineage);
        for Placed { start, batch } in self.batches.iter().take_while(|placed| placed.start < end) {
            let batch = batch.part(0, end - start);
            forked.bytes += batch.bytes() + BATCH_OVERHEAD;
            forked.end = start + batch.len();
            forked.batches.push(Placed { start: *start, batch });
        }
        Ok(forked)
    }

    /// The position `sub` further on, if one batch reaches so far.
    fn within_batch(&self, at: Position, sub: u64) -> Result<Position, Refusal> {
        let index = self.batches.partition_point(|placed| placed.start + placed.batch.len() <= at);
        let reaches =
            self.batches.get(index).map_or(at, |placed| placed.start + placed.batch.len());
        let rule = "must not lead past the append that begins at the fork's offset";
        at.checked_add(sub)
            .filter(|end| *end <= reaches)
            .ok_or(Refusal::header("stream-fork-sub-offset", rule))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::durable::content::join;

    const TEXT: &str = "text/plain";

    fn append(body: &str) -> Append {
        Append {
            content_type: Some(TEXT.into()),
            producer: None,
            seq: None,
            close: false,
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    fn holding(bodies: &[&str]) -> State {
        let mut state = State::new(7);
        bodies.iter().for_each(|body| take(&mut state, append(body)));
        state
    }

    fn take(state: &mut State, append: Append) {
        match state.decide(TEXT, append).unwrap() {
            Decision::Accept(accepted) => state.apply(accepted),
            Decision::Done(_) => panic!("done before"),
        }
    }

    fn text(state: &State, from: Position) -> String {
        String::from_utf8(join(Kind::Text, &state.read(from, usize::MAX).parts)).unwrap()
    }

    #[test]
    fn what_is_appended_is_read_from_every_place() {
        let state = holding(&["abc", "de"]);
        for (from, rest) in [(0, "abcde"), (2, "cde"), (3, "de"), (5, "")] {
            assert_eq!(text(&state, from), rest);
        }
        assert!(state.read(0, 100).up_to_date);
    }

    #[test]
    fn a_page_is_bounded_and_moves_on() {
        let state = holding(&["abc", "de"]);
        let page = state.read(0, 4);
        assert_eq!((page.next, page.up_to_date), (4, false));
        assert_eq!(state.read(4, 0).next, 5);
    }

    #[test]
    fn a_closed_stream_ends_with_its_last_byte_only() {
        let mut state = holding(&["abc"]);
        take(&mut state, Append { close: true, ..append("d") });
        assert!(!state.read(0, 2).closed);
        assert!(state.read(0, 9).closed && state.read(4, 9).closed);
        let again = Append { close: true, ..append("") };
        assert_eq!(state.decide(TEXT, again), Ok(Decision::Done(None)));
        assert!(matches!(state.decide(TEXT, append("e")), Err(Refusal::Closed { .. })));
    }

    #[test]
    fn a_retry_of_the_closing_append_is_no_mistake_and_another_is() {
        let by = |id: &str, seq| Some(Producer { id: id.into(), epoch: 0, seq });
        let mut state = State::new(7);
        let closing = Append { close: true, producer: by("a", 0), ..append("x") };
        take(&mut state, closing.clone());
        assert!(matches!(state.decide(TEXT, closing.clone()), Ok(Decision::Done(Some(_)))));
        for producer in [by("a", 1), by("b", 0)] {
            let other = Append { producer, ..closing.clone() };
            assert!(matches!(state.decide(TEXT, other), Err(Refusal::Closed { .. })));
        }
    }

    #[test]
    fn a_producer_takes_memory_once_however_often_it_appends() {
        let by = |id: &str, seq| Some(Producer { id: id.into(), epoch: 0, seq });
        let mut state = State::new(7);
        let mut grown = Vec::new();
        for (id, seq) in [("a", 0), ("a", 1), ("a", 2), ("bc", 0)] {
            let before = state.bytes();
            take(&mut state, Append { producer: by(id, seq), ..append("x") });
            grown.push(state.bytes() - before);
        }
        let batch = 1 + BATCH_OVERHEAD;
        let producer = batch + PRODUCER_OVERHEAD;
        assert_eq!(grown, [producer + 1, batch, batch, producer + 2]);
    }

    #[test]
    fn a_writers_numbers_grow_byte_by_byte() {
        let mut state = State::new(7);
        let numbered = |seq: &str| Append { seq: Some(seq.into()), ..append("x") };
        take(&mut state, numbered("09"));
        take(&mut state, numbered("10"));
        take(&mut state, numbered("a"));
        for late in ["2", "a", "B"] {
            assert!(
                matches!(state.decide(TEXT, numbered(late)), Err(Refusal::Seq { .. })),
                "{late}"
            );
        }
        take(&mut state, append("unnumbered"));
        assert!(state.decide(TEXT, numbered("a")).is_err());
    }

    #[test]
    fn a_mistake_is_named() {
        let state = State::new(7);
        let refused = |append| state.decide(TEXT, append).unwrap_err().status().1;
        assert_eq!(refused(append("")), "empty");
        assert_eq!(refused(Append { content_type: None, ..append("x") }), "header");
        let other = Append { content_type: Some("application/json".into()), ..append("x") };
        assert_eq!(refused(other), "content_type");
    }

    #[test]
    fn a_fork_holds_what_was_before_it() {
        let state = holding(&["abc", "def"]);
        for (at, sub, held) in
            [(0, 0, ""), (3, 0, "abc"), (2, 0, "ab"), (0, 2, "ab"), (3, 3, "abcdef")]
        {
            let fork = state.fork(at, sub).unwrap();
            assert_eq!(text(&fork, 0), held, "{at} {sub}");
            assert_eq!(fork.end(), Offset { lineage: 7, position: held.len() as u64 });
        }
        for (at, sub) in [(0, 4), (6, 1), (3, u64::MAX)] {
            assert!(state.fork(at, sub).is_err(), "{at} {sub}");
        }
    }

    proptest! {
        #[test]
        fn pages_in_a_row_are_the_stream(
            bodies in prop::collection::vec("[a-z]{1,9}", 0..8), max_bytes in 0_usize..12,
        ) {
            let state = holding(&bodies.iter().map(String::as_str).collect::<Vec<_>>());
            let (mut read, mut from) = (String::new(), 0);
            loop {
                let page = state.read(from, max_bytes);
                prop_assert!(page.next > from || page.up_to_date);
                prop_assert!(page.parts.iter().map(|part| part.data().len()).sum::<usize>() <= max_bytes.max(1));
                read.push_str(&String::from_utf8(join(Kind::Text, &page.parts)).unwrap());
                from = page.next;
                if page.up_to_date {
                    break;
                }
            }
            prop_assert_eq!(read, bodies.concat());
        }
    }
}
