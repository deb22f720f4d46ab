//! Decides which bytes a session writes next. Sans-I/O.
//!
//! Laws: a message is never interrupted; what the server says about streams goes before the next events;
//! a batch of events is written when its last byte is, because only then it is of any use.

use std::{io::IoSlice, sync::Arc};

use crate::{
    event::push_string,
    frame::websocket::{Coding, Data, encode_data, encode_text_header},
    hub::{Chunk, Framing},
};

/// What ends a batch.
const END: &[u8] = b"]}";

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
    /// The frame's header and what stands before the events; or the whole frame, where it is compressed.
    head: Vec<u8>,
    /// Whether the events' bytes are written out of the chunk.
    shared: bool,
    delivery: Delivery,
    sent: usize,
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

impl Delivery {
    /// The events as they stand in a list.
    fn list(&self) -> &[u8] {
        let bytes = self.chunk.bytes(Framing::Bare);
        let end = self.chunk.end_of(self.events);
        // Each is followed by a comma, also the last.
        bytes.get(..end.saturating_sub(1)).unwrap_or_default()
    }
}

impl Batch {
    fn new(id: &str, delivery: Delivery, coding: Coding) -> Self {
        let mut start = b"{\"type\":\"events\",\"id\":".to_vec();
        push_string(&mut start, id);
        start.extend_from_slice(b",\"events\":[");
        let list = delivery.list();
        let size = start.len() + list.len() + END.len();
        let mut head = Vec::new();
        if coding.is_worth(size) {
            start.extend_from_slice(list);
            start.extend_from_slice(END);
            // It is made of texts.
            let text = std::str::from_utf8(&start).unwrap_or_default();
            encode_data(Data::Text(text), coding, &mut head);
            return Self { head, shared: false, delivery, sent: 0 };
        }
        encode_text_header(size, &mut head);
        head.append(&mut start);
        Self { head, shared: true, delivery, sent: 0 }
    }

    fn parts(&self) -> [&[u8]; 3] {
        if self.shared { [&self.head, self.delivery.list(), END] } else { [&self.head, &[], &[]] }
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
