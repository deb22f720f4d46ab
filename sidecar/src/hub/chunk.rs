//! Chunks: neighbouring events, encoded once and shared by all subscribers of a format and a filter.
//!
//! A chunk covers a range of offsets. Of these it holds the events that its subscribers get; what is in
//! between was filtered or conflated away, and counts so when the subscriber is past it.

use std::{
    fmt::Write as _,
    ops::Range,
    sync::{Arc, OnceLock},
    time::Instant,
};

use crate::{
    event::TraceId,
    frame::{
        self, Format,
        websocket::{self, Window},
    },
    log::{Cursor, Entry, LogId, Offset},
};

/// How much of the log goes into one chunk. Enough to make a backlog cheap; and little enough that a
/// stalled reader, who pins one chunk, pins no more than this, and that no replay holds up the live
/// subscribers for longer than it takes to copy it into one socket.
pub(super) const CHUNK_BYTES: u64 = 64 * 1024;

/// The size line of an HTTP/1.1 chunk (RFC 9112, section 7.1), in fixed width so that it can be
/// filled in when the body's size is known. Leading zeros are allowed there.
const SIZE_LINE: usize = "00000000\r\n".len();
const LINE_END: &[u8] = b"\r\n";

/// The answer to a fetch.
#[derive(Debug, Clone)]
pub enum Fetch {
    /// Encoded events.
    Chunk(Arc<Chunk>),
    /// Nothing of what comes next is for this subscriber: it goes on behind it.
    Skipped(Passed),
    /// There is nothing newer yet.
    Empty,
    /// The events are older than what is in memory, and under way. The shards are woken when
    /// [`Hub::loads`](super::Hub::loads) has grown.
    Loading,
    /// The offset is no longer held. Reading goes on at `first`.
    Evicted {
        /// The oldest offset that is held.
        first: Offset,
    },
}

/// Events that a subscriber is past without having got them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Those that its filter doesn't match.
    pub filtered: u64,
    /// Those that a newer one of the same key stands for.
    pub conflated: u64,
}

impl Passed {
    /// How many they are.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.filtered + self.conflated
    }
}

/// Neighbouring events in one wire format.
#[derive(Debug)]
pub struct Chunk {
    /// The first offset that it covers.
    pub start: Offset,
    end: Offset,
    /// Whether it is as large as chunks are made, so that it need not be made again when there is more.
    full: bool,
    /// How many of the events that it passes over were conflated.
    conflated: u64,
    events: Vec<Encoded>,
    /// The events that belong to a trace, by their place among the events; nearly always none.
    traces: Vec<(usize, TraceId)>,
    /// The frames, inside the framing of an HTTP/1.1 chunk.
    bytes: Box<[u8]>,
    /// [`Self::list`] of all events as blocks of a compressed message, by the window; made when it is first
    /// wanted, and nothing where it would not be smaller.
    blocks: [OnceLock<Option<Box<[u8]>>>; 2],
}

/// One event of a chunk.
#[derive(Debug, Clone, Copy)]
struct Encoded {
    offset: Offset,
    accepted_at: Instant,
    /// How many events before it, in the chunk, were conflated.
    conflated: u32,
    /// Where its frame ends in the chunk's bytes.
    end: usize,
}

impl Chunk {
    /// Encodes neighbouring entries; `None` where there are none.
    pub(super) fn encode(format: Format, log: LogId, entries: &[Arc<Entry>]) -> Option<Self> {
        let (start, end) = (entries.first()?.offset, entries.last()?.offset + 1);
        let picked = entries.iter().map(|entry| (entry, 0));
        let mut chunk = Self::pick(format, log, start..end, picked)?;
        chunk.full = chunk.bytes.len() as u64 > CHUNK_BYTES / 2;
        Some(chunk)
    }

    /// Encodes some of the entries of a range, each with the number of those before it that were
    /// conflated; `None` where there are none.
    pub(super) fn pick<'a>(
        format: Format,
        log: LogId,
        range: Range<Offset>,
        picked: impl Iterator<Item = (&'a Arc<Entry>, u32)>,
    ) -> Option<Self> {
        let mut bytes = vec![b'0'; SIZE_LINE];
        let mut cursor = String::new();
        let mut events = Vec::with_capacity(picked.size_hint().0);
        let mut traces = Vec::new();
        for (entry, conflated) in picked {
            let &Entry { offset, accepted_at, .. } = &**entry;
            cursor.clear();
            // Writing into a string can't fail.
            let _ = write!(cursor, "{}", Cursor { log, offset });
            frame::encode(format, &cursor, &entry.posted.event, &mut bytes);
            traces.extend(entry.posted.event.trace().map(|trace| (events.len(), trace)));
            events.push(Encoded { offset, accepted_at, conflated, end: bytes.len() });
        }
        let size_line = format!("{:08x}\r\n", bytes.len() - SIZE_LINE);
        bytes.iter_mut().zip(size_line.bytes()).for_each(|(place, digit)| *place = digit);
        bytes.extend_from_slice(LINE_END);
        let Range { start, end } = range;
        let made = Self {
            start,
            end,
            full: false,
            conflated: 0,
            events,
            traces,
            bytes: bytes.into(),
            blocks: Default::default(),
        };
        (!made.events.is_empty()).then_some(made)
    }

    /// Says that it was made of as much as chunks are made of.
    pub(super) const fn set_full(&mut self) {
        self.full = true;
    }

    /// Says how many of the events that it passes over were conflated.
    pub(super) const fn set_conflated(&mut self, conflated: u64) {
        self.conflated = conflated;
    }

    /// Whether it is all that there is from `from` on: it is full, or reaches the head.
    pub(super) const fn is_all(&self, from: Offset, head: Offset) -> bool {
        self.start == from && (self.end == head || self.full)
    }

    /// The memory that it takes, but for what is compressed of it.
    pub(super) const fn weight(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + self.events.capacity() * size_of::<Encoded>()
    }

    /// The offset after the last that it covers.
    #[must_use]
    pub const fn end(&self) -> Offset {
        self.end
    }

    /// The first offset that a subscriber is not past when it has got so many events, and how many
    /// events up to there were conflated.
    #[must_use]
    pub fn settled(&self, events: usize, all: bool) -> (Offset, u64) {
        if all {
            return (self.end, self.conflated);
        }
        let last = events.checked_sub(1).and_then(|last| self.events.get(last));
        last.map_or((self.start, 0), |last| (last.offset + 1, last.conflated.into()))
    }

    /// The number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there is no event; there always is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The bytes for a connection: in the framing of an HTTP/1.1 chunk, or bare.
    #[must_use]
    pub fn bytes(&self, framing: Framing) -> &[u8] {
        let range = match framing {
            Framing::Chunked => 0..self.bytes.len(),
            Framing::Bare => self.body(),
        };
        self.bytes.get(range).unwrap_or_default()
    }

    /// The first so many events as they stand in a list, where that is their format.
    #[must_use]
    pub fn list(&self, events: usize) -> &[u8] {
        let last = events.checked_sub(1).and_then(|last| self.events.get(last));
        // Each is followed by a comma, also the last.
        let end = last.map_or(0, |last| last.end - SIZE_LINE - 1);
        self.bytes(Framing::Bare).get(..end).unwrap_or_default()
    }

    /// All events as they stand in a list, in blocks of a compressed message: made once for all who want
    /// them. Nothing where they would not be smaller by far.
    #[must_use]
    pub fn blocks(&self, window: Window) -> Option<&[u8]> {
        let [full, small] = &self.blocks;
        let made = match window {
            Window::Full => full,
            Window::Small => small,
        };
        let compress = || window.blocks(self.list(self.len())).map(Vec::into_boxed_slice);
        made.get_or_init(compress).as_deref()
    }

    /// The offsets of the events, in order.
    pub fn offsets(&self) -> impl Iterator<Item = Offset> {
        self.events.iter().map(|event| event.offset)
    }

    /// How many events are written once `sent` bytes are, given that `from` were before.
    #[must_use]
    pub fn written(&self, framing: Framing, from: usize, sent: usize) -> usize {
        let sent = match framing {
            Framing::Chunked => sent,
            Framing::Bare => sent + SIZE_LINE,
        };
        let rest = self.events.get(from..).unwrap_or_default();
        // Most often the whole chunk went out at once.
        match rest.last() {
            Some(last) if last.end <= sent => rest.len(),
            _ => rest.partition_point(|event| event.end <= sent),
        }
    }

    /// Where the frame of a WebSocket ends that the byte before `sent` is in: there another may stand.
    #[must_use]
    pub fn frame_end(&self, sent: usize) -> usize {
        let sent = sent + SIZE_LINE;
        let place = self.events.partition_point(|event| event.end < sent);
        let before = place.checked_sub(1).and_then(|before| self.events.get(before));
        let start = before.map_or(SIZE_LINE, |before| before.end);
        let end = self.events.get(place).map_or(self.body().end, |event| event.end);
        let frames = self.bytes.get(start..end).unwrap_or_default();
        start + websocket::frame_end(frames, sent.saturating_sub(start)) - SIZE_LINE
    }

    /// Whether an event ends with the byte before `sent`, where nothing is around the frames.
    #[must_use]
    pub fn ends_event(&self, sent: usize) -> bool {
        self.events.binary_search_by_key(&(sent + SIZE_LINE), |event| event.end).is_ok()
    }

    /// When each of a range of events was accepted.
    pub fn accepted_at(&self, range: Range<usize>) -> impl Iterator<Item = Instant> {
        self.events.get(range).unwrap_or_default().iter().map(|event| event.accepted_at)
    }

    /// Of a range of events, the last that belongs to a trace: when it was accepted, and the trace.
    #[must_use]
    pub fn last_traced(&self, range: &Range<usize>) -> Option<(Instant, TraceId)> {
        let mut inside = self.traces.iter().rev().filter(|(place, _)| range.contains(place));
        let (place, trace) = inside.next()?;
        Some((self.events.get(*place)?.accepted_at, *trace))
    }

    fn body(&self) -> Range<usize> {
        SIZE_LINE..self.bytes.len() - LINE_END.len()
    }
}

/// How a connection delimits what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Chunked transfer coding: an HTTP/1.1 response.
    Chunked,
    /// Nothing around the frames: WebSocket, and HTTP/1.0, where the connection's end is the end.
    Bare,
}

impl Framing {
    /// Appends `bytes` in this framing.
    pub fn frame(self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Chunked => {
                out.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
                out.extend_from_slice(bytes);
                out.extend_from_slice(LINE_END);
            }
            Self::Bare => out.extend_from_slice(bytes),
        }
    }

    /// What ends the stream.
    #[must_use]
    pub const fn end(self) -> &'static [u8] {
        match self {
            Self::Chunked => b"0\r\n\r\n",
            Self::Bare => b"",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::log::{Entry, tests::posted};

    pub(crate) fn chunk(payloads: &[&'static [u8]]) -> Chunk {
        chunk_in(Format::SseData, payloads)
    }

    pub(crate) fn chunk_in(format: Format, payloads: &[&'static [u8]]) -> Chunk {
        let entry = |(n, payload): (usize, &&'static [u8])| Entry {
            offset: n as u64 + 1,
            accepted_at: Instant::now(),
            time: 0,
            posted: posted(&n.to_string(), payload),
        };
        let entries: Vec<_> = payloads.iter().enumerate().map(|n| Arc::new(entry(n))).collect();
        Chunk::encode(format, LogId::random(), &entries).unwrap()
    }

    #[test]
    fn a_chunk_is_a_valid_http_chunk_around_its_body() {
        let chunk = chunk(&[b"{}", b"[1]"]);
        let body = chunk.bytes(Framing::Bare);
        let whole = chunk.bytes(Framing::Chunked);
        assert_eq!(whole, [format!("{:08x}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat());
        assert!(body.starts_with(b"id: ") && body.ends_with(b"data: [1]\n\n"));
    }

    #[test]
    fn events_count_as_written_when_their_last_byte_is() {
        let chunk = chunk(&[b"1", b"2", b"3"]);
        for framing in [Framing::Bare, Framing::Chunked] {
            let lead = if framing == Framing::Chunked { SIZE_LINE } else { 0 };
            let one = chunk.bytes(Framing::Bare).len() / 3;
            let written = |from, sent| chunk.written(framing, from, sent);
            assert_eq!(written(0, lead + one - 1), 0);
            assert_eq!(written(0, lead + one), 1);
            assert_eq!(written(1, lead + 2 * one), 1);
            assert_eq!(written(0, chunk.bytes(framing).len()), 3);
            assert_eq!(written(3, chunk.bytes(framing).len()), 0);
        }
    }
}
