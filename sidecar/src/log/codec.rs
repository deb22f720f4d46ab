//! An entry as the shared logs store it: who accepted it and when, and the event. Sans-I/O.
//!
//! A log outlives the program that wrote it, so the first byte names the form.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{
    Micros,
    encoding::{self, Reader},
};
use crate::intake::Posted;

/// The form that this program writes, and the only one it reads.
const FORM: u8 = 1;

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
    let Origin { replica, accepted } = origin;
    let mut out = Vec::with_capacity(posted.event.size() + 48);
    out.push(FORM);
    out.extend(replica.to_le_bytes());
    out.extend(accepted.to_le_bytes());
    encoding::put(&mut out, posted);
    out
}

/// The event that was stored. Its payload shares the bytes.
pub(super) fn decode(bytes: &Bytes) -> Result<(Origin, Posted), CodecError> {
    let mut reader = Reader::new(bytes);
    match reader.u8() {
        Some(FORM) => {}
        Some(form) => return Err(CodecError::Form(form)),
        None => return Err(CodecError::Malformed),
    }
    let read = read(&mut reader, bytes).filter(|_| reader.is_at_end());
    read.ok_or(CodecError::Malformed)
}

fn read(reader: &mut Reader<'_>, bytes: &Bytes) -> Option<(Origin, Posted)> {
    let origin = Origin { replica: reader.u64()?, accepted: reader.u64()? };
    Some((origin, reader.event(bytes)?))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::log::encoding::tests::any_posted;

    proptest! {
        #[test]
        fn an_event_comes_back_as_it_went_in(
            posted in any_posted(), replica: u64, accepted: u64,
        ) {
            let origin = Origin { replica, accepted };
            let stored = encode(&posted, origin);
            prop_assert_eq!(decode(&stored.into()), Ok((origin, posted)));
        }

        #[test]
        fn what_is_cut_off_or_goes_on_is_refused(posted in any_posted(), cut: prop::sample::Index) {
            let mut stored = encode(&posted, Origin { replica: 1, accepted: 2 });
            let cut = Bytes::copy_from_slice(&stored[..cut.index(stored.len())]);
            prop_assert_eq!(decode(&cut), Err(CodecError::Malformed));
            stored.push(0);
            prop_assert_eq!(decode(&stored.into()), Err(CodecError::Malformed));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
            let read = decode(&Bytes::from(bytes));
            if let Ok((origin, posted)) = read {
                prop_assert_eq!(decode(&encode(&posted, origin).into()), Ok((origin, posted)));
            }
        }
    }

    #[test]
    fn another_form_is_named() {
        assert_eq!(decode(&Bytes::from_static(&[9, 0])), Err(CodecError::Form(9)));
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
