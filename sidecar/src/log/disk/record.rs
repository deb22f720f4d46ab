//! The format of a segment: a header, and then frames of events. Sans-I/O.
//!
//! ```text
//! segment = head, frame…        frame = header, event…        group = frame…, the last one marked
//! ```
//!
//! A group is what is committed at once: all of it is in the log, or none. It has several frames where it
//! is large, so that a reader needs not read all of it. All numbers are little-endian.
//!
//! # Laws
//!
//! - What is decoded is what was encoded: checksums cover every byte, and each segment's start from a
//!   number of its own, so that a block of another file doesn't pass for one of this.
//! - No bytes panic, and none make an allocation larger than they are.

use bytes::Bytes;

use crate::{
    intake::Posted,
    log::{
        Micros, Offset,
        encoding::{self, Reader},
    },
};

/// The size of a segment's head.
pub(super) const HEAD_BYTES: usize = 32;
/// The size of a frame's header.
pub(super) const HEADER_BYTES: usize = 48;
/// The size from which on a frame takes no more events: about what a reader wants at once.
const FRAME_BYTES: usize = 64 * 1024;

/// Ends in the version of the format.
const HEAD_MAGIC: [u8; 8] = *b"WEIRLOG\x01";
const FRAME_MAGIC: [u8; 4] = *b"wFr\x01";

/// What stands at the start of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Where the segment's checksums start from.
    pub(super) salt: u32,
    /// The offset of its first event.
    pub(super) base: Offset,
}

impl Head {
    pub(super) fn encode(self) -> [u8; HEAD_BYTES] {
        let Self { salt, base } = self;
        let mut out = [0; HEAD_BYTES];
        let mut write = Fill(&mut out);
        write.put(&HEAD_MAGIC);
        write.put(&salt.to_le_bytes());
        write.put(&[0; 4]);
        write.put(&base.to_le_bytes());
        seal(&mut out, 0);
        out
    }

    /// The head of a segment; `None` where it is none of this version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut read = Reader::new(unseal(bytes.get(..HEAD_BYTES)?, 0)?);
        if read.take(HEAD_MAGIC.len())? != HEAD_MAGIC {
            return None;
        }
        let salt = read.u32()?;
        read.u32()?;
        Some(Self { salt, base: read.u64()? })
    }
}

/// What stands before the events of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Whether it is the last one of its group.
    pub(super) last: bool,
    /// The size of the events.
    pub(super) length: u32,
    /// How many events there are.
    pub(super) count: u32,
    /// The offset of the first one.
    pub(super) first: Offset,
    /// The offset of the first event of the group.
    pub(super) group: Offset,
    /// When the group was accepted.
    pub(super) time: Micros,
    body_sum: u32,
}

impl Header {
    fn encode(self, salt: u32) -> [u8; HEADER_BYTES] {
        let Self { last, length, count, first, group, time, body_sum } = self;
        let mut out = [0; HEADER_BYTES];
        let mut write = Fill(&mut out);
        write.put(&FRAME_MAGIC);
        write.put(&u32::from(last).to_le_bytes());
        write.put(&length.to_le_bytes());
        write.put(&count.to_le_bytes());
        write.put(&first.to_le_bytes());
        write.put(&group.to_le_bytes());
        write.put(&time.to_le_bytes());
        write.put(&body_sum.to_le_bytes());
        seal(&mut out, salt);
        out
    }

    /// The header at the start of `bytes`; `None` where there is none.
    pub(super) fn decode(bytes: &[u8], salt: u32) -> Option<Self> {
        let sealed = bytes.get(..HEADER_BYTES)?;
        // Cheaper than the checksum, for whoever looks for a header at every place.
        if !sealed.starts_with(&FRAME_MAGIC) {
            return None;
        }
        let mut read = Reader::new(unseal(sealed, salt)?.get(FRAME_MAGIC.len()..)?);
        let last = read.u32()? == 1;
        Some(Self {
            last,
            length: read.u32()?,
            count: read.u32()?,
            first: read.u64()?,
            group: read.u64()?,
            time: read.u64()?,
            body_sum: read.u32()?,
        })
    }

    /// The size of the frame with its header.
    pub(super) const fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.length as usize
    }

    /// The events of the frame; `None` where `body` is not what was written.
    pub(super) fn events(&self, body: &Bytes, salt: u32) -> Option<Vec<Posted>> {
        if body.len() != self.length as usize || sum(body, salt) != self.body_sum {
            return None;
        }
        let mut read = Reader::new(body);
        // The checksum vouches for the count; but nothing is allocated on anybody's word.
        let mut events = Vec::with_capacity((self.count as usize).min(body.len()));
        for _ in 0..self.count {
            events.push(read.event(body)?);
        }
        read.is_at_end().then_some(events)
    }
}

/// Where a frame lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// The offset of its first event.
    pub(super) first: Offset,
    /// Where it starts, in bytes from the start of its group, or of its segment.
    pub(super) at: u64,
}

/// Encodes one group.
#[derive(Debug)]
pub(super) struct Group {
    salt: u32,
    first: Offset,
    next: Offset,
    time: Micros,
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl Group {
    /// A group whose first event has this offset.
    pub(super) const fn new(salt: u32, first: Offset, time: Micros) -> Self {
        Self { salt, first, next: first, time, bytes: Vec::new(), spans: Vec::new() }
    }

    /// Adds the next event.
    pub(super) fn push(&mut self, posted: &Posted) {
        let full = self.spans.last().is_some_and(|span| self.body(*span).len() >= FRAME_BYTES);
        if full {
            self.seal(false);
        }
        if full || self.spans.is_empty() {
            self.spans.push(Span { first: self.next, at: self.bytes.len() as u64 });
            self.bytes.extend_from_slice(&[0; HEADER_BYTES]);
        }
        encoding::put(&mut self.bytes, posted);
        self.next += 1;
    }

    /// Ends the group: its bytes, and where its frames lie in them.
    pub(super) fn finish(mut self) -> (Vec<u8>, Vec<Span>) {
        self.seal(true);
        (self.bytes, self.spans)
    }

    fn body(&self, Span { first: _, at }: Span) -> &[u8] {
        let start = usize::try_from(at).unwrap_or(usize::MAX).saturating_add(HEADER_BYTES);
        self.bytes.get(start..).unwrap_or_default()
    }

    /// Writes the header of the frame that is open, now that its events are known.
    fn seal(&mut self, last: bool) {
        let Some(span) = self.spans.last().copied() else { return };
        let body = self.body(span);
        let header = Header {
            last,
            length: u32::try_from(body.len()).unwrap_or(u32::MAX),
            count: u32::try_from(self.next - span.first).unwrap_or(u32::MAX),
            first: span.first,
            group: self.first,
            time: self.time,
            body_sum: sum(body, self.salt),
        };
        let header = header.encode(self.salt);
        let start = usize::try_from(span.at).unwrap_or(usize::MAX);
        let place = self.bytes.get_mut(start..).unwrap_or_default();
        place.iter_mut().zip(header).for_each(|(place, byte)| *place = byte);
    }
}

/// Fills an array from its start.
struct Fill<'a>(&'a mut [u8]);

impl Fill<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let place = std::mem::take(&mut self.0);
        let (own, rest) = place.split_at_mut(bytes.len().min(place.len()));
        own.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
        self.0 = rest;
    }
}

const SUM_BYTES: usize = size_of::<u32>();

/// Writes the checksum of what stands before the last four bytes into these.
fn seal(bytes: &mut [u8], salt: u32) {
    if let Some((body, place)) = bytes.split_last_chunk_mut::<SUM_BYTES>() {
        *place = sum(body, salt).to_le_bytes();
    }
}

/// What stands before the checksum; `None` where that is wrong.
fn unseal(bytes: &[u8], salt: u32) -> Option<&[u8]> {
    let (body, found) = bytes.split_last_chunk::<SUM_BYTES>()?;
    (sum(body, salt) == u32::from_le_bytes(*found)).then_some(body)
}

fn sum(bytes: &[u8], salt: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(bytes);
    hasher.finalize()
}
