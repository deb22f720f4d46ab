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
    event::{Event, Extension},
    intake::Posted,
    log::{Micros, Offset},
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
        let mut read = Reader(unseal(bytes.get(..HEAD_BYTES)?, 0)?);
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
        let mut read = Reader(unseal(sealed, salt)?.get(FRAME_MAGIC.len()..)?);
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
        let mut read = Reader(body);
        // The checksum vouches for the count; but nothing is allocated on anybody's word.
        let mut events = Vec::with_capacity((self.count as usize).min(body.len()));
        for _ in 0..self.count {
            events.push(read.event(body)?);
        }
        read.0.is_empty().then_some(events)
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
        put_event(&mut self.bytes, posted);
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

const IDEMPOTENT: u8 = 1;
const SUBJECT: u8 = 1 << 1;
const CONTENT_TYPE: u8 = 1 << 2;
const SCHEMA: u8 = 1 << 3;

fn put_event(out: &mut Vec<u8>, Posted { event, idempotent }: &Posted) {
    let Event {
        id,
        type_,
        source,
        subject,
        time,
        data_content_type,
        data_schema,
        extensions,
        data,
    } = event;
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out.push(
        flag(*idempotent, IDEMPOTENT)
            | flag(subject.is_some(), SUBJECT)
            | flag(data_content_type.is_some(), CONTENT_TYPE)
            | flag(data_schema.is_some(), SCHEMA),
    );
    let optional = [subject, data_content_type, data_schema];
    let texts = [id, type_, source, time].into_iter().chain(optional.into_iter().flatten());
    texts.for_each(|text| put_bytes(out, text.as_bytes()));
    put_length(out, extensions.len());
    for (name, value) in extensions {
        put_bytes(out, name.as_bytes());
        match value {
            Extension::Text(text) => {
                out.push(0);
                put_bytes(out, text.as_bytes());
            }
            Extension::Integer(number) => {
                out.push(1);
                out.extend_from_slice(&number.to_le_bytes());
            }
            Extension::Boolean(truth) => out.push(2 + u8::from(*truth)),
        }
    }
    put_bytes(out, data);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn put_length(out: &mut Vec<u8>, length: usize) {
    let mut rest = length;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push((rest & 0x7f) as u8);
}

/// Reads numbers and texts off the start of some bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn length(&mut self) -> Option<usize> {
        let mut length = 0_usize;
        for shift in (0..32).step_by(7) {
            let byte = self.u8()?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(length);
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    fn text(&mut self) -> Option<Box<str>> {
        std::str::from_utf8(self.bytes()?).ok().map(Into::into)
    }

    fn text_if(&mut self, there: bool) -> Option<Option<Box<str>>> {
        if there { self.text().map(Some) } else { Some(None) }
    }

    /// The next event, whose payload shares the memory of `body`.
    fn event(&mut self, body: &Bytes) -> Option<Posted> {
        let flags = self.u8()?;
        let (id, type_, source, time) = (self.text()?, self.text()?, self.text()?, self.text()?);
        let event = Event {
            id,
            type_,
            source,
            subject: self.text_if(flags & SUBJECT != 0)?,
            time,
            data_content_type: self.text_if(flags & CONTENT_TYPE != 0)?,
            data_schema: self.text_if(flags & SCHEMA != 0)?,
            extensions: self.extensions()?,
            data: body.slice_ref(self.bytes()?),
        };
        Some(Posted { event, idempotent: flags & IDEMPOTENT != 0 })
    }

    fn extensions(&mut self) -> Option<Vec<(Box<str>, Extension)>> {
        let count = self.length()?;
        let mut extensions = Vec::new();
        for _ in 0..count {
            let name = self.text()?;
            let value = match self.u8()? {
                0 => Extension::Text(self.text()?),
                1 => Extension::Integer(i32::from_le_bytes(self.array()?)),
                2 => Extension::Boolean(false),
                3 => Extension::Boolean(true),
                _ => return None,
            };
            extensions.push((name, value));
        }
        Some(extensions)
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
