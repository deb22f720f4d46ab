//! Events as logs store them: any bytes are refused, or are an event that is stored and read as itself.

use bytes::Bytes;
use weir_sidecar::{
    intake::Posted,
    log::encoding::{Reader, put},
};

pub(super) fn read(input: &[u8]) {
    let bytes = Bytes::copy_from_slice(input);
    let mut reader = Reader::new(&bytes);
    while !reader.is_at_end() {
        let Some(posted) = reader.event(&bytes) else { return };
        check(&posted);
    }
}

fn check(posted: &Posted) {
    let mut stored = Vec::new();
    put(&mut stored, posted);
    let stored = Bytes::from(stored);
    let mut reader = Reader::new(&stored);
    assert_eq!(reader.event(&stored).as_ref(), Some(posted), "stored as {stored:?}");
    assert!(reader.is_at_end(), "bytes are left behind the event");
    let cut = stored.slice(..stored.len() - 1);
    assert_eq!(Reader::new(&cut).event(&cut), None, "an event without its last byte");
}
