//! An echo of the server's own parts, held to the kinds of case of the public conformance suites: framing,
//! pings, reserved bits, opcodes, fragmentation, UTF-8, closing, limits and compression.

use super::*;

/// What the echo sends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sent {
    Text(String),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    /// The code, and nothing comes behind it.
    Close(Option<u16>),
}

/// The largest message that the echo takes.
const LIMIT: usize = 70_000;

/// Echoes a client's stream that comes in pieces of so many bytes.
fn echo(stream: &[u8], piece: usize, coding: Coding) -> Vec<Sent> {
    let mut dialogue = Dialogue::new(LIMIT, coding);
    let mut out = Vec::new();
    'stream: for mut input in stream.chunks(piece.max(1)) {
        loop {
            match dialogue.hear(&mut input, &mut out) {
                Heard::Nothing => break,
                Heard::Text(text) => encode_data(Data::Text(&text), coding, &mut out),
                Heard::Binary(bytes) => encode_data(Data::Binary(&bytes), coding, &mut out),
                Heard::Farewell => break 'stream,
            }
        }
    }
    sent(&out)
}

/// What a server's frames say.
fn sent(mut out: &[u8]) -> Vec<Sent> {
    let mut all = Vec::new();
    // The first byte of a message that goes on, and what has come of it.
    let mut open: Option<(u8, Vec<u8>)> = None;
    while let [first, second, rest @ ..] = out {
        let (length, rest) = match second {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            short => (usize::from(*short), rest),
        };
        let (payload, behind) = rest.split_at(length);
        out = behind;
        let (first, payload) = match (first & 0x0f, open.take()) {
            (0, Some((begun, message))) => (begun | first, [&message[..], payload].concat()),
            (_, None) => (*first, payload.to_vec()),
            (_, Some(_)) => panic!("the echo sends no frame within a message"),
        };
        if first & 0x80 == 0 {
            open = Some((first, payload));
            continue;
        }
        let payload = if first & COMPRESSED == 0 { payload } else { inflated(&payload) };
        all.push(match first & !COMPRESSED {
            TEXT => Sent::Text(String::from_utf8(payload).unwrap()),
            BINARY => Sent::Binary(payload),
            PONG => Sent::Pong(payload),
            CLOSE => Sent::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
            other => panic!("a frame {other:#x}"),
        });
    }
    all
}

fn inflated(compressed: &[u8]) -> Vec<u8> {
    let mut inflater = flate2::Decompress::new(false);
    let mut out = Vec::with_capacity(LIMIT + 1);
    let input = [compressed, &[0, 0, 0xff, 0xff]].concat();
    inflater.decompress_vec(&input, &mut out, flate2::FlushDecompress::Sync).unwrap();
    out
}

fn text(text: &str) -> Sent {
    Sent::Text(text.to_owned())
}

fn pong(payload: &[u8]) -> Sent {
    Sent::Pong(payload.to_vec())
}

/// Holds each case in the pieces of a fast, a usual and a slow network.
fn hold(cases: &[(&str, Vec<u8>, Vec<Sent>)]) {
    for (name, stream, expected) in cases {
        for piece in [usize::MAX, 997, 1] {
            assert_eq!(
                &echo(stream, piece, Coding::Plain),
                expected,
                "{name}, in pieces of {piece}"
            );
        }
    }
}

#[test]
fn framing() {
    let mut cases = Vec::new();
    for length in [0, 1, 125, 126, 127, 128, 65_535, 65_536, LIMIT] {
        let long = "*".repeat(length);
        cases.push(("a text", frame(0x81, long.as_bytes()), vec![text(&long)]));
        let bytes = vec![0xfe; length];
        cases.push(("bytes", frame(0x82, &bytes), vec![Sent::Binary(bytes)]));
    }
    hold(&cases);
}

#[test]
fn pings_and_pongs() {
    let ten = (0..10).flat_map(|n| frame(0x89, &[n])).collect();
    hold(&[
        ("an empty ping", frame(0x89, b""), vec![pong(b"")]),
        ("one with a text", frame(0x89, b"hello"), vec![pong(b"hello")]),
        ("one with bytes", frame(0x89, b"\0\xff\xfe"), vec![pong(b"\0\xff\xfe")]),
        ("the longest", frame(0x89, &[7; 125]), vec![pong(&[7; 125])]),
        ("too long a one", frame(0x89, &[7; 126]), vec![Sent::Close(Some(1002))]),
        (
            "a pong that nobody asked for",
            [frame(0x8a, b"x"), frame(0x89, b"y")].concat(),
            vec![pong(b"y")],
        ),
        ("ten", ten, (0..10).map(|n| pong(&[n])).collect()),
    ]);
}

#[test]
fn reserved_bits_and_opcodes() {
    let mut cases = Vec::new();
    for bits in 1..8_u8 {
        for opcode in [0x81, 0x82, 0x88, 0x89, 0x8a] {
            let stream =
                [frame(0x81, b"before"), frame(opcode | bits << 4, b"x"), frame(0x89, b"")]
                    .concat();
            cases.push(("a reserved bit", stream, vec![text("before"), Sent::Close(Some(1002))]));
        }
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        let stream = [frame(0x81, b"before"), frame(0x80 | opcode, b"x")].concat();
        cases.push(("an unknown opcode", stream, vec![text("before"), Sent::Close(Some(1002))]));
    }
    cases.push(("no mask", vec![0x81, 0x01, b'x'], vec![Sent::Close(Some(1002))]));
    hold(&cases);
}

#[test]
fn fragmentation() {
    let broken = || vec![Sent::Close(Some(1002))];
    let join = |frames: &[(u8, &[u8])]| -> Vec<u8> {
        frames.iter().flat_map(|(first, payload)| frame(*first, payload)).collect()
    };
    hold(&[
        ("a ping in two", join(&[(0x09, b"a"), (0x80, b"b")]), broken()),
        ("a pong in two", join(&[(0x0a, b"a"), (0x80, b"b")]), broken()),
        ("a close in two", join(&[(0x08, b"\x03"), (0x80, b"\xe8")]), broken()),
        ("a text in two", join(&[(0x01, b"a"), (0x80, b"b")]), vec![text("ab")]),
        ("three empty ones", join(&[(0x01, b""), (0x00, b""), (0x80, b"")]), vec![text("")]),
        (
            "a ping in between",
            join(&[(0x01, b"a"), (0x89, b"?"), (0x00, b"b"), (0x89, b"!"), (0x80, b"c")]),
            vec![pong(b"?"), pong(b"!"), text("abc")],
        ),
        ("a continuation of nothing", join(&[(0x80, b"a"), (0x81, b"b")]), broken()),
        ("and one that goes on", join(&[(0x00, b"a"), (0x81, b"b")]), broken()),
        ("a text within a text", join(&[(0x01, b"a"), (0x81, b"b")]), broken()),
        (
            "a continuation behind the end",
            join(&[(0x01, b"a"), (0x80, b"b"), (0x80, b"c")]),
            vec![text("ab"), Sent::Close(Some(1002))],
        ),
    ]);
}

#[test]
fn utf_8() {
    let mut cases = Vec::new();
    let greek = "\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}";
    for valid in [
        greek,
        "\0",
        "\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}",
        "\u{fffe}\u{d7ff}\u{e000}",
    ] {
        cases.push(("a valid text", frame(0x81, valid.as_bytes()), vec![text(valid)]));
        let single: Vec<u8> = valid
            .as_bytes()
            .iter()
            .enumerate()
            .flat_map(|(index, byte)| frame(u8::from(index == 0), &[*byte]))
            .chain(frame(0x80, b""))
            .collect();
        cases.push(("a fragment for each byte", single, vec![text(valid)]));
    }
    for broken in [
        // Beyond the last character, a surrogate, overlong forms, a lone continuation, bytes that never
        // occur, and ends that lack something.
        &b"\xf4\x90\x80\x80"[..],
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\x80",
        b"\x80",
        b"\xfe",
        b"\xff",
        b"\xf8\x88\x80\x80\x80",
        b"\xce",
        b"\xe2\x82",
        b"\xf0\x9f\x98",
    ] {
        let closed = vec![Sent::Close(Some(1007))];
        let behind = [greek.as_bytes(), broken].concat();
        cases.push(("broken", frame(0x81, &behind), closed.clone()));
        let split = [frame(0x01, greek.as_bytes()), frame(0x80, broken)].concat();
        cases.push(("broken in a later fragment", split, closed.clone()));
        cases.push(("broken and not ended", frame(0x01, &[broken, b"edited"].concat()), closed));
        cases.push(("bytes are no text", frame(0x82, broken), vec![Sent::Binary(broken.to_vec())]));
    }
    hold(&cases);
}

#[test]
fn closing() {
    let with = |code: u16, reason: &[u8]| frame(0x88, &[&code.to_be_bytes()[..], reason].concat());
    let behind = [frame(0x88, b""), frame(0x81, b"late"), frame(0x89, b"")].concat();
    let mut cases = vec![
        ("a close", frame(0x88, b""), vec![Sent::Close(None)]),
        ("what comes behind it is not read", behind, vec![Sent::Close(None)]),
        ("half a code", frame(0x88, b"\x03"), vec![Sent::Close(Some(1002))]),
        ("the longest reason", with(1000, &[b'x'; 123]), vec![Sent::Close(Some(1000))]),
        ("too long a reason", with(1000, &[b'x'; 124]), vec![Sent::Close(Some(1002))]),
        ("a reason that is no text", with(1000, b"\xff"), vec![Sent::Close(Some(1007))]),
        (
            "within a message",
            [frame(0x01, b"begun"), frame(0x88, b"\x03\xe8")].concat(),
            vec![Sent::Close(Some(1000))],
        ),
    ];
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000,
        4999,
    ] {
        cases.push(("a code that may be sent", with(code, b""), vec![Sent::Close(Some(code))]));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        cases.push(("a code that may not", with(code, b""), vec![Sent::Close(Some(1002))]));
    }
    hold(&cases);
}

#[test]
fn limits() {
    let large = vec![b'*'; LIMIT + 1];
    let fragments: Vec<u8> = [frame(0x01, b"")]
        .into_iter()
        .chain(large.chunks(64).map(|piece| frame(0x00, piece)))
        .collect::<Vec<_>>()
        .concat();
    let many: Vec<u8> = [frame(0x02, b"")]
        .into_iter()
        .chain(vec![frame(0x00, &[1; 64]); 1_000])
        .chain([frame(0x80, b"")])
        .collect::<Vec<_>>()
        .concat();
    hold(&[
        ("one byte too many", frame(0x81, &large), vec![Sent::Close(Some(1009))]),
        ("in many fragments", fragments, vec![Sent::Close(Some(1009))]),
        ("a thousand fragments", many, vec![Sent::Binary(vec![1; 64_000])]),
    ]);
}

#[test]
fn compression() {
    let messages: Vec<String> = [0, 1, 16, 64, 256, 1_024, 8_192, 65_536]
        .into_iter()
        .map(|size| "{\"order\":17,\"total\":4.5} ".chars().cycle().take(size).collect())
        .collect();
    let expected: Vec<_> = messages.iter().map(|message| text(message)).collect();
    for window in [Window::Full, Window::Small] {
        for min_size in [0, 100] {
            let coding = Coding::Deflate { window, min_size };
            // A client compresses as the server does, but masks it.
            let stream: Vec<u8> = messages
                .iter()
                .flat_map(|message| match coding.compress(message.as_bytes()) {
                    Some(compressed) => frame(TEXT | COMPRESSED, &compressed),
                    None => frame(TEXT, message.as_bytes()),
                })
                .collect();
            for piece in [usize::MAX, 997, 1] {
                assert_eq!(echo(&stream, piece, coding), expected, "{window:?} {min_size}");
            }
        }
    }
}
