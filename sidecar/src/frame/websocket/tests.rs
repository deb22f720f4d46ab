//! Frames of both directions, in every split.

mod compressed;
mod conformance;

use proptest::prelude::*;

use super::*;

const MAX: usize = 1 << 17;
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A client's frame, masked; `first` is its first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ ..126), _) => out.extend_from_slice(&[first, 0x80 | short]),
        (_, Ok(medium)) => {
            out.extend_from_slice(&[first, 0x80 | 126]);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        (_, Err(_)) => {
            out.extend_from_slice(&[first, 0x80 | 127]);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&KEY);
    out.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

/// All messages in `stream`, fed in pieces of which `cuts` are the ends, up to the first error.
fn decode_in(stream: &[u8], cuts: &[usize], max: usize) -> (Vec<Message>, Option<ProtocolError>) {
    decode_with(Decoder::new(max), stream, cuts)
}

fn decode_with(
    mut decoder: Decoder,
    stream: &[u8],
    cuts: &[usize],
) -> (Vec<Message>, Option<ProtocolError>) {
    let mut messages = Vec::new();
    let mut start = 0;
    for &end in cuts.iter().chain([&stream.len()]) {
        let mut piece = &stream[start..end.max(start)];
        start = end.max(start);
        loop {
            match decoder.feed(&mut piece) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
        assert!(piece.is_empty(), "bytes are left over");
    }
    (messages, None)
}

fn decode(stream: &[u8]) -> (Vec<Message>, Option<ProtocolError>) {
    decode_in(stream, &[], MAX)
}

fn error(stream: &[u8]) -> ProtocolError {
    decode(stream).1.expect("an error")
}

#[test]
fn the_examples_of_the_standard_are_read() {
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(decode(&hello).0, [Message::Text("Hello".into())]);
    let ping = frame(0x89, b"Hello");
    assert_eq!(decode(&ping).0, [Message::Ping(b"Hello".to_vec())]);
}

#[test]
fn fragments_are_joined_and_controls_may_stand_between_them() {
    let stream = [
        frame(0x01, "a\u{20ac}".as_bytes().split_at(2).0),
        frame(0x8a, b"pong"),
        frame(0x00, "a\u{20ac}".as_bytes().split_at(2).1),
        frame(0x89, b""),
        frame(0x80, b"!"),
        frame(0x82, b"\xff"),
        frame(0x81, b""),
        frame(0x88, b"\x03\xe8bye"),
        b"whatever follows a close".to_vec(),
    ]
    .concat();
    let expected = vec![
        Message::Pong(b"pong".to_vec()),
        Message::Ping(Vec::new()),
        Message::Text("a\u{20ac}!".into()),
        Message::Binary(b"\xff".to_vec()),
        Message::Text(String::new()),
        Message::Close(Some(1000)),
    ];
    assert_eq!(decode(&stream), (expected, None));
}

#[test]
fn every_violation_is_told_apart_and_closes_with_its_code() {
    let text = |payload: &[u8]| frame(0x81, payload);
    for (stream, expected, code) in [
        (vec![0x81, 0x05], ProtocolError::Unmasked, 1002),
        (frame(0xc1, b""), ProtocolError::ReservedBits, 1002),
        (frame(0x83, b""), ProtocolError::Opcode(3), 1002),
        (frame(0x8b, b""), ProtocolError::Opcode(11), 1002),
        (frame(0x89, &[0; 126]), ProtocolError::LongControl, 1002),
        (frame(0x09, b""), ProtocolError::FragmentedControl, 1002),
        (frame(0x80, b""), ProtocolError::LoneContinuation, 1002),
        ([frame(0x01, b""), frame(0x81, b"")].concat(), ProtocolError::Interrupted, 1002),
        (vec![0x81, 0xfe, 0, 125, 0, 0, 0, 0], ProtocolError::Length, 1002),
        (vec![0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0], ProtocolError::Length, 1002),
        (vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], ProtocolError::Length, 1002),
        (frame(0x88, b"\x03"), ProtocolError::ClosePayload, 1002),
        (frame(0x88, b"\x03\xed"), ProtocolError::CloseCode(1005), 1002),
        (frame(0x88, b"\x03\xe8\xff"), ProtocolError::Utf8, 1007),
        (text(b"\xff"), ProtocolError::Utf8, 1007),
        (text(b"\xe2\x82"), ProtocolError::Utf8, 1007),
        (text(b"\xed\xa0\x80"), ProtocolError::Utf8, 1007),
        (text(&vec![b'x'; MAX + 1]), ProtocolError::TooBig(MAX), 1009),
    ] {
        let error = error(&stream);
        assert_eq!((error, error.close_code().code()), (expected, code));
    }
}

#[test]
fn an_announced_size_is_refused_before_its_bytes_come() {
    let announced = [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4];
    assert_eq!(error(&announced), ProtocolError::TooBig(MAX));
    let half = vec![0; MAX / 2 + 1];
    let fragments = [frame(0x02, &half), frame(0x80, &half)].concat();
    assert_eq!(error(&fragments), ProtocolError::TooBig(MAX));
}

#[test]
fn a_message_of_exactly_the_largest_size_is_taken() {
    let stream = [frame(0x02, &[7; 4]), frame(0x80, &[8; 4])].concat();
    let (messages, error) = decode_in(&stream, &[], 8);
    assert_eq!(messages, [Message::Binary(vec![7, 7, 7, 7, 8, 8, 8, 8])]);
    assert_eq!(error, None);
}

#[test]
fn broken_text_is_refused_before_its_frame_is_whole() {
    let stream = frame(0x81, b"\xffand much more");
    assert_eq!(error(&stream[..7]), ProtocolError::Utf8);
}

#[test]
fn an_error_lasts() {
    let mut decoder = Decoder::new(MAX);
    let mut input = &frame(0x83, b"")[..];
    assert!(decoder.feed(&mut input).is_err());
    let mut input = &frame(0x81, b"fine")[..];
    assert_eq!(decoder.feed(&mut input), Err(ProtocolError::Opcode(3)));
}

#[test]
fn close_codes_that_may_be_sent_are_taken_and_no_others() {
    for code in 0..=u16::MAX {
        let allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let (messages, error) = decode(&frame(0x88, &code.to_be_bytes()));
        assert_eq!(error.is_none(), allowed, "{code}");
        assert_eq!(messages == [Message::Close(Some(code))], allowed, "{code}");
    }
    for code in CloseCode::ALL {
        assert!(close::is_sendable(code.code()));
    }
}

#[test]
fn server_frames_have_the_shortest_header() {
    for (length, header) in [
        (0, &[0x81, 0][..]),
        (125, &[0x81, 125]),
        (126, &[0x81, 126, 0, 126]),
        (65_535, &[0x81, 126, 0xff, 0xff]),
    ] {
        let text = "x".repeat(length);
        let mut out = b"before".to_vec();
        encode_text(&text, &mut out);
        assert_eq!(out, [b"before", header, text.as_bytes()].concat());
        let mut framed = b"before".to_vec();
        push_framed(Coding::Plain, &mut framed, |out| out.extend_from_slice(text.as_bytes()));
        assert!(framed == out, "{length}");
    }
}

#[test]
fn a_large_message_is_cut_into_frames_of_which_the_first_says_what_it_is() {
    let text: String = (0..100_000).map(|n| format!("{n} ")).collect();
    let squeezed = Coding::Deflate { window: Window::Full, min_size: 0 };
    for (coding, first) in [(Coding::Plain, 0x01), (squeezed, 0x41)] {
        let mut out = Vec::new();
        encode_data(Data::Text(&text), coding, &mut out);
        let mut framed = Vec::new();
        push_framed(coding, &mut framed, |out| out.extend_from_slice(text.as_bytes()));
        assert!(out == framed, "{coding:?}");
        let (mut kinds, mut payload, mut rest) = (Vec::new(), Vec::new(), &out[..]);
        while !rest.is_empty() {
            let (frame, behind) = rest.split_at(frame_end(rest, 1));
            kinds.push(frame[0]);
            payload.extend_from_slice(&frame[if frame[1] == 126 { 4 } else { 2 }..]);
            rest = behind;
        }
        let (last, middle) = kinds[1..].split_last().unwrap();
        assert_eq!((kinds[0], *last), (first, 0x80));
        assert!(middle.iter().all(|kind| *kind == 0x00), "{kinds:?}");
        let expected = coding.compress(text.as_bytes()).unwrap_or_else(|| text.clone().into());
        assert!(payload == expected, "{coding:?}");
    }
}

#[test]
fn control_frames_fit_their_limit() {
    let sent = |encode: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        encode(&mut out);
        out
    };
    assert_eq!(sent(&|out| encode_ping(b"hi", out)), b"\x89\x02hi");
    assert_eq!(sent(&|out| encode_pong(&[7; 200], out)).len(), 2 + 125);
    assert_eq!(sent(&|out| encode_close(CloseCode::Normal, "", out)), b"\x88\x02\x03\xe8");
    let long = sent(&|out| encode_close(CloseCode::TryAgainLater, &"\u{20ac}".repeat(50), out));
    assert_eq!(long[..4], [0x88, 125, 0x03, 0xf5]);
    assert_eq!(std::str::from_utf8(&long[4..]), Ok(&*"\u{20ac}".repeat(41)));
    assert_eq!(sent(&|out| encode_close_reply(Some(4001), out)), b"\x88\x02\x0f\xa1");
    assert_eq!(sent(&|out| encode_close_reply(None, out)), b"\x88\x00");
}

#[test]
fn a_stream_opens_with_the_position_at_which_it_starts() {
    let mut out = Vec::new();
    encode_open(Format::WsJson(Coding::Plain), "c-1", &mut out);
    assert_eq!(out, b"\x81\x21{\"control\":\"open\",\"cursor\":\"c-1\"}");
}

/// Frames that make sense mostly, so that random streams get beyond their first frame.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => prop::sample::select(&[0x81, 0x82, 0x01, 0x00, 0x80, 0x89, 0x8a][..]),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        any::<String>().prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..200),
    ];
    let framed = (first, payload).prop_map(|(first, payload)| frame(first, &payload));
    prop::collection::vec(framed, 0..8).prop_map(|frames| frames.concat())
}

#[test]
fn a_hint_for_programs_fits_into_a_close() {
    let cursor = format!("{}-{}", "f".repeat(16), u64::MAX);
    for cursor in [Some(cursor.as_str()), None] {
        let mut close = Vec::new();
        encode_close_hint(CloseCode::ServiceRestart, u64::MAX, cursor, &mut close);
        assert!(close.len() <= 2 + MAX_CONTROL);
        let hint: serde_json::Value = serde_json::from_slice(&close[4..]).unwrap();
        assert_eq!((hint["retry"].as_u64(), hint["cursor"].as_str()), (Some(u64::MAX), cursor));
    }
}

proptest! {
    #[test]
    fn any_split_of_the_bytes_gives_the_same_messages(
        stream in stream(),
        mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let cuts: Vec<usize> = {
            let mut cuts: Vec<_> = cuts.drain(..).map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.sort_unstable();
            cuts
        };
        let whole = decode(&stream);
        prop_assert_eq!(&decode_in(&stream, &cuts, MAX), &whole);
        let single: Vec<usize> = (0..stream.len()).collect();
        prop_assert_eq!(&decode_in(&stream, &single, MAX), &whole);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _any = decode_in(&bytes, &[], 100);
    }

    #[test]
    fn a_message_comes_back_over_any_fragments(
        text in any::<String>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let bytes = text.as_bytes();
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        ends.sort_unstable();
        ends.push(bytes.len());
        let mut stream = Vec::new();
        let mut start = 0;
        for (index, &end) in ends.iter().enumerate() {
            let opcode = u8::from(index == 0);
            let last = if index + 1 == ends.len() { 0x80 } else { 0 };
            stream.extend(frame(opcode | last, &bytes[start..end]));
            start = end;
        }
        prop_assert_eq!(decode(&stream), (vec![Message::Text(text)], None));
    }
}
