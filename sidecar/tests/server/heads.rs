//! What one connection of HTTP/2 may make of its requests' heads.

use http::{Request, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    fixture::{OPEN, PATIENCE, Server},
    frames::{END_HEADERS, END_STREAM, Frame, Frames, HEADERS, RST_STREAM, frame, streams},
    h2_client::Http2,
    program::Program,
};

const BUSY: &str = "weir_requests_unrouted_total{reason=\"busy\"} ";
const FAILED: &str = "weir_handshakes_failed_total{reason=\"busy\"} ";
const SUBSCRIBERS: &str = "weir_subscribers{pipeline=\"orders\",transport=\"sse\"} ";

/// The fields of the largest head: each counts with 34 bytes.
const FIELDS: u8 = 60;
const TIMES: usize = 15;

/// In HPACK, nearly all the fields that a head may have, of a byte each.
fn fields(is_first: bool) -> Vec<u8> {
    let mut fields = Vec::new();
    if is_first {
        // Names that the others refer to.
        (0..FIELDS)
            .for_each(|n| fields.extend_from_slice(&[0x40, 2, b'a' + n / 10, b'0' + n % 10, 0]));
    }
    let again = TIMES - usize::from(is_first);
    (0..again).for_each(|_| fields.extend((0..FIELDS).map(|n| 0x80 | (62 + n))));
    fields
}

/// A publish whose body never comes, with them.
fn largest_head(is_first: bool) -> Vec<u8> {
    // POST, http, the path, the host, and what the body is.
    let head = b"\x83\x86\x04\x0e/orders/events\x01\x04test\x0f\x10\x10application/json";
    [&head[..], &fields(is_first)].concat()
}

/// The same with few fields and a host of 24,000 zeros, which take five bits each.
fn longest_host(_: bool) -> Vec<u8> {
    let head = b"\x83\x86\x04\x0e/orders/events\x01\xff\x99\x74";
    [&head[..], &[0; 15_000], b"\x0f\x10\x10application/json"].concat()
}

/// Opens as many streams as there may be, each with a head, of which the first is told that it is.
fn all_streams(head: impl Fn(bool) -> Vec<u8>) -> Vec<u8> {
    let opened =
        streams(1_024).map(|stream| frame(HEADERS, END_HEADERS, stream, &head(stream == 1)));
    opened.collect::<Vec<_>>().concat()
}

/// Whether a stream was reset with REFUSED_STREAM (7).
fn is_refusal(frame: &Frame) -> bool {
    frame.kind == RST_STREAM && frame.payload == [0, 0, 0, 7]
}

async fn metric(program: &Program, prefix: &str) -> usize {
    let metrics = program.metrics().await;
    let value = metrics.lines().find_map(|line| line.strip_prefix(prefix));
    value.unwrap_or_else(|| panic!("{prefix} in {metrics}")).parse().unwrap()
}

#[tokio::test]
async fn the_largest_heads_in_all_streams_take_no_more_than_the_memory_for_heads() {
    let program = Program::start(OPEN.trim(), &["--memory-limit=128Mi"]).await;
    let other = Http2::connect(program.public).await;
    assert_eq!(other.get("/nothing").await.0, 404);
    let before = program.peak_kib();
    let mut attacker = Frames::connect(program.public).await;
    attacker.send(&all_streams(largest_head)).await;
    // 8 MiB are 55 of them.
    attacker.until(960, is_refusal).await;
    let took = program.peak_kib() - before;
    assert!(took < 24 * 1_024, "{took} KiB beside {before} KiB");
    assert!(metric(&program, BUSY).await >= 960);
    assert_eq!(metric(&program, FAILED).await, 0, "the connection goes on");
    // Others ask as ever, by a connection of their own.
    assert_eq!(other.get("/nothing").await.0, 404);
    assert_eq!(other.post("/orders/events", "application/json", "1".into()).await.0, 200);
    drop(attacker);
    // When it has gone all is there again.
    let deadline = Instant::now() + PATIENCE;
    while !is_taken(&other).await {
        assert!(Instant::now() < deadline, "the room is not given back");
    }
}

/// Whether a large head is answered.
async fn is_taken(client: &Http2) -> bool {
    let names = (0..400).map(|n| format!("x-{n}"));
    let head = names.fold(Request::get("http://test/nothing"), |head, name| head.header(name, ""));
    match client.ask(head.body(()).unwrap(), None).await {
        Ok((status, ..)) => status == StatusCode::NOT_FOUND,
        Err(error) => error.reason() != Some(h2::Reason::REFUSED_STREAM),
    }
}

#[tokio::test]
async fn what_stands_for_a_host_counts_as_a_field_does() {
    let program = Program::start(OPEN.trim(), &["--memory-limit=128Mi"]).await;
    let before = program.peak_kib();
    let mut attacker = Frames::connect(program.public).await;
    attacker.send(&all_streams(longest_host)).await;
    // 8 MiB are 300 of them.
    attacker.until(700, is_refusal).await;
    let took = program.peak_kib() - before;
    assert!(took < 24 * 1_024, "{took} KiB beside {before} KiB");
}

#[tokio::test]
async fn a_head_keeps_nothing_of_what_was_read_with_it() {
    let program = Program::start(OPEN.trim(), &["--memory-limit=128Mi"]).await;
    let before = program.peak_kib();
    let head = b"\x83\x86\x04\x0e/orders/events\x01\x04test\x0f\x10\x10application/json";
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = Frames::connect(program.public).await;
        for stream in streams(1_024) {
            // A frame of a kind that nobody knows fills what the head is read into.
            client.send(&frame(99, 0, 0, &[0; 8_000])).await;
            client.send(&frame(HEADERS, END_HEADERS, stream, head)).await;
        }
        client.is_read().await;
        clients.push(client);
    }
    let took = program.peak_kib() - before;
    assert!(took < 24 * 1_024, "{took} KiB beside {before} KiB");
}

/// The largest trailers, of a stream that has a head.
fn trailers(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields(stream == 1))
}

#[tokio::test]
async fn trailers_of_subscribers_are_thrown_away() {
    let program = Program::start(OPEN.trim(), &["--memory-limit=128Mi"]).await;
    let before = program.peak_kib();
    // GET, http, the path, and the host.
    let subscribe =
        |stream| frame(HEADERS, END_HEADERS, stream, b"\x82\x86\x04\x0b/orders/sse\x01\x04test");
    let is_head = |frame: &Frame| frame.kind == HEADERS;
    // Trailers may come with the request, or behind its answer.
    let mut early = Frames::connect(program.public).await;
    let at_once = streams(500).map(|stream| [subscribe(stream), trailers(stream)].concat());
    early.send(&at_once.collect::<Vec<_>>().concat()).await;
    early.until(500, is_head).await;
    let mut late = Frames::connect(program.public).await;
    late.send(&streams(500).flat_map(subscribe).collect::<Vec<_>>()).await;
    late.until(500, is_head).await;
    late.send(&streams(500).flat_map(trailers).collect::<Vec<_>>()).await;
    late.is_read().await;
    assert_eq!(metric(&program, SUBSCRIBERS).await, 1_000, "who has sent all still listens");
    let took = program.peak_kib() - before;
    assert!(took < 40 * 1_024, "{took} KiB beside {before} KiB");
}

#[tokio::test]
async fn what_comes_in_a_stream_that_was_refused_takes_no_memory_from_others() {
    let program = Program::start(OPEN.trim(), &["--memory-limit=128Mi"]).await;
    let other = Http2::connect(program.public).await;
    let mut attacker = Frames::connect(program.public).await;
    let subscribe = b"\x82\x86\x04\x0b/orders/sse\x01\x04test";
    // A field that there must not be.
    let malformed = [&subscribe[..], b"\x00\x0aconnection\x01x"].concat();
    attacker.send(&frame(HEADERS, END_HEADERS, 1, subscribe)).await;
    attacker.send(&frame(HEADERS, END_HEADERS, 3, &malformed)).await;
    attacker.until(1, |frame| frame.kind == RST_STREAM && frame.stream == 3).await;
    // An empty field a byte; 8 MiB are 60 of these.
    let more = frame(HEADERS, END_HEADERS | END_STREAM, 3, &[0x8f; 900]);
    attacker.send(&more.repeat(200)).await;
    attacker.is_read().await;
    assert!(is_taken(&other).await, "there is room");
    assert_eq!(metric(&program, SUBSCRIBERS).await, 1, "the connection goes on");
}

/// A connection that has begun a head, which goes on in frames that have yet to come.
async fn begin_head(server: &Server) -> TcpStream {
    let mut frames = Frames::connect(server.public).await;
    // POST.
    frames.send(&frame(HEADERS, 0, 1, &[0x83])).await;
    frames.0
}

#[tokio::test]
async fn a_head_for_which_there_is_no_room_harms_nobody_on_its_connection() {
    let program = Program::start(OPEN.trim(), &["--memory-limit=128Mi"]).await;
    let other = Http2::connect(program.public).await;
    // 8 MiB are 51 of these, which may become the largest ones.
    let mut begun = Vec::new();
    for _ in 0..60 {
        let mut frames = Frames::connect(program.public).await;
        frames.send(&frame(HEADERS, 0, 1, &[0x82; 1_000])[..10]).await;
        begun.push(frames);
    }
    let deadline = Instant::now() + PATIENCE;
    while is_taken(&other).await {
        assert!(Instant::now() < deadline, "there is room");
    }
    let proxy = Http2::connect(program.public).await;
    let mut sse = proxy.sse("/orders/sse", &[]).await;
    // What takes a byte for each character, so that it comes in two frames.
    let large = Request::get("http://test/nothing").header("cookie", "X".repeat(17_000));
    let asking = proxy.ask(large.body(()).unwrap(), None);
    let listening = async {
        for n in 0..10 {
            assert_eq!(program.post(&n.to_string()).await.status, 200);
            assert_eq!(sse.next_data().await, n.to_string());
        }
        drop(begun);
    };
    let (asked, ()) = tokio::join!(asking, listening);
    assert_eq!(asked.unwrap().0, StatusCode::NOT_FOUND, "it has its turn");
    assert_eq!(metric(&program, FAILED).await, 0);
}

#[tokio::test]
async fn a_head_for_which_there_is_no_room_for_long_ends_its_connection() {
    let program = Program::start(OPEN.trim(), &["--memory-limit=128Mi"]).await;
    // Requests that are not over take all there is.
    let mut attacker = Frames::connect(program.public).await;
    attacker.send(&all_streams(largest_head)).await;
    attacker.until(960, is_refusal).await;
    let mut frames = Frames::connect(program.public).await;
    frames.send(&frame(HEADERS, 0, 1, &[0x82; 1_000])).await;
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, frames.0.read_to_end(&mut rest)).await.expect("it is closed");
    assert_eq!(metric(&program, FAILED).await, 1);
}

#[tokio::test]
async fn a_head_that_goes_on_without_end_is_a_flood() {
    let server = Server::start(OPEN).await;
    let mut socket = begin_head(&server).await;
    let empty = [0, 0, 0, 9, 0, 0, 0, 0, 1];
    // It may be thrown out before it has sent all.
    let _ = socket.write_all(&empty.repeat(10_000)).await;
    let mut answer = Vec::new();
    let ended = timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
    let _ = ended.expect("it is thrown out");
    server.metric_becomes("weir_handshakes_failed_total{reason=\"flood\"} ", 1).await;
    let client = Http2::connect(server.public).await;
    assert_eq!(client.get("/nothing").await.0, 404);
}
