//! Changes of a stream as records, and the stream that records make. Sans-I/O.
//!
//! The first record says what the stream is; the others are what became of it, in order. Numbers are
//! little-endian, and texts are preceded by their length.
//!
//! # Laws
//!
//! - What records make is the stream of which they were made.
//! - No bytes panic, and none make an allocation larger than they are.

use bytes::Bytes;

use super::Remembered;
use crate::{
    durable::{
        content::{Batch, Kind},
        expiry::Expiry,
        offset::{Anchor, Offset},
        producer::Producer,
        state::{Accepted, State},
        stream::{Config, Origin},
    },
    log::encoding::{Reader, put_bytes, put_length},
};

/// What a record begins with.
const CREATED: u8 = 1;
const APPENDED: u8 = 2;
const DELETED: u8 = 3;
const RENEWED: u8 = 4;

const CLOSE: u8 = 1;
const PRODUCER: u8 = 1 << 1;
const SEQ: u8 = 1 << 2;
const MESSAGES: u8 = 1 << 3;

/// The records of a new stream.
pub(super) fn created(path: &str, config: &Config, state: &State) -> Vec<Bytes> {
    let Config { content_type, asked, expiry, origin } = config;
    let mut out = vec![CREATED];
    put_bytes(&mut out, path.as_bytes());
    put_bytes(&mut out, content_type.as_bytes());
    out.extend(state.end().lineage.to_le_bytes());
    put_expiry(&mut out, *expiry);
    put_option(&mut out, asked.as_ref(), |out, asked| put_expiry(out, *asked));
    put_option(&mut out, origin.as_ref(), put_origin);
    let content = state.batches().map(|batch| bare(batch.clone(), false));
    // A stream may be closed from its beginning, with content or without.
    let closed = state.is_closed().then(|| bare(Batch::empty(Kind::of(content_type)), true));
    let appends = content.chain(closed).map(|accepted| appended(&accepted));
    std::iter::once(out.into()).chain(appends).collect()
}

/// An append of nobody in particular.
const fn bare(batch: Batch, close: bool) -> Accepted {
    Accepted { batch, producer: None, seq: None, close }
}

/// The record of an append.
pub(super) fn appended(accepted: &Accepted) -> Bytes {
    let Accepted { batch, producer, seq, close } = accepted;
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let mut out = Vec::with_capacity(batch.data().len() + 64);
    out.push(APPENDED);
    out.push(
        flag(*close, CLOSE)
            | flag(producer.is_some(), PRODUCER)
            | flag(seq.is_some(), SEQ)
            | flag(batch.ends().is_some(), MESSAGES),
    );
    if let Some(Producer { id, epoch, seq }) = producer {
        put_bytes(&mut out, id.as_bytes());
        out.extend(epoch.to_le_bytes());
        out.extend(seq.to_le_bytes());
    }
    if let Some(seq) = seq {
        put_bytes(&mut out, seq.as_bytes());
    }
    if let Some(ends) = batch.ends() {
        put_length(&mut out, ends.len());
        let mut last = 0;
        for end in ends {
            put_length(&mut out, end.saturating_sub(last) as usize);
            last = *end;
        }
    }
    put_bytes(&mut out, batch.data());
    out.into()
}

/// The record that a stream is deleted, and stays for its forks.
pub(super) fn deleted() -> Bytes {
    Bytes::from_static(&[DELETED])
}

/// The record that the stream is of another lineage from now on.
pub(super) fn renewed(lineage: u64) -> Bytes {
    let mut out = vec![RENEWED];
    out.extend(lineage.to_le_bytes());
    out.into()
}

fn put_expiry(out: &mut Vec<u8>, expiry: Expiry) {
    let (kind, number) = match expiry {
        Expiry::Idle(seconds) => (0, seconds),
        Expiry::At(moment) => (1, moment),
    };
    out.push(kind);
    out.extend(number.to_le_bytes());
}

fn put_origin(out: &mut Vec<u8>, Origin { source, at, sub }: &Origin) {
    put_bytes(out, source.as_bytes());
    put_option(out, at.as_ref(), |out, at| match at {
        Anchor::Start => out.push(0),
        Anchor::Now => out.push(1),
        Anchor::At(Offset { lineage, position }) => {
            out.push(2);
            out.extend(lineage.to_le_bytes());
            out.extend(position.to_le_bytes());
        }
    });
    out.extend(sub.to_le_bytes());
}

fn put_option<T>(out: &mut Vec<u8>, value: Option<&T>, put: impl FnOnce(&mut Vec<u8>, &T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

/// The stream that records make; `None` where they make none.
pub(super) fn replay(records: &[Bytes]) -> Option<Remembered> {
    let (first, rest) = records.split_first()?;
    let (path, config, lineage) = whole(first, CREATED, read_created)?;
    let (mut state, kind) = (State::new(lineage), Kind::of(&config.content_type));
    for record in rest {
        match *record.first()? {
            APPENDED => {
                state.apply(whole(record, APPENDED, |read| read_appended(read, record, kind))?);
            }
            DELETED => {
                whole(record, DELETED, |_| Some(()))?;
                state.delete();
            }
            RENEWED => state.renew(whole(record, RENEWED, Reader::u64)?),
            _ => return None,
        }
    }
    Some(Remembered { path, config, state })
}

/// Reads a record of this kind, all of it.
fn whole<'a, T>(
    record: &'a [u8],
    kind: u8,
    read: impl FnOnce(&mut Reader<'a>) -> Option<T>,
) -> Option<T> {
    let mut reader = Reader::new(record);
    let found = (reader.u8()? == kind).then(|| read(&mut reader)).flatten()?;
    reader.is_at_end().then_some(found)
}

fn read_created(read: &mut Reader<'_>) -> Option<(Box<str>, Config, u64)> {
    let (path, content_type, lineage) = (read.text()?, read.text()?, read.u64()?);
    let expiry = read_expiry(read)?;
    let asked = read_option(read, read_expiry)?;
    let origin = read_option(read, read_origin)?;
    Some((path, Config { content_type, asked, expiry, origin }, lineage))
}

fn read_appended(read: &mut Reader<'_>, record: &Bytes, kind: Kind) -> Option<Accepted> {
    let flags = read.u8()?;
    let producer = if flags & PRODUCER == 0 {
        None
    } else {
        Some(Producer { id: read.text()?, epoch: read.u64()?, seq: read.u64()? })
    };
    let seq = if flags & SEQ == 0 { None } else { Some(read.text()?) };
    let ends = if flags & MESSAGES == 0 { None } else { Some(read_ends(read)?) };
    let data = record.slice_ref(read.bytes()?);
    let batch = Batch::restore(kind, data, ends)?;
    Some(Accepted { batch, producer, seq, close: flags & CLOSE != 0 })
}

fn read_ends(read: &mut Reader<'_>) -> Option<Box<[u32]>> {
    let count = read.length()?;
    // Nothing is allocated on the word of a number.
    let mut ends = Vec::new();
    let mut last = 0_u32;
    for _ in 0..count {
        last = last.checked_add(u32::try_from(read.length()?).ok()?)?;
        ends.push(last);
    }
    Some(ends.into())
}

fn read_expiry(read: &mut Reader<'_>) -> Option<Expiry> {
    match read.u8()? {
        0 => Some(Expiry::Idle(read.u64()?)),
        1 => Some(Expiry::At(read.u64()?)),
        _ => None,
    }
}

fn read_origin(read: &mut Reader<'_>) -> Option<Origin> {
    let source = read.text()?;
    let at = read_option(read, |read| match read.u8()? {
        0 => Some(Anchor::Start),
        1 => Some(Anchor::Now),
        2 => Some(Anchor::At(Offset { lineage: read.u64()?, position: read.u64()? })),
        _ => None,
    })?;
    Some(Origin { source, at, sub: read.u64()? })
}

fn read_option<'a, T>(
    read: &mut Reader<'a>,
    value: impl FnOnce(&mut Reader<'a>) -> Option<T>,
) -> Option<Option<T>> {
    match read.u8()? {
        0 => Some(None),
        1 => value(read).map(Some),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// The records of a closed fork of JSON, with an append of a producer and another lineage.
    fn records() -> Vec<Bytes> {
        let config = Config {
            content_type: "application/json".into(),
            asked: Some(Expiry::At(7)),
            expiry: Expiry::Idle(9),
            origin: Some(Origin {
                source: "rooms/1".into(),
                at: Some(Anchor::At(Offset { lineage: 3, position: 1 })),
                sub: 2,
            }),
        };
        let batch = Batch::new(Kind::Json, Bytes::from_static(b"[1,\"two\",[3]]")).unwrap();
        let mut state = State::new(3);
        state.apply(bare(batch.clone(), true));
        let producer = Some(Producer { id: "a".into(), epoch: 1, seq: 2 });
        let more = Accepted { batch, producer, seq: Some("09".into()), close: false };
        let mut records = created("rooms/2", &config, &state);
        records.extend([appended(&more), renewed(5), deleted()]);
        records
    }

    #[test]
    fn what_records_make_is_what_they_were_made_of() {
        let Remembered { path, config, state } = replay(&records()).unwrap();
        assert_eq!(
            (&*path, config.expiry, config.asked),
            ("rooms/2", Expiry::Idle(9), Some(Expiry::At(7)))
        );
        assert_eq!(config.origin.unwrap().sub, 2);
        assert_eq!(state.end(), Offset { lineage: 5, position: 6 });
        assert!(state.is_closed() && state.is_gone());
        assert_eq!(state.batches().map(Batch::len).collect::<Vec<_>>(), [3, 3]);
    }

    #[test]
    fn what_ends_where_no_message_can_is_refused() {
        for (data, ends) in [("1,2", [1, 2]), ("1,2", [1, 1]), ("1,2", [1, 4]), ("1,2,", [1, 3])] {
            let data = Bytes::from_static(data.as_bytes());
            assert_eq!(Batch::restore(Kind::Json, data, Some(ends.into())), None, "{ends:?}");
        }
        assert_eq!(Batch::restore(Kind::Json, Bytes::new(), None), None);
        assert_eq!(Batch::restore(Kind::Text, Bytes::new(), Some(Box::default())), None);
    }

    proptest! {
        #[test]
        fn records_that_are_cut_or_go_on_are_refused(index in 0_usize..6, cut: prop::sample::Index) {
            let mut records = records();
            let index = index.min(records.len() - 1);
            let record = records[index].clone();
            records[index] = record.slice(..cut.index(record.len()));
            prop_assert!(replay(&records).is_none());
            records[index] = [&record[..], &[0]].concat().into();
            prop_assert!(replay(&records).is_none());
        }

        #[test]
        fn no_bytes_panic(
            index in 0_usize..6, place: prop::sample::Index, byte: u8, kind in 0_u8..6, any in vec(any::<u8>(), 0..60),
        ) {
            let mut records = records();
            let index = index.min(records.len() - 1);
            let mut record = records[index].to_vec();
            let place = place.index(record.len());
            record[place] = byte;
            records[index] = record.into();
            let _any = replay(&records);
            records[index] = [&[kind], &any[..]].concat().into();
            let _any = replay(&records);
        }
    }
}
