//! Decides which bytes a connection writes next. Sans-I/O.
//!
//! Laws: a frame is never interrupted; a control waits for the end of the chunk that is being written
//! and goes before the next; what answers a WebSocket's peer waits for the end of a frame only, and so does the end
//! of the stream where it is to come soon; nothing is written behind that; each event is reported as written exactly
//! once.

use std::{io::IoSlice, ops::Range, sync::Arc};

use crate::{
    frame::Asides,
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
    /// Controls, framed.
    asides: Asides,
}

#[derive(Debug)]
struct Current {
    chunk: Arc<Chunk>,
    /// How many bytes the socket has taken.
    sent: usize,
    /// How many events were reported as written.
    written: usize,
}

/// Where a stream can end though a chunk is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Break {
    /// The first offset that is not completely written there.
    pub(super) next: Offset,
    /// Whether it is within an event, where nothing but control frames can stand.
    pub(super) within: bool,
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
        Self { framing, next, current: None, asides: Asides::new(head) }
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
        self.asides.waiting()
    }

    /// Adds a control or a heartbeat, to be framed.
    pub(super) fn push_control(&mut self, frame: &[u8]) {
        self.asides.push(|out| self.framing.frame(frame, out));
    }

    /// Adds control frames of a WebSocket, which may stand between any two frames.
    pub(super) fn push_frames(&mut self, frames: &[u8]) {
        let begun = self.begun().is_some();
        self.asides.interject(frames, begun);
    }

    /// Ends the stream behind all that waits: with these frames, where it is that of a WebSocket.
    pub(super) fn end(&mut self, frames: &[u8]) {
        self.asides.end(|out| {
            out.extend_from_slice(frames);
            out.extend_from_slice(self.framing.end());
        });
    }

    /// Where the stream of a WebSocket can end before the chunk does that is being written; none where there is
    /// no such chunk, or an end is there already.
    pub(super) fn first_break(&self) -> Option<Break> {
        let current = self.begun().filter(|_| !self.asides.is_cut())?;
        let end = current.chunk.frame_end(current.sent);
        let written = current.chunk.written(self.framing, 0, end);
        let (next, _) = current.chunk.settled(written, false);
        Some(Break { next, within: !current.chunk.ends_event(end) })
    }

    /// Ends the stream of a WebSocket with these frames as soon as one may stand there. What is not sent by then
    /// is given up. Says whether it ends with these, and not as it was to end anyway.
    pub(super) fn close(&mut self, frames: &[u8]) -> bool {
        let begun = self.begun().is_some();
        self.asides.end_now(frames, begun)
    }

    /// The chunk that is being written.
    fn begun(&self) -> Option<&Current> {
        self.current.as_ref().filter(|current| current.sent > 0)
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
        self.current.is_none() && self.asides.is_empty()
    }

    /// The bytes to write, in order, and at most so many. Empty slices where there are none.
    pub(super) fn slices(&self, most: usize) -> [IoSlice<'_>; 2] {
        let Some(Current { chunk, sent, written: _ }) = &self.current else {
            return both(self.asides.rest(), &[], most);
        };
        let bytes = chunk.bytes(self.framing);
        if let Some(pause) = self.pause() {
            let frame = bytes.get(*sent..pause).unwrap_or_default();
            return both(frame, self.asides.rest_within(), most);
        }
        let (rest, asides) = (bytes.get(*sent..).unwrap_or_default(), self.asides.rest());
        if *sent == 0 { both(asides, rest, most) } else { both(rest, asides, most) }
    }

    /// How much of the chunk is sent when something stands within it; none where nothing is to.
    fn pause(&self) -> Option<usize> {
        let current = self.begun()?;
        (!self.asides.rest_within().is_empty()).then(|| current.chunk.frame_end(current.sent))
    }

    /// Takes note that the socket took `count` bytes of the [`Self::slices`].
    pub(super) fn advance(&mut self, count: usize) -> Option<Written> {
        let Some(sent) = self.begun().map(|current| current.sent) else {
            let rest = self.asides.advance(count);
            return self.advance_chunk(rest).0;
        };
        let here = self.pause().map_or(count, |pause| count.min(pause - sent));
        let (written, rest) = self.advance_chunk(here);
        self.asides.advance(count - here + rest);
        if self.asides.is_cut() && self.asides.is_empty() {
            self.give_up_rest();
        }
        written
    }

    /// Gives up what is left of a chunk.
    fn give_up_rest(&mut self) {
        self.next = self.unwritten();
        self.current = None;
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
    use crate::{
        frame::{
            Format,
            naive::{self, Naive, Step},
            websocket::Coding,
        },
        hub::chunk::tests::{chunk, chunk_in},
    };

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

    /// What was said so far, to an outlet and to its twin.
    struct Twins {
        outlet: Outlet,
        naive: Naive,
        written: Vec<u8>,
        pongs: u8,
    }

    impl Twins {
        fn new() -> Self {
            let outlet = Outlet::new(Framing::Bare, Vec::new(), 1);
            Self { outlet, naive: Naive::default(), written: Vec::new(), pongs: 0 }
        }

        fn step(&mut self, step: Step, chunks: &[Arc<Chunk>; 2]) {
            let Self { outlet, naive, written, pongs } = self;
            match step {
                Step::Events(large) => {
                    if outlet.wants_chunk() && !naive.is_ended() {
                        let chunk = &chunks[usize::from(large)];
                        naive.begin(naive::frames(chunk.bytes(Framing::Bare)));
                        outlet.push_chunk(Arc::clone(chunk));
                    }
                }
                Step::Message(size) => {
                    naive.push(naive::message(size));
                    outlet.push_control(&naive::message(size));
                }
                Step::Pong => {
                    *pongs += 1;
                    naive.interject(naive::pong(*pongs));
                    outlet.push_frames(&naive::pong(*pongs));
                }
                Step::End => {
                    naive.take_back();
                    naive.end(naive::close(1012));
                    outlet.take_back();
                    outlet.end(&naive::close(1012));
                }
                Step::Close => {
                    naive.take_back();
                    naive.end_now(naive::close(1000));
                    outlet.take_back();
                    outlet.close(&naive::close(1000));
                }
                Step::Hurry => {}
                Step::Take(count) => {
                    naive.take(count);
                    take(outlet, count, written);
                }
            }
        }
    }

    /// Takes so many bytes, or all there are.
    fn take(outlet: &mut Outlet, mut count: usize, out: &mut Vec<u8>) {
        while count > 0 && !outlet.is_idle() {
            let bytes = outlet.slices(count).map(|slice| slice.to_vec()).concat();
            assert!(!bytes.is_empty() && bytes.len() <= count);
            out.extend_from_slice(&bytes);
            outlet.advance(bytes.len());
            count -= bytes.len();
        }
    }

    proptest! {
        #[test]
        fn it_writes_what_one_writes_that_knows_whole_frames_only(
            steps in proptest::collection::vec(naive::step(), 1..60),
        ) {
            let small = chunk_in(Format::WsJson(Coding::Plain), &[b"1", b"2"]);
            let (chunks, mut twins) = ([Arc::new(small), large()], Twins::new());
            for step in steps {
                twins.step(step, &chunks);
                prop_assert!(twins.written == twins.naive.written, "at {step:?}");
            }
            twins.step(Step::Take(usize::MAX), &chunks);
            prop_assert!(twins.written == twins.naive.written);
            prop_assert!(twins.outlet.is_idle());
            naive::check(&twins.written);
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

    /// An event of three frames of a WebSocket between two small ones.
    fn large() -> Arc<Chunk> {
        let middle: &[u8] = Box::leak(vec![b'7'; 140_000].into_boxed_slice());
        Arc::new(chunk_in(Format::WsJson(Coding::Plain), &[b"1", middle, b"3"]))
    }

    /// The first bytes of the frames.
    fn frames(mut bytes: &[u8]) -> Vec<u8> {
        let mut frames = Vec::new();
        while let [first, length, rest @ ..] = bytes {
            frames.push(*first);
            let (header, length) = match length {
                126 => (2, usize::from(u16::from_be_bytes([rest[0], rest[1]]))),
                short => (0, usize::from(*short)),
            };
            bytes = &rest[header + length..];
        }
        frames
    }

    #[test]
    fn a_pong_waits_for_the_end_of_a_frame_wherever_the_chunk_is() {
        let chunk = large();
        let bytes = chunk.bytes(Framing::Bare);
        for step in [1_000, 65_539, usize::MAX / 2] {
            for begun in [1, 1_000, 70_000, 130_000, bytes.len() - 1] {
                let mut outlet = Outlet::new(Framing::Bare, Vec::new(), 1);
                outlet.push_chunk(Arc::clone(&chunk));
                outlet.advance(begun);
                outlet.push_control(b"\x81\x01m");
                outlet.push_frames(b"\x8a\x01p");
                let mut out = bytes[..begun].to_vec();
                drain(&mut outlet, step, &mut out);
                let place = frames(&out).iter().position(|first| *first == 0x8a).unwrap();
                let end = chunk.frame_end(begun);
                assert_eq!(&out[end..end + 3], b"\x8a\x01p", "begun {begun}, by {step}");
                let mut without = frames(&out);
                without.remove(place);
                assert_eq!(without, [0x81, 0x01, 0x00, 0x80, 0x81, 0x81]);
                assert!(out.ends_with(b"\x81\x01m"), "a message waits for the end of the chunk");
            }
        }
    }

    #[test]
    fn a_close_ends_the_stream_behind_a_frame_and_gives_up_the_rest() {
        let chunk = large();
        let first = chunk.written(Framing::Bare, 0, 1_000);
        assert_eq!(first, 1);
        for (begun, next, within, kinds) in [
            (1, 2, false, &[0x81, 0x88][..]),
            (1_000, 2, true, &[0x81, 0x01, 0x88]),
            (70_000, 2, true, &[0x81, 0x01, 0x00, 0x88]),
            (138_000, 3, false, &[0x81, 0x01, 0x00, 0x80, 0x88]),
        ] {
            let mut outlet = Outlet::new(Framing::Bare, Vec::new(), 1);
            outlet.push_chunk(Arc::clone(&chunk));
            outlet.advance(begun);
            outlet.push_control(b"\x81\x01m");
            outlet.push_frames(b"");
            assert_eq!(outlet.first_break(), Some(Break { next, within }), "begun {begun}");
            outlet.close(b"\x88\x00");
            assert_eq!(outlet.first_break(), None, "it ends already");
            let mut out = chunk.bytes(Framing::Bare)[..begun].to_vec();
            drain(&mut outlet, 1_000, &mut out);
            assert_eq!(frames(&out), kinds, "begun {begun}");
            assert_eq!((outlet.next(), outlet.unwritten()), (next, next), "begun {begun}");
        }
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
