//! An event as the shared logs store it: compact, binary-safe, versioned. Sans-I/O.
//!
//! A log outlives the program that wrote it, so the first byte names the form. Texts are preceded by
//! their length; the payload comes last and needs none.

use bytes::{Buf, Bytes};
use sha2::{Digest, Sha256};

use super::Micros;
use crate::{
    event::{Event, Extension},
    intake::Posted,
};

/// The form that this program writes, and the only one it reads.
const FORM: u8 = 1;

const IDEMPOTENT: u8 = 1;
const HAS_SUBJECT: u8 = 1 << 1;
const HAS_CONTENT_TYPE: u8 = 1 << 2;
const HAS_SCHEMA: u8 = 1 << 3;

const TEXT: u8 = 0;
const INTEGER: u8 = 1;
const FALSE: u8 = 2;
const TRUE: u8 = 3;

/// Who accepted an event, and when by its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// A random number that a replica draws when it opens the log.
    pub(super) replica: u64,
    /// When the event was accepted: where its latency starts.
    pub(super) accepted: Micros,
}

/// What is stored is no event in a form that this program reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CodecError {
    /// Another program's form.
    #[error("an entry has the form {0}, which this version does not read")]
    Form(u8),
    /// Cut off, or no text where one must be.
    #[error("an entry is malformed")]
    Malformed,
}

/// By what an event with a given id is recognised: 128 bits of a digest of its source and id, the same
/// on every replica.
pub(super) type Identity = [u8; 16];

/// The identity of an event; `None` where its producer gave it no id.
pub(super) fn identity(posted: &Posted) -> Option<Identity> {
    let Posted { event, idempotent } = posted;
    idempotent.then(|| {
        let mut digest = Sha256::new();
        // The length keeps `ab` + `c` apart from `a` + `bc`.
        digest.update((event.source.len() as u64).to_be_bytes());
        digest.update(event.source.as_bytes());
        digest.update(event.id.as_bytes());
        let digest = digest.finalize();
        let mut identity = Identity::default();
        identity.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        identity
    })
}

/// An event as it is stored.
pub(super) fn encode(posted: &Posted, origin: Origin) -> Vec<u8> {
    let Posted { event, idempotent } = posted;
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
    let flags = flag(*idempotent, IDEMPOTENT)
        | flag(subject.is_some(), HAS_SUBJECT)
        | flag(data_content_type.is_some(), HAS_CONTENT_TYPE)
        | flag(data_schema.is_some(), HAS_SCHEMA);
    let mut out = Vec::with_capacity(event.size() + 48);
    out.extend([FORM, flags]);
    out.extend(origin.replica.to_be_bytes());
    out.extend(origin.accepted.to_be_bytes());
    [id, type_, source, time].into_iter().for_each(|text| push_text(&mut out, text));
    let optional = [subject, data_content_type, data_schema];
    optional.into_iter().flatten().for_each(|text| push_text(&mut out, text));
    push_number(&mut out, extensions.len() as u64);
    for (name, value) in extensions {
        push_text(&mut out, name);
        push_extension(&mut out, value);
    }
    out.extend_from_slice(data);
    out
}

fn push_extension(out: &mut Vec<u8>, value: &Extension) {
    match value {
        Extension::Text(text) => {
            out.push(TEXT);
            push_text(out, text);
        }
        Extension::Integer(integer) => {
            out.push(INTEGER);
            out.extend(integer.to_be_bytes());
        }
        Extension::Boolean(false) => out.push(FALSE),
        Extension::Boolean(true) => out.push(TRUE),
    }
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    push_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Seven bits a byte, the lowest first; the upper bit says that more follow.
fn push_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// The event that was stored. Its payload shares the bytes.
pub(super) fn decode(bytes: Bytes) -> Result<(Origin, Posted), CodecError> {
    let mut reader = Reader(bytes);
    let form = reader.byte()?;
    if form != FORM {
        return Err(CodecError::Form(form));
    }
    let flags = reader.byte()?;
    let origin = Origin { replica: reader.fixed()?, accepted: reader.fixed()? };
    let (id, type_) = (reader.text()?, reader.text()?);
    let (source, time) = (reader.text()?, reader.text()?);
    let subject = reader.text_if(flags & HAS_SUBJECT != 0)?;
    let data_content_type = reader.text_if(flags & HAS_CONTENT_TYPE != 0)?;
    let data_schema = reader.text_if(flags & HAS_SCHEMA != 0)?;
    let count = reader.number()?;
    let mut extensions = Vec::new();
    for _ in 0..count {
        extensions.push((reader.text()?, reader.extension()?));
    }
    let Reader(data) = reader;
    let event = Event {
        id,
        type_,
        source,
        subject,
        time,
        data_content_type,
        data_schema,
        extensions,
        data,
    };
    Ok((origin, Posted { event, idempotent: flags & IDEMPOTENT != 0 }))
}

struct Reader(Bytes);

impl Reader {
    fn byte(&mut self) -> Result<u8, CodecError> {
        self.0.try_get_u8().map_err(|_| CodecError::Malformed)
    }

    fn fixed(&mut self) -> Result<u64, CodecError> {
        self.0.try_get_u64().map_err(|_| CodecError::Malformed)
    }

    fn number(&mut self) -> Result<u64, CodecError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(CodecError::Malformed)
    }

    fn text(&mut self) -> Result<Box<str>, CodecError> {
        let size = usize::try_from(self.number()?).map_err(|_| CodecError::Malformed)?;
        if size > self.0.len() {
            return Err(CodecError::Malformed);
        }
        let text = self.0.split_to(size);
        std::str::from_utf8(&text).map(Box::from).map_err(|_| CodecError::Malformed)
    }

    fn text_if(&mut self, there: bool) -> Result<Option<Box<str>>, CodecError> {
        if there { self.text().map(Some) } else { Ok(None) }
    }

    fn extension(&mut self) -> Result<Extension, CodecError> {
        match self.byte()? {
            TEXT => self.text().map(Extension::Text),
            INTEGER => {
                self.0.try_get_i32().map(Extension::Integer).map_err(|_| CodecError::Malformed)
            }
            FALSE => Ok(Extension::Boolean(false)),
            TRUE => Ok(Extension::Boolean(true)),
            _ => Err(CodecError::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
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

    fn any_posted() -> impl Strategy<Value = Posted> {
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
        fn an_event_comes_back_as_it_went_in(
            posted in any_posted(), replica: u64, accepted: u64,
        ) {
            let origin = Origin { replica, accepted };
            let stored = encode(&posted, origin);
            prop_assert_eq!(decode(stored.into()), Ok((origin, posted)));
        }

        #[test]
        fn what_is_cut_off_is_refused_or_has_less_payload(posted in any_posted(), cut: prop::sample::Index) {
            let origin = Origin { replica: 1, accepted: 2 };
            let stored = encode(&posted, origin);
            let payload = stored.len() - posted.event.data.len();
            let cut = cut.index(stored.len());
            let read = decode(Bytes::copy_from_slice(&stored[..cut]));
            prop_assert_eq!(read.is_ok(), cut >= payload);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
            let read = decode(Bytes::from(bytes.clone()));
            if let Ok((origin, posted)) = read {
                prop_assert_eq!(decode(encode(&posted, origin).into()), Ok((origin, posted)));
            }
        }
    }

    #[test]
    fn another_form_is_named() {
        assert_eq!(decode(Bytes::from_static(&[9, 0])), Err(CodecError::Form(9)));
    }

    #[test]
    fn identities_tell_sources_and_ids_apart() {
        let event = |source: &str, id: &str| {
            let mut posted = crate::log::tests::posted(id, b"");
            posted.event.source = source.into();
            identity(&posted)
        };
        assert_eq!(event("a", "b"), event("a", "b"));
        assert_ne!(event("ab", "c"), event("a", "bc"));
        let anonymous = Posted { idempotent: false, ..crate::log::tests::posted("a", b"") };
        assert_eq!(identity(&anonymous), None);
    }
}
