//! Compressed messages of a client, in every form that RFC 7692 allows and in some that it doesn't.

use super::*;

/// A bit that says: compressed.
const RSV1: u8 = 0x40;

/// Compresses as a client may: with several blocks, each ended by a flush, whatever comes out.
fn deflate(payload: &[u8], blocks: usize) -> Vec<u8> {
    let mut compress = flate2::Compress::new(flate2::Compression::default(), false);
    let mut out = Vec::with_capacity(payload.len() * 2 + 64 * (blocks + 1));
    let size = payload.len().div_ceil(blocks.max(1)).max(1);
    for block in payload.chunks(size) {
        compress.compress_vec(block, &mut out, flate2::FlushCompress::Sync).unwrap();
    }
    if payload.is_empty() {
        compress.compress_vec(b"", &mut out, flate2::FlushCompress::Sync).unwrap();
    }
    assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
    out.truncate(out.len() - 4);
    if out.is_empty() { vec![0] } else { out }
}

/// A compressed message in fragments that end where `cuts` say.
fn message(opcode: u8, compressed: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut start = 0;
    for (index, &end) in cuts.iter().chain([&compressed.len()]).enumerate() {
        let first = if index == 0 { opcode | RSV1 } else { 0 };
        let last = if index == cuts.len() { 0x80 } else { 0 };
        stream.extend(frame(first | last, &compressed[start..end.max(start)]));
        start = end.max(start);
    }
    stream
}

fn decode_all(stream: &[u8], cuts: &[usize], max: usize) -> (Vec<Message>, Option<ProtocolError>) {
    decode_with(Decoder::new(max).inflating(), stream, cuts)
}

fn refused(stream: &[u8]) -> ProtocolError {
    decode_all(stream, &[], 1 << 20).1.expect("an error")
}

#[test]
fn the_examples_of_the_standard_are_read() {
    let hello = Message::Text("Hello".into());
    for compressed in [
        // One block, a block without compression, a last block, two blocks (section 7.2.3).
        &b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
        b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
        b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
    ] {
        for cuts in [&[][..], &[3]] {
            let stream = message(1, compressed, cuts);
            assert_eq!(
                decode_all(&stream, &[], 100),
                (vec![hello.clone()], None),
                "{compressed:x?}"
            );
        }
    }
}

#[test]
fn compressed_and_plain_messages_may_take_turns_and_controls_stand_between_fragments() {
    let compressed = deflate(b"squeezed", 1);
    let mut stream = frame(0x81, b"plain");
    let whole = message(1, &compressed, &[4]);
    let (first, second) = whole.split_at(frame(0, &compressed[..4]).len());
    stream.extend_from_slice(first);
    stream.extend(frame(0x89, b"?"));
    stream.extend_from_slice(second);
    stream.extend(frame(0x81, b"plain again"));
    let expected = vec![
        Message::Text("plain".into()),
        Message::Ping(b"?".to_vec()),
        Message::Text("squeezed".into()),
        Message::Text("plain again".into()),
    ];
    assert_eq!(decode_all(&stream, &[], 100), (expected, None));
}

#[test]
fn the_bit_may_stand_at_the_beginning_of_a_message_only_and_only_where_it_was_agreed_on() {
    let compressed = deflate(b"x", 1);
    assert_eq!(error(&message(1, &compressed, &[])), ProtocolError::ReservedBits);
    for stream in [
        frame(0xc9, b""),
        frame(0xc8, b""),
        [frame(0x41, &compressed), frame(0xc0, b"")].concat(),
        frame(0xa1, b""),
        frame(0x91, b""),
    ] {
        assert_eq!(refused(&stream), ProtocolError::ReservedBits, "{stream:x?}");
    }
}

#[test]
fn what_does_not_inflate_or_is_no_text_is_refused() {
    let garbage = refused(&message(2, b"\xff\xff\xff", &[]));
    assert_eq!((garbage, garbage.close_code().code()), (ProtocolError::Deflate, 1007));
    assert_eq!(refused(&message(1, &deflate(b"\xff\xfe", 1), &[])), ProtocolError::Utf8);
    let half = &"\u{20ac}".as_bytes()[..2];
    assert_eq!(refused(&message(1, &deflate(half, 1), &[])), ProtocolError::Utf8);
}

#[test]
fn a_bomb_is_refused_by_its_size_and_by_its_ratio() {
    let bomb = message(2, &deflate(&vec![0; 1 << 20], 1), &[]);
    let (_, error) = decode_all(&bomb, &[], 10_000);
    assert_eq!(error, Some(ProtocolError::TooBig(10_000)));
    let (_, error) = decode_all(&bomb, &[], 1 << 20);
    assert_eq!(error.map(|error| error.close_code().code()), Some(1009));
    // A small one does no harm.
    let small = message(2, &deflate(&vec![0; 60_000], 1), &[]);
    assert_eq!(decode_all(&small, &[], 1 << 20), (vec![Message::Binary(vec![0; 60_000])], None));
}

#[test]
fn a_message_without_end_is_refused_though_nothing_comes_out_of_it() {
    // Blocks without content.
    let empty = b"\0\0\0\xff\xff".repeat(100);
    let stream = [frame(0x42, &empty), frame(0x00, &empty).repeat(100)].concat();
    assert_eq!(decode_all(&stream, &[], 1_000).1, Some(ProtocolError::TooBig(1_000)));
}

#[test]
fn a_decoder_keeps_no_more_of_a_compressed_message_than_came() {
    let mut decoder = Decoder::new(1 << 20).inflating();
    let numbers: String = (0..20_000).map(|n| format!("{n} ")).collect();
    let stream = message(1, &deflate(numbers.as_bytes(), 1), &[]);
    // A vector grows to twice what it holds.
    let bound = 2 * stream.len();
    let (mut most, mut within, mut text) = (0, false, None);
    for byte in stream {
        let message = decoder.feed(&mut &[byte][..]).unwrap();
        most = most.max(decoder.held());
        within |= decoder.is_within_message();
        text = text.or(message);
    }
    assert!(bound < numbers.len() && within && most <= bound, "{most} bytes of {bound}");
    assert_eq!(text, Some(Message::Text(numbers)));
    assert_eq!((decoder.held(), decoder.is_within_message()), (0, false));
}

proptest! {
    #[test]
    fn any_compression_in_any_fragments_and_any_split_comes_back(
        text in "[a-e\u{20ac}]{0,2000}",
        blocks in 1_usize..6,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        splits in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let compressed = deflate(text.as_bytes(), blocks);
        let sorted = |cuts: &[prop::sample::Index], length: usize| {
            let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(length + 1)).collect();
            ends.sort_unstable();
            ends
        };
        let stream = message(1, &compressed, &sorted(&cuts, compressed.len()));
        let expected = (vec![Message::Text(text)], None);
        prop_assert_eq!(decode_all(&stream, &sorted(&splits, stream.len()), 1 << 20), expected);
    }

    #[test]
    fn broken_compression_is_refused_alike_in_any_split(
        mut compressed in "[a-e]{0,300}".prop_map(|text| deflate(text.as_bytes(), 2)),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        limit in 0_usize..400,
    ) {
        for (place, bits) in flips {
            let place = place.index(compressed.len());
            compressed[place] ^= bits;
        }
        let stream = message(1, &compressed, &[]);
        let whole = decode_all(&stream, &[], limit);
        let single: Vec<usize> = (0..stream.len()).collect();
        prop_assert_eq!(decode_all(&stream, &single, limit), whole);
    }

    #[test]
    fn random_bytes_never_panic_a_decoder_that_inflates(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _any = decode_all(&bytes, &[], 1_000);
        let _any = decode_all(&message(2, &bytes, &[]), &[], 1_000);
    }
}
