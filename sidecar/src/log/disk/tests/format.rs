//! What is read back from any bytes, by properties.

use bytes::Bytes;
use proptest::prelude::*;

use crate::{
    intake::Posted,
    log::{
        disk::{
            record::{Group, HEAD_BYTES, Head},
            scan::{self, Rest},
        },
        encoding::tests::any_posted,
    },
};

fn posted() -> impl Strategy<Value = Posted> {
    // Some are larger than a frame.
    let data = prop_oneof![
        9 => prop::collection::vec(any::<u8>(), 0..300),
        1 => (any::<u8>(), 60_000..140_000_usize).prop_map(|(byte, length)| vec![byte; length]),
    ];
    (any_posted(), data).prop_map(|(mut posted, data)| {
        posted.event.data = data.into();
        posted
    })
}

const SALT: u32 = 7;
const BASE: u64 = 5;

/// A segment of groups, and where each of them ends.
#[derive(Debug)]
struct Written {
    groups: Vec<Vec<Posted>>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

fn written() -> impl Strategy<Value = Written> {
    let group = prop::collection::vec(posted(), 1..6);
    prop::collection::vec(group, 1..4).prop_map(|groups| {
        let mut bytes = Head { salt: SALT, base: BASE }.encode().to_vec();
        let mut ends = Vec::new();
        let mut next = BASE;
        for events in &groups {
            let mut group = Group::new(SALT, next, next * 10);
            events.iter().for_each(|posted| group.push(posted));
            next += events.len() as u64;
            bytes.extend(group.finish().0);
            ends.push(bytes.len());
        }
        Written { groups, bytes, ends }
    })
}

/// What a scan returns, and how it ends. Checks that the offsets and times are those that were written.
fn scanned(bytes: Vec<u8>) -> (Vec<Posted>, Rest) {
    let scan = scan::scan(&bytes.into(), SALT, BASE);
    let mut found = Vec::new();
    for frame in scan.frames {
        assert_eq!(frame.span.first, BASE + found.len() as u64);
        assert_eq!(frame.time % 10, 0);
        found.extend(frame.events);
    }
    assert_eq!(scan.next, BASE + found.len() as u64);
    (found, scan.rest)
}

/// The events of the groups that end before `end`.
fn whole(written: &Written, end: usize) -> Vec<Posted> {
    let groups = written.groups.iter().zip(&written.ends);
    groups.take_while(|(_, ends)| **ends <= end).flat_map(|(group, _)| group.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(written in written()) {
        let (found, rest) = scanned(written.bytes.clone());
        prop_assert_eq!(rest, Rest::Nothing);
        prop_assert_eq!(found, whole(&written, usize::MAX));
        let read = scan::frames(&Bytes::from(written.bytes[HEAD_BYTES..].to_vec()), SALT).unwrap();
        let read: Vec<_> = read.into_iter().flat_map(|body| body.events).collect();
        prop_assert_eq!(read, whole(&written, usize::MAX));
    }

    #[test]
    fn a_cut_leaves_the_groups_before_it(written in written(), cut in any::<prop::sample::Index>()) {
        let end = HEAD_BYTES + cut.index(written.bytes.len() - HEAD_BYTES);
        let (found, rest) = scanned(written.bytes[..end].to_vec());
        prop_assert_eq!(found, whole(&written, end));
        let at_an_end = end == HEAD_BYTES || written.ends.contains(&end);
        prop_assert_eq!(rest, if at_an_end { Rest::Nothing } else { Rest::Cut });
    }

    #[test]
    fn a_flipped_bit_leaves_the_groups_before_it_and_is_seen(
        written in written(),
        at in any::<prop::sample::Index>(),
        bit in 0..8,
    ) {
        let at = HEAD_BYTES + at.index(written.bytes.len() - HEAD_BYTES);
        let mut bytes = written.bytes.clone();
        bytes[at] ^= 1_u8 << bit;
        let (found, rest) = scanned(bytes);
        prop_assert_eq!(found, whole(&written, at));
        let in_the_last = written.ends.iter().rev().nth(1).is_none_or(|end| at >= *end);
        prop_assert_eq!(rest, if in_the_last { Rest::Wrong } else { Rest::Damaged });
    }

    #[test]
    fn a_flipped_bit_in_the_head_is_seen(at in 0..HEAD_BYTES, bit in 0..8) {
        let mut head = Head { salt: SALT, base: BASE }.encode();
        prop_assert_eq!(Head::decode(&head), Some(Head { salt: SALT, base: BASE }));
        head[at] ^= 1_u8 << bit;
        prop_assert_eq!(Head::decode(&head), None);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        scan::scan(&bytes.clone().into(), SALT, BASE);
        Head::decode(&bytes);
        prop_assert!(bytes.is_empty() || scan::frames(&bytes.into(), SALT).is_none());
    }
}
