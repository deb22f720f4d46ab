//! An event as bytes, as every log that stores one has it: compact, binary-safe, delimited by itself. Sans-I/O.
//!
//! Which version of the encoding it is, is told by what the event is stored in. Numbers are
//! little-endian; texts and the payload are preceded by their length.
//!
//! # Laws
//!
//! - What is read is what was put.
//! - No bytes panic, and none make an allocation larger than they are.

use bytes::Bytes;

use crate::{
    event::{Event, Extension},
    intake::Posted,
};

const IDEMPOTENT: u8 = 1;
const SUBJECT: u8 = 1 << 1;
const CONTENT_TYPE: u8 = 1 << 2;
const SCHEMA: u8 = 1 << 3;

/// Appends an event.
pub fn put(out: &mut Vec<u8>, Posted { event, idempotent }: &Posted) {
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

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends a number: seven bits a byte, the lowest first; the eighth says that more follow.
pub(crate) fn put_length(out: &mut Vec<u8>, length: usize) {
    let mut rest = length;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push((rest & 0x7f) as u8);
}

/// Reads numbers, texts and events off the start of some bytes; `None` where they are malformed.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Of these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether all of them were read.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn length(&mut self) -> Option<usize> {
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

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> Option<Box<str>> {
        std::str::from_utf8(self.bytes()?).ok().map(Into::into)
    }

    fn text_if(&mut self, there: bool) -> Option<Option<Box<str>>> {
        if there { self.text().map(Some) } else { Some(None) }
    }

    /// The next event, whose payload shares the memory of `body`.
    #[must_use]
    pub fn event(&mut self, body: &Bytes) -> Option<Posted> {
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
        // Nothing is allocated on the word of a number.
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

#[cfg(test)]
pub(super) mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    fn text() -> impl Strategy<Value = Box<str>> {
        ".{0,200}".prop_map(Box::from)
    }

    fn extension() -> impl Strategy<Value = Extension> {
        prop_oneof![
            text().prop_map(Extension::Text),
            any::<i32>().prop_map(Extension::Integer),
            any::<bool>().prop_map(Extension::Boolean),
        ]
    }

    /// Any event.
    pub(in crate::log) fn any_posted() -> impl Strategy<Value = Posted> {
        let required = (text(), text(), text(), text());
        let optional = (option::of(text()), option::of(text()), option::of(text()));
        let rest = (vec((text(), extension()), 0..4), vec(any::<u8>(), 0..300), any::<bool>());
        (required, optional, rest).prop_map(
            |(
                (id, type_, source, time),
                (subject, data_content_type, data_schema),
                (extensions, data, idempotent),
            )| {
                let event = Event {
                    id,
                    type_,
                    source,
                    subject,
                    time,
                    data_content_type,
                    data_schema,
                    extensions,
                    data: data.into(),
                };
                Posted { event, idempotent }
            },
        )
    }

    proptest! {
        #[test]
        fn an_event_comes_back_as_it_went_in(posted in any_posted(), next in any_posted()) {
            let mut stored = Vec::new();
            put(&mut stored, &posted);
            put(&mut stored, &next);
            let stored = Bytes::from(stored);
            let mut reader = Reader::new(&stored);
            prop_assert_eq!(reader.event(&stored), Some(posted));
            prop_assert_eq!(reader.event(&stored), Some(next));
            prop_assert!(reader.is_at_end());
        }

        #[test]
        fn what_is_cut_off_is_refused(posted in any_posted(), cut: prop::sample::Index) {
            let mut stored = Vec::new();
            put(&mut stored, &posted);
            let stored = Bytes::from(stored);
            let cut = stored.slice(..cut.index(stored.len()));
            prop_assert_eq!(Reader::new(&cut).event(&cut), None);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
            let bytes = Bytes::from(bytes);
            if let Some(posted) = Reader::new(&bytes).event(&bytes) {
                let mut stored = Vec::new();
                put(&mut stored, &posted);
                let stored = Bytes::from(stored);
                prop_assert_eq!(Reader::new(&stored).event(&stored), Some(posted));
            }
        }
    }
}
