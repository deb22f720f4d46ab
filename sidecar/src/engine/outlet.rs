//! Decides which bytes a connection writes next. Sans-I/O.
//!
//! Laws: a frame is never interrupted; a control waits for the end of the chunk that is being written
//! and goes before the next; each event is reported as written exactly once.

use std::{io::IoSlice, ops::Range, sync::Arc};

use crate::{
    hub::{Chunk, Framing, Passed},
    log::Offset,
};

/// What a connection has yet to write.
#[derive(Debug)]
pub(super) struct Outlet {
    framing: Framing,
    /// The offset after the last event that is encoded in `current`.
    next: Offset,
    current: Option<Current>,
    /// Controls, framed; empty, and without an allocation, nearly always.
    control: Vec<u8>,
    control_sent: usize,
}

#[derive(Debug)]
struct Current {
    chunk: Arc<Chunk>,
    /// How many bytes the socket has taken.
    sent: usize,
    /// How many events were reported as written.
    written: usize,
}

/// Events whose last byte the socket has taken, and those that were passed over with them.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) chunk: Arc<Chunk>,
    pub(super) events: Range<usize>,
    pub(super) passed: Passed,
    /// Whether the subscriber knows its position from the last event.
    pub(super) told: bool,
}

impl Outlet {
    /// An outlet that writes `head` as it is, then frames.
    pub(super) const fn new(framing: Framing, head: Vec<u8>, next: Offset) -> Self {
        Self { framing, next, current: None, control: head, control_sent: 0 }
    }

    /// The offset of the next event that is neither written nor being written.
    pub(super) const fn next(&self) -> Offset {
        self.next
    }

    /// The offset of the first event that is not completely written.
    pub(super) fn unwritten(&self) -> Offset {
        match &self.current {
            Some(current) => current.chunk.settled(current.written, false).0,
            None => self.next,
        }
    }

    /// Continues at another offset.
    pub(super) const fn skip_to(&mut self, next: Offset) {
        self.next = next;
    }

    /// Gives up a chunk of which nothing was sent: before a farewell, so that its cursor is that of the
    /// last event that is really sent, and nothing comes behind the end of the stream.
    pub(super) fn take_back(&mut self) {
        if let Some(unsent) = self.current.take_if(|current| current.sent == 0) {
            self.next = unsent.chunk.start;
        }
    }

    /// How many bytes of controls wait.
    pub(super) const fn waiting_control(&self) -> usize {
        self.control.len() - self.control_sent
    }

    /// Adds a control or a heartbeat, to be framed.
    pub(super) fn push_control(&mut self, frame: &[u8]) {
        self.framing.frame(frame, &mut self.control);
    }

    /// Adds what ends the stream.
    pub(super) fn push_end(&mut self) {
        self.control.extend_from_slice(self.framing.end());
    }

    /// Adds the chunk that starts at [`Self::next`].
    pub(super) fn push_chunk(&mut self, chunk: Arc<Chunk>) {
        self.next = chunk.end();
        self.current = Some(Current { chunk, sent: 0, written: 0 });
    }

    /// Whether the next chunk can be pushed.
    pub(super) const fn wants_chunk(&self) -> bool {
        self.current.is_none()
    }

    /// Whether there is nothing to write.
    pub(super) fn is_idle(&self) -> bool {
        self.current.is_none() && self.control.is_empty()
    }

    /// The bytes to write, in order, and at most so many. Empty slices where there are none.
    pub(super) fn slices(&self, most: usize) -> [IoSlice<'_>; 2] {
        let control = self.control.get(self.control_sent..).unwrap_or_default();
        let Some(Current { chunk, sent, written: _ }) = &self.current else {
            return both(control, &[], most);
        };
        let chunk = chunk.bytes(self.framing).get(*sent..).unwrap_or_default();
        if *sent == 0 { both(control, chunk, most) } else { both(chunk, control, most) }
    }

    /// Takes note that the socket took `count` bytes of the [`Self::slices`].
    pub(super) fn advance(&mut self, count: usize) -> Option<Written> {
        let begun = self.current.as_ref().is_some_and(|current| current.sent > 0);
        if begun {
            let (written, rest) = self.advance_chunk(count);
            self.advance_control(rest);
            written
        } else {
            let rest = self.advance_control(count);
            self.advance_chunk(rest).0
        }
    }

    fn advance_control(&mut self, count: usize) -> usize {
        let taken = count.min(self.control.len() - self.control_sent);
        self.control_sent += taken;
        if self.control_sent == self.control.len() {
            // A new vector, not a cleared one: an idle connection keeps no buffer.
            self.control = Vec::new();
            self.control_sent = 0;
        }
        count - taken
    }

    fn advance_chunk(&mut self, count: usize) -> (Option<Written>, usize) {
        let Some(current) = &mut self.current else { return (None, count) };
        let size = current.chunk.bytes(self.framing).len();
        let taken = count.min(size - current.sent);
        current.sent += taken;
        let done = current.chunk.written(self.framing, current.written, current.sent);
        let events = current.written..current.written + done;
        current.written = events.end;
        let (before, conflated_before) = current.chunk.settled(events.start, false);
        let (last, _) = current.chunk.settled(events.end, false);
        let finished = current.sent == size;
        let (after, conflated_after) = current.chunk.settled(events.end, finished);
        let chunk = if finished {
            self.current.take().map(|current| current.chunk)
        } else {
            Some(Arc::clone(&current.chunk))
        };
        let conflated = conflated_after - conflated_before;
        let filtered = (after - before) - done as u64 - conflated;
        let written = chunk.filter(|_| after > before).map(|chunk| Written {
            chunk,
            events,
            passed: Passed { filtered, conflated },
            told: last == after,
        });
        (written, count - taken)
    }
}

fn both<'a>(first: &'a [u8], second: &'a [u8], most: usize) -> [IoSlice<'a>; 2] {
    let cut = |bytes: &'a [u8], most: usize| bytes.get(..most.min(bytes.len())).unwrap_or_default();
    let first = cut(first, most);
    [IoSlice::new(first), IoSlice::new(cut(second, most - first.len()))]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hub::chunk::tests::chunk;

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

    /// Writes all there is, `step` bytes at a time; returns the bytes and the offsets written.
    fn drain(outlet: &mut Outlet, step: usize, out: &mut Vec<u8>) -> Vec<Offset> {
        let mut offsets = Vec::new();
        while !outlet.is_idle() {
            let bytes = outlet.slices(step.max(3)).map(|slice| slice.to_vec()).concat();
            let count = step.min(bytes.len());
            out.extend_from_slice(&bytes[..count]);
            if let Some(Written { chunk, events, .. }) = outlet.advance(count) {
                offsets.extend(events.map(|event| chunk.start + event as u64));
            }
        }
        offsets
    }

    proptest! {
        #[test]
        fn however_the_socket_takes_it_every_event_is_written_once(
            step in 1_usize..200, events in 1_usize..20, chunked: bool,
        ) {
            let framing = if chunked { Framing::Chunked } else { Framing::Bare };
            let mut outlet = Outlet::new(framing, HEAD.to_vec(), 1);
            let chunk = Arc::new(chunk(&vec![b"{}".as_slice(); events]));
            outlet.push_chunk(Arc::clone(&chunk));
            let mut out = Vec::new();
            let offsets = drain(&mut outlet, step, &mut out);
            prop_assert_eq!(offsets, (1..=events as u64).collect::<Vec<_>>());
            prop_assert_eq!(&out, &[HEAD, chunk.bytes(framing)].concat());
            prop_assert_eq!((outlet.next(), outlet.unwritten()), (chunk.end(), chunk.end()));
        }
    }

    #[test]
    fn a_control_waits_for_the_end_of_a_chunk_that_has_begun() {
        let mut outlet = Outlet::new(Framing::Bare, Vec::new(), 1);
        let chunk = Arc::new(chunk(&[b"1", b"2"]));
        outlet.push_chunk(Arc::clone(&chunk));
        outlet.advance(1);
        outlet.push_control(b":\n\n");
        let mut out = Vec::new();
        drain(&mut outlet, 5, &mut out);
        assert_eq!(out, [&chunk.bytes(Framing::Bare)[1..], b":\n\n"].concat());
    }

    #[test]
    fn a_control_goes_before_a_chunk_that_has_not_begun() {
        let mut outlet = Outlet::new(Framing::Chunked, Vec::new(), 1);
        outlet.push_chunk(Arc::new(chunk(&[b"1"])));
        outlet.push_control(b":\n\n");
        let mut out = Vec::new();
        drain(&mut outlet, 1, &mut out);
        assert!(out.starts_with(b"3\r\n:\n\n\r\n0000"));
    }

    #[test]
    fn a_farewell_takes_back_a_chunk_that_has_not_begun_and_no_other() {
        let mut outlet = Outlet::new(Framing::Chunked, Vec::new(), 1);
        let chunk = Arc::new(chunk(&[b"1", b"2"]));
        outlet.push_chunk(Arc::clone(&chunk));
        outlet.take_back();
        assert_eq!((outlet.next(), outlet.unwritten(), outlet.is_idle()), (1, 1, true));
        outlet.push_chunk(chunk);
        outlet.advance(1);
        outlet.take_back();
        assert_eq!((outlet.next(), outlet.unwritten(), outlet.is_idle()), (3, 1, false));
    }

    #[test]
    fn the_unwritten_offset_is_that_of_the_event_in_flight() {
        let mut outlet = Outlet::new(Framing::Bare, Vec::new(), 1);
        let chunk = Arc::new(chunk(&[b"1", b"2"]));
        outlet.push_chunk(Arc::clone(&chunk));
        outlet.advance(chunk.bytes(Framing::Bare).len() - 1);
        assert_eq!((outlet.unwritten(), outlet.next()), (2, 3));
    }
}
