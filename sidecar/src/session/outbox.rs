//! Decides which bytes a session writes next. Sans-I/O.
//!
//! Laws: a message is never interrupted; what the server says about streams goes before the next events;
//! a batch of events is written when its last byte is, because only then it is of any use.

use std::{io::IoSlice, sync::Arc};

use crate::{
    event::push_string,
    frame::websocket::{
        Coding, Data, Window, encode_compressed_header, encode_data, encode_text_header,
        push_stored,
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
    /// Whole frames; empty, and without an allocation, nearly always.
    control: Vec<u8>,
    control_sent: usize,
    batch: Option<Batch>,
}

/// A message of events.
#[derive(Debug)]
struct Batch {
    /// The frame's header and what stands before the events; or the whole frame.
    head: Vec<u8>,
    body: Body,
    delivery: Delivery,
    sent: usize,
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
                Some((compress(start.clone(), &delivery, coding), Body::Own))
            };
            if let Some((head, body)) = compressed {
                return Self { head, body, delivery, sent: 0 };
            }
        }
        let mut head = Vec::new();
        encode_text_header(size, &mut head);
        head.append(&mut start);
        Self { head, body: Body::Shared, delivery, sent: 0 }
    }

    fn parts(&self) -> [&[u8]; 3] {
        let Self { head, body, delivery, sent: _ } = self;
        match *body {
            Body::Shared => [head, delivery.list(), END],
            Body::Deflated(window) => {
                [head, delivery.chunk.blocks(window).unwrap_or_default(), DEFLATED_END]
            }
            Body::Own => [head, &[], &[]],
        }
    }

    fn len(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    /// What of it is not sent yet.
    fn rest(&self) -> [&[u8]; 3] {
        let mut skip = self.sent;
        self.parts().map(|part| {
            let here = skip.min(part.len());
            skip -= here;
            part.get(here..).unwrap_or_default()
        })
    }
}

impl Delivery {
    /// The events as they stand in a list.
    fn list(&self) -> &[u8] {
        self.chunk.list(self.events)
    }
}

/// The head of a message of all events of a chunk whose compressed bytes are shared; nothing where it would
/// not be smaller.
fn share(start: &[u8], chunk: &Chunk, window: Window, size: usize) -> Option<(Vec<u8>, Body)> {
    let blocks = chunk.blocks(window)?;
    let mut before = Vec::new();
    push_stored(start, &mut before);
    let compressed = before.len() + blocks.len() + DEFLATED_END.len();
    let mut head = Vec::new();
    encode_compressed_header(compressed, &mut head);
    head.append(&mut before);
    (compressed < size).then_some((head, Body::Deflated(window)))
}

/// A whole message, compressed where that makes it smaller.
fn compress(mut start: Vec<u8>, delivery: &Delivery, coding: Coding) -> Vec<u8> {
    start.extend_from_slice(delivery.list());
    start.extend_from_slice(END);
    // It is made of texts.
    let text = std::str::from_utf8(&start).unwrap_or_default();
    let mut head = Vec::new();
    encode_data(Data::Text(text), coding, &mut head);
    head
}

impl Outbox {
    /// How many bytes wait that are no events.
    pub(super) const fn waiting(&self) -> usize {
        self.control.len() - self.control_sent
    }

    /// Whether another batch can be begun.
    pub(super) const fn wants_batch(&self) -> bool {
        self.batch.is_none()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_none() && self.control.is_empty()
    }

    /// Adds whole frames.
    pub(super) fn push(&mut self, frames: &[u8]) {
        self.control.extend_from_slice(frames);
    }

    /// Begins a message of events.
    pub(super) fn push_batch(&mut self, id: &str, delivery: Delivery, coding: Coding) {
        self.batch = Some(Batch::new(id, delivery, coding));
    }

    /// Gives up a subscription's batch of which nothing was sent: before its end, so that no events come
    /// behind that. Says whether there was one.
    pub(super) fn take_back(&mut self, number: u64) -> bool {
        let unsent = |batch: &mut Batch| batch.sent == 0 && batch.delivery.number == number;
        self.batch.take_if(unsent).is_some()
    }

    /// Whether a batch of this subscription waits, or is being written.
    pub(super) fn has_batch_of(&self, number: u64) -> bool {
        self.batch.as_ref().is_some_and(|batch| batch.delivery.number == number)
    }

    /// The bytes to write, in order.
    pub(super) fn slices(&self) -> [IoSlice<'_>; 4] {
        let control = IoSlice::new(self.control.get(self.control_sent..).unwrap_or_default());
        let Some(batch) = &self.batch else {
            return [control, IoSlice::new(&[]), IoSlice::new(&[]), IoSlice::new(&[])];
        };
        let [a, b, c] = batch.rest().map(IoSlice::new);
        if batch.sent > 0 { [a, b, c, control] } else { [control, a, b, c] }
    }

    /// Takes note that the socket took `count` bytes of the [`Self::slices`].
    pub(super) fn advance(&mut self, count: usize) -> Taken {
        if self.batch.as_ref().is_some_and(|batch| batch.sent > 0) {
            let (events, rest) = self.advance_batch(count);
            self.advance_control(rest);
            Taken { control: rest, events }
        } else {
            let rest = self.advance_control(count);
            Taken { control: count - rest, events: self.advance_batch(rest).0 }
        }
    }

    fn advance_control(&mut self, count: usize) -> usize {
        let taken = count.min(self.waiting());
        self.control_sent += taken;
        if self.control_sent == self.control.len() {
            // A new vector, not a cleared one: an idle session keeps no buffer.
            self.control = Vec::new();
            self.control_sent = 0;
        }
        count - taken
    }

    /// Returns what it took of the batch, and how many bytes it took besides.
    fn advance_batch(&mut self, count: usize) -> (Option<TakenEvents>, usize) {
        let Some(batch) = &mut self.batch else { return (None, count) };
        let (bytes, number) = (count.min(batch.len() - batch.sent), batch.delivery.number);
        batch.sent += bytes;
        let whole = self.batch.take_if(|batch| batch.sent == batch.len());
        let whole = whole.map(|batch| batch.delivery);
        (Some(TakenEvents { number, bytes, whole }), count - bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frame::{Format, websocket::Offer},
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

    #[test]
    fn a_batch_that_a_window_cuts_short_is_whole() {
        let chunk = Arc::new(chunk_in(Format::WsList, &[b"{\"n\":1}", b"{\"n\":2}", b"{\"n\":3}"]));
        let message: serde_json::Value =
            serde_json::from_slice(&message(&outbox("a", &chunk, 2, coding(15)))).unwrap();
        assert_eq!(message["events"].as_array().unwrap().len(), 2);
    }
}
