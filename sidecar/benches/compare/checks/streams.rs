//! Streams are read as they are meant, however they are cut into reads.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use proptest::prelude::*;
use weir_sidecar::{
    event::Event,
    frame::{
        Format, encode, sse_heartbeat,
        websocket::{self, Coding},
    },
};

use crate::{
    chunked::Chunked,
    frames::{self, Message, pong},
    http::{ACCEPT, Asks, NONCE, RequestHead, ResponseHead, post},
    payload::{MIN, Stamp},
    stream::{Stream, request},
    transport::Transport,
};

const HOST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7070);

/// A message without what it borrows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Read {
    Open,
    Event(u64, Option<String>),
    Ping(Vec<u8>),
    Other,
    End,
}

fn own(message: Message<'_>) -> Read {
    match message {
        Message::Open => Read::Open,
        Message::Event(stamp, cursor) => {
            Read::Event(stamp.number, cursor.map(|it| String::from_utf8_lossy(it).into_owned()))
        }
        Message::Ping(payload) => Read::Ping(payload.to_vec()),
        Message::Other => Read::Other,
        Message::End => Read::End,
    }
}

fn read(transport: Transport, bytes: &[u8], step: usize) -> anyhow::Result<Vec<Read>> {
    let (mut stream, mut messages) = (Stream::new(transport), Vec::new());
    for part in bytes.chunks(step) {
        stream.feed(part, &mut |message| messages.push(own(message)))?;
    }
    Ok(messages)
}

/// An event as [`encoded`] encodes it.
fn event(number: u64) -> Read {
    Read::Event(number, Some(format!("c-{number}")))
}

/// The sidecar's own frame of an event.
fn encoded(format: Format, number: u64) -> Vec<u8> {
    let event = Event {
        id: "7".into(),
        type_: "com.example.seq".into(),
        source: "/bench/load".into(),
        subject: None,
        time: "2026-01-02T03:04:05Z".into(),
        data_content_type: Some("application/json".into()),
        data_schema: None,
        extensions: Vec::new(),
        data: Bytes::from(Stamp { number, due: 1 }.payload(256)),
    };
    let mut frame = Vec::new();
    encode(format, &format!("c-{number}"), &event, &mut frame);
    frame
}

fn sse_stream() -> Vec<u8> {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let opening = b"retry: 1000\nid: c-0\n\n".to_vec();
    let gap = b"event: gap\ndata: {\"seq\":9,\"due\":1}\n\n".to_vec();
    let pair = [encoded(Format::SseData, 1), encoded(Format::SseData, 2)].concat();
    let bodies = [opening, encoded(Format::SseData, 0), sse_heartbeat().to_vec(), gap, pair];
    let chunks =
        bodies.map(|body| [format!("{:08x}\r\n", body.len()).as_bytes(), &body, b"\r\n"].concat());
    [head, chunks.concat(), b"0\r\n\r\n".to_vec()].concat()
}

fn websocket_stream() -> Vec<u8> {
    let mut stream = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    )
    .into_bytes();
    stream.extend(encoded(Format::WsJson(Coding::Plain), 0));
    websocket::encode_ping(b"alive?", &mut stream);
    websocket::encode_text(r#"{"control":"gap"}"#, &mut stream);
    stream.extend(encoded(Format::WsJson(Coding::Plain), 1));
    stream.extend(encoded(Format::WsJson(Coding::Plain), 2));
    websocket::encode_close_reply(Some(1000), &mut stream);
    stream
}

proptest! {
    #[test]
    fn however_sse_is_cut_every_event_is_read_once(step in 1_usize..2_000) {
        let messages = read(Transport::Sse, &sse_stream(), step).unwrap();
        let events = [Read::Open, Read::Other, event(0), Read::Other, Read::Other,
            event(1), event(2)];
        prop_assert_eq!(&messages[..events.len()], &events);
        prop_assert!(messages[events.len()..].iter().all(|message| *message == Read::End));
        prop_assert!(messages.len() > events.len());
    }

    #[test]
    fn however_websocket_is_cut_every_event_is_read_once(step in 1_usize..2_000) {
        let messages = read(Transport::WebSocket, &websocket_stream(), step).unwrap();
        prop_assert_eq!(messages, [Read::Open, event(0), Read::Ping(b"alive?".to_vec()),
            Read::Other, event(1), event(2), Read::End]);
    }

    #[test]
    fn a_payload_has_its_size_and_gives_its_stamp_back(number: u64, due: u64, size in MIN..5_000) {
        let size = usize::try_from(size).unwrap();
        let stamp = Stamp { number, due };
        let payload = stamp.payload(size);
        prop_assert_eq!(payload.len(), size);
        prop_assert_eq!(Stamp::find(format!("{{\"data\":{payload}}}").as_bytes()), Some(stamp));
    }
}

#[test]
fn an_sse_body_without_a_coding_is_read_to_its_end() {
    let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
    let stream = [head, encoded(Format::SseData, 0), encoded(Format::SseNamed, 1)].concat();
    // A named event is a control to this reader, which asks for none.
    let messages = read(Transport::Sse, &stream, 7).unwrap();
    assert_eq!(messages, [Read::Open, event(0), Read::Other]);
}

#[test]
fn a_websocket_message_of_any_length_is_read() {
    for length in [0, 125, 126, 65_535, 65_536, 200_000] {
        let (mut bytes, text) = (Vec::new(), "x".repeat(length));
        websocket::encode_text(&text, &mut bytes);
        let (message, size) = frames::first(Transport::WebSocket, &bytes).unwrap().unwrap();
        assert_eq!((message, size), (Message::Other, bytes.len()));
        let cut = frames::first(Transport::WebSocket, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(cut, None, "{length}");
    }
}

#[test]
fn frames_that_no_server_may_send_are_errors() {
    for frame in [[0x81, 0x80], [0x80, 0x00], [0xc1, 0x00]] {
        assert!(frames::first(Transport::WebSocket, &frame).is_err(), "{frame:?}");
    }
    let within = [0x01, 0x00, 0x89, 0x00, 0x81, 0x00];
    assert!(frames::first(Transport::WebSocket, &within).is_err(), "a message within another");
}

#[test]
fn an_answer_that_opens_no_stream_is_an_error() {
    let refused = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    let unproven = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";
    assert!(read(Transport::Sse, refused, 9).is_err());
    assert!(read(Transport::WebSocket, unproven, 9).is_err());
    assert!(read(Transport::Sse, b"no HTTP at all\r\n\r\n", 9).is_err());
}

#[test]
fn a_body_that_belies_its_chunk_sizes_is_an_error() {
    for body in [b"2\r\nabc\r\n".as_slice(), b"x\r\n", b"\r\n"] {
        let (mut chunked, mut body) = (Chunked::new(), body);
        let all = std::iter::from_fn(|| chunked.take(&mut body).transpose());
        assert!(all.collect::<anyhow::Result<Vec<_>>>().is_err());
    }
}

#[test]
fn a_pong_is_what_the_sidecar_takes_for_one() {
    let bytes = pong(b"alive?");
    let message = websocket::Decoder::new(1024).feed(&mut bytes.as_slice()).unwrap();
    assert_eq!(message, Some(websocket::Message::Pong(b"alive?".as_slice().into())));
}

#[test]
fn the_nonce_calls_for_the_accept_value() {
    assert_eq!(websocket::accept_key(NONCE.as_bytes()), ACCEPT);
}

#[test]
fn requests_are_told_apart() {
    let asks = |text: &str| RequestHead::parse(text.as_bytes()).unwrap().unwrap().asks;
    assert_eq!(asks(&request(Transport::Sse, "a", HOST, Some("c-1"))), Asks::Sse);
    assert_eq!(asks(&request(Transport::WebSocket, "a", HOST, None)), Asks::WebSocket);
    assert_eq!(asks("GET /readyz HTTP/1.1\r\n\r\n"), Asks::Probe);
}

#[test]
fn a_post_says_to_which_pipeline_it_goes_and_whether_it_has_lines() {
    for (payloads, body) in [(vec!["1".to_owned()], "1"), (vec!["1".into(), "2".into()], "1\n2")] {
        let request = post("bench-7", &payloads);
        let head = RequestHead::parse(&request).unwrap().unwrap();
        assert_eq!((head.asks, head.pipeline.as_str()), (Asks::Publish, "bench-7"));
        assert_eq!((head.lines, &request[head.size..]), (payloads.len() > 1, body.as_bytes()));
        assert_eq!(head.length, body.len());
    }
}

#[test]
fn a_head_that_is_not_complete_needs_more() {
    assert_eq!(ResponseHead::parse(b"HTTP/1.1 200 OK\r\nconten").unwrap(), None);
    assert_eq!(RequestHead::parse(b"POST /x HTTP/1.1\r\n").unwrap(), None);
}
