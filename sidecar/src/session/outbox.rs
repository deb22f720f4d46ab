//! Decides which bytes a session writes next. Sans-I/O.
//!
//! Laws: a message is never interrupted, but by control frames between two of its own, or by the end of it all;
//! what the server says about streams goes before the next events; a batch of events is written when its last byte
//! is, because only then it is of any use.

use std::{io::IoSlice, ops::Range, sync::Arc};

use crate::{
    event::push_string,
    frame::{
        Asides,
        websocket::{Coding, Fragments, Window, push_stored},
    },
    hub::Chunk,
};

/// What ends a batch.
const END: &[u8] = b"]}";

/// The same as the last block of a compressed message, which is not compressed (RFC 1951, section 3.2.4), and
/// what is left of the empty block that ends it (RFC 7692, section 7.2.1).
const DEFLATED_END: &[u8] = &[0, 2, 0, 0xfd, 0xff, b']', b'}', 0];

/// What a session has yet to write.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Whole frames.
    asides: Asides,
    batch: Option<Batch>,
}

/// A message of events.
#[derive(Debug)]
struct Batch {
    /// What stands before the events; or the whole message.
    head: Vec<u8>,
    body: Body,
    delivery: Delivery,
    fragments: Fragments,
}

/// Where the events' bytes are.
#[derive(Debug, Clone, Copy)]
enum Body {
    /// In the chunk.
    Shared,
    /// In the chunk, compressed.
    Deflated(Window),
    /// Compressed in the head, for this one alone: a window cuts the chunk short.
    Own,
}

/// Events on their way to a subscription.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    /// The subscription's number.
    pub(super) number: u64,
    /// The events, encoded.
    pub(super) chunk: Arc<Chunk>,
    /// How many of the chunk are sent, from its first.
    pub(super) events: usize,
}

/// What the socket took.
#[derive(Debug)]
pub(super) struct Taken {
    /// How many bytes that are no events.
    pub(super) control: usize,
    pub(super) events: Option<TakenEvents>,
}

/// What the socket took of a batch.
#[derive(Debug)]
pub(super) struct TakenEvents {
    /// The subscription's number.
    pub(super) number: u64,
    pub(super) bytes: usize,
    /// The batch, where it is whole now.
    pub(super) whole: Option<Delivery>,
}

impl Batch {
    fn new(id: &str, delivery: Delivery, coding: Coding) -> Self {
        let mut start = b"{\"type\":\"events\",\"id\":".to_vec();
        push_string(&mut start, id);
        start.extend_from_slice(b",\"events\":[");
        let size = start.len() + delivery.list().len() + END.len();
        if let Coding::Deflate { window, min_size: _ } = coding
            && coding.is_worth(size)
        {
            let compressed = if delivery.events == delivery.chunk.len() {
                share(&start, &delivery.chunk, window, size)
            } else {
                compress(&start, &delivery, coding).map(|head| (head, Body::Own))
            };
            if let Some((head, body)) = compressed {
                let length = length(parts(&head, body, &delivery));
                let fragments = Fragments::of_text(length, true);
                return Self { head, body, delivery, fragments };
            }
        }
        let fragments = Fragments::of_text(size, false);
        Self { head: start, body: Body::Shared, delivery, fragments }
    }

    /// What of its frame is not sent yet: of the header, and of what it is made of.
    fn rest(&self) -> [&[u8]; 4] {
        let Self { head, body, delivery, fragments } = self;
        let (header, Range { start, end }) = fragments.left();
        let mut passed = 0;
        let [a, b, c] = parts(head, *body, delivery).map(|part| {
            let place = |offset: usize| offset.saturating_sub(passed).min(part.len());
            let here = place(start)..place(end);
            passed += part.len();
            part.get(here).unwrap_or_default()
        });
        [header, a, b, c]
    }
}

/// What a message is made of.
fn parts<'a>(head: &'a [u8], body: Body, delivery: &'a Delivery) -> [&'a [u8]; 3] {
    match body {
        Body::Shared => [head, delivery.list(), END],
        Body::Deflated(window) => {
            [head, delivery.chunk.blocks(window).unwrap_or_default(), DEFLATED_END]
        }
        Body::Own => [head, &[], &[]],
    }
}

fn length(parts: [&[u8]; 3]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

impl Delivery {
    /// The events as they stand in a list.
    fn list(&self) -> &[u8] {
        self.chunk.list(self.events)
    }
}

/// What stands before all events of a chunk whose compressed bytes are shared; nothing where the message would not
/// be smaller.
fn share(start: &[u8], chunk: &Chunk, window: Window, size: usize) -> Option<(Vec<u8>, Body)> {
    let blocks = chunk.blocks(window)?;
    let mut head = Vec::new();
    push_stored(start, &mut head);
    let compressed = head.len() + blocks.len() + DEFLATED_END.len();
    (compressed < size).then_some((head, Body::Deflated(window)))
}

/// A whole message, compressed; nothing where that doesn't make it smaller.
fn compress(start: &[u8], delivery: &Delivery, coding: Coding) -> Option<Vec<u8>> {
    coding.compress(&[start, delivery.list(), END].concat())
}

impl Outbox {
    /// How many bytes wait that are no events.
    pub(super) const fn waiting(&self) -> usize {
        self.asides.waiting()
    }

    /// Whether another batch can be begun.
    pub(super) const fn wants_batch(&self) -> bool {
        self.batch.is_none()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_none() && self.asides.is_empty()
    }

    /// Adds whole messages, and what is to come behind them.
    pub(super) fn push(&mut self, frames: &[u8]) {
        self.asides.push(|out| out.extend_from_slice(frames));
    }

    /// Adds control frames, which may stand between any two frames.
    pub(super) fn push_frames(&mut self, frames: &[u8]) {
        let begun = self.begun().is_some();
        self.asides.interject(frames, begun);
    }

    /// Adds the last frames, behind all that waits.
    pub(super) fn end(&mut self, frames: &[u8]) {
        self.asides.end(|out| out.extend_from_slice(frames));
    }

    /// Adds the last frames as soon as they may stand. What is not sent by then of a batch that has begun is given up.
    /// Says whether these are the last, and not those that were there before.
    pub(super) fn close(&mut self, frames: &[u8]) -> bool {
        let begun = self.begun().is_some();
        self.asides.end_now(frames, begun)
    }

    /// Where the last frames wait for more than a frame of a batch, has them come behind that frame. What is between
    /// is given up.
    pub(super) fn hurry(&mut self) {
        if self.begun().is_some_and(|batch| !batch.fragments.is_last()) {
            self.asides.hasten();
        }
    }

    /// The batch that is being written.
    fn begun(&self) -> Option<&Batch> {
        self.batch.as_ref().filter(|batch| batch.fragments.has_begun())
    }

    /// Begins a message of events.
    pub(super) fn push_batch(&mut self, id: &str, delivery: Delivery, coding: Coding) {
        self.batch = Some(Batch::new(id, delivery, coding));
    }

    /// Gives up a subscription's batch of which nothing was sent: before its end, so that no events come
    /// behind that. Says whether there was one.
    pub(super) fn take_back(&mut self, number: u64) -> bool {
        let unsent =
            |batch: &mut Batch| !batch.fragments.has_begun() && batch.delivery.number == number;
        self.batch.take_if(unsent).is_some()
    }

    /// Whether a batch of this subscription waits, or is being written.
    pub(super) fn has_batch_of(&self, number: u64) -> bool {
        self.batch.as_ref().is_some_and(|batch| batch.delivery.number == number)
    }

    /// What goes before the rest of the batch.
    fn first(&self) -> &[u8] {
        match self.begun() {
            None => self.asides.rest(),
            Some(batch) if batch.fragments.is_between() => self.asides.rest_within(),
            Some(_) => &[],
        }
    }

    /// Bytes to write, in order.
    pub(super) fn slices(&self) -> [IoSlice<'_>; 4] {
        let first = self.first();
        let last = self.asides.is_cut() && !first.is_empty();
        let [a, b, c, d] = match &self.batch {
            Some(batch) if !last => batch.rest(),
            Some(_) | None => [&[][..]; 4],
        };
        // Of many, the last ones have their turn later.
        if first.is_empty() { [a, b, c, d] } else { [first, a, b, c] }.map(IoSlice::new)
    }

    /// Takes note that the socket took `count` bytes of the [`Self::slices`].
    pub(super) fn advance(&mut self, count: usize) -> Taken {
        let control = count.min(self.first().len());
        self.asides.advance(control);
        if self.asides.is_cut() && self.asides.is_empty() {
            self.batch = None;
        }
        Taken { control, events: self.advance_batch(count - control) }
    }

    fn advance_batch(&mut self, count: usize) -> Option<TakenEvents> {
        let Batch { fragments, delivery, .. } = self.batch.as_mut()?;
        let (bytes, number) = (fragments.advance(count), delivery.number);
        let whole = self.batch.take_if(|batch| batch.fragments.is_over());
        Some(TakenEvents { number, bytes, whole: whole.map(|batch| batch.delivery) })
    }
}

#[cfg(test)]
mod tests {
    use std::{iter, sync::LazyLock};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        frame::{
            Format,
            naive::{self, Naive, Step},
            websocket::Offer,
        },
        hub::chunk::tests::chunk_in,
    };

    fn coding(bits: u8) -> Coding {
        let offer = Offer::Deflate { server_max_window_bits: Some(bits) };
        offer.agree().unwrap().coding(0)
    }

    /// The payload of the one message.
    fn message(outbox: &Outbox) -> Vec<u8> {
        let frame = outbox.slices().map(|slice| slice.to_vec()).concat();
        assert_eq!(frame[0], 0xc1, "a compressed text");
        let (size, payload) = match frame[1] {
            126 => (u16::from_be_bytes([frame[2], frame[3]]).into(), &frame[4..]),
            short => (usize::from(short), &frame[2..]),
        };
        assert_eq!(size, payload.len());
        let (mut inflate, mut out) = (flate2::Decompress::new(false), Vec::with_capacity(100_000));
        let input = [payload, &[0, 0, 0xff, 0xff]].concat();
        inflate.decompress_vec(&input, &mut out, flate2::FlushDecompress::Sync).unwrap();
        out
    }

    fn outbox(id: &str, chunk: &Arc<Chunk>, events: usize, coding: Coding) -> Outbox {
        let mut outbox = Outbox::default();
        let delivery = Delivery { number: 1, chunk: Arc::clone(chunk), events };
        outbox.push_batch(id, delivery, coding);
        outbox
    }

    #[test]
    fn a_batch_is_compressed_once_for_all_sockets() {
        let chunk = Arc::new(chunk_in(Format::WsList, &[b"{\"n\":1}", b"{\"n\":2}", b"{\"n\":3}"]));
        for bits in [15, 9] {
            let [a, b] = ["a", "b"].map(|id| outbox(id, &chunk, 3, coding(bits)));
            let [first, second] = [&a, &b].map(|outbox| outbox.slices()[2].as_ptr());
            assert_eq!(first, second, "the bytes are those of the chunk");
            for (id, outbox) in [("a", &a), ("b", &b)] {
                let message: serde_json::Value = serde_json::from_slice(&message(outbox)).unwrap();
                let data = [1, 2, 3].map(|n| serde_json::json!({"n": n}));
                let events = message["events"].as_array().unwrap();
                assert_eq!(message["id"], id);
                assert_eq!(
                    events.iter().map(|event| &event["data"]).collect::<Vec<_>>(),
                    data.iter().collect::<Vec<_>>()
                );
            }
        }
    }

    /// One in a frame, and one in several, also compressed.
    static CHUNKS: LazyLock<[Arc<Chunk>; 2]> = LazyLock::new(|| {
        let digits: Vec<u8> =
            iter::repeat_with(|| fastrand::u8(b'1'..=b'9')).take(350_000).collect();
        let small = chunk_in(Format::WsList, &[b"1", b"2"]);
        let large = chunk_in(Format::WsList, &[b"1", digits.leak(), b"3"]);
        [small, large].map(Arc::new)
    });

    /// What was said so far, to an outbox and to its twin.
    struct Twins {
        outbox: Outbox,
        naive: Naive,
        written: Vec<u8>,
        pongs: u8,
        coding: Coding,
    }

    impl Twins {
        fn step(&mut self, step: Step, chunks: &[Arc<Chunk>; 2]) {
            let Self { outbox, naive, written, pongs, coding } = self;
            match step {
                Step::Events(large) => {
                    if outbox.wants_batch() && !naive.is_ended() {
                        let chunk = Arc::clone(&chunks[usize::from(large)]);
                        let delivery = Delivery { number: 1, events: chunk.len(), chunk };
                        let mut alone = Outbox::default();
                        alone.push_batch("a", delivery.clone(), *coding);
                        naive.begin(naive::frames(&take(&mut alone, usize::MAX)));
                        outbox.push_batch("a", delivery, *coding);
                    }
                }
                Step::Message(size) => {
                    naive.push(naive::message(size));
                    outbox.push(&naive::message(size));
                }
                Step::Pong => {
                    *pongs += 1;
                    naive.interject(naive::pong(*pongs));
                    outbox.push_frames(&naive::pong(*pongs));
                }
                Step::End => {
                    naive.take_back();
                    naive.end(naive::close(1012));
                    outbox.take_back(1);
                    outbox.end(&naive::close(1012));
                }
                Step::Close => {
                    naive.take_back();
                    naive.end_now(naive::close(1000));
                    outbox.take_back(1);
                    outbox.close(&naive::close(1000));
                }
                Step::Hurry => {
                    naive.hurry();
                    outbox.hurry();
                }
                Step::Take(count) => {
                    naive.take(count);
                    written.extend(take(outbox, count));
                }
            }
        }
    }

    /// Takes so many bytes, or all there are.
    fn take(outbox: &mut Outbox, mut count: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        while count > 0 && !outbox.is_empty() {
            let mut bytes = outbox.slices().map(|slice| slice.to_vec()).concat();
            bytes.truncate(count);
            assert!(!bytes.is_empty());
            outbox.advance(bytes.len());
            count -= bytes.len();
            taken.extend(bytes);
        }
        taken
    }

    proptest! {
        #[test]
        fn it_writes_what_one_writes_that_knows_whole_frames_only(
            steps in proptest::collection::vec(naive::step(), 1..60), compressed: bool,
        ) {
            let coding = if compressed { coding(15) } else { Coding::Plain };
            let (outbox, naive, written) = Default::default();
            let mut twins = Twins { outbox, naive, written, pongs: 0, coding };
            for step in steps {
                twins.step(step, &CHUNKS);
                prop_assert!(twins.written == twins.naive.written, "at {step:?}");
            }
            twins.step(Step::Take(usize::MAX), &CHUNKS);
            prop_assert!(twins.written == twins.naive.written);
            prop_assert!(twins.outbox.is_empty());
            naive::check(&twins.written);
        }
    }

    #[test]
    fn a_batch_that_a_window_cuts_short_is_whole() {
        let chunk = Arc::new(chunk_in(Format::WsList, &[b"{\"n\":1}", b"{\"n\":2}", b"{\"n\":3}"]));
        let message: serde_json::Value =
            serde_json::from_slice(&message(&outbox("a", &chunk, 2, coding(15)))).unwrap();
        assert_eq!(message["events"].as_array().unwrap().len(), 2);
    }
}
