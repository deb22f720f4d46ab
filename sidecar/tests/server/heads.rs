//! What one connection of HTTP/2 may make of its requests' heads.

use http::{Request, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    client::Request as Plain,
    fixture::{OPEN, PATIENCE, Server},
    h2_client::Http2,
    program::Program,
};

const BUSY: &str = "weir_handshakes_failed_total{reason=\"busy\"} ";

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The fields of the largest head: each counts with 34 bytes.
const FIELDS: u8 = 60;
const TIMES: usize = 15;

/// In HPACK, a publish whose body never comes and nearly all the fields that a head may have, of a byte each.
fn largest_head(is_first: bool) -> Vec<u8> {
    // POST, http, the path, the host, and what the body is.
    let mut head =
        b"\x83\x86\x04\x0e/orders/events\x01\x04test\x0f\x10\x10application/json".to_vec();
    if is_first {
        // Names that the others refer to.
        (0..FIELDS)
            .for_each(|n| head.extend_from_slice(&[0x40, 2, b'a' + n / 10, b'0' + n % 10, 0]));
    }
    let again = TIMES - usize::from(is_first);
    (0..again).for_each(|_| head.extend((0..FIELDS).map(|n| 0x80 | (62 + n))));
    head
}

/// Opens as many streams with it as there may be.
fn all_streams() -> Vec<u8> {
    let mut attack = PREFACE.to_vec();
    for stream in (1_u32..).step_by(2).take(1_024) {
        let head = largest_head(stream == 1);
        let [_, size @ ..] = u32::try_from(head.len()).unwrap().to_be_bytes();
        attack.extend_from_slice(&size);
        // HEADERS with END_HEADERS, and the stream goes on.
        attack.extend_from_slice(&[1, 4]);
        attack.extend_from_slice(&stream.to_be_bytes());
        attack.extend_from_slice(&head);
    }
    attack
}

/// Reads until so many streams were reset because they were refused.
async fn are_refused(socket: &mut TcpStream, count: usize) {
    let (mut refused, mut frame) = (0, Vec::new());
    while refused < count {
        let mut header = [0; 9];
        timeout(PATIENCE, socket.read_exact(&mut header)).await.unwrap().unwrap();
        frame.resize(u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize, 0);
        timeout(PATIENCE, socket.read_exact(&mut frame)).await.unwrap().unwrap();
        assert_ne!(header[3], 7, "the connection goes on");
        // RST_STREAM (3) with REFUSED_STREAM (7).
        refused += usize::from(header[3] == 3 && frame == [0, 0, 0, 7]);
    }
}

#[tokio::test]
async fn the_largest_heads_in_all_streams_take_no_more_than_the_memory_for_heads() {
    let program = Program::start(OPEN.trim(), &["--memory-limit=128Mi"]).await;
    let other = Http2::connect(program.public).await;
    assert_eq!(other.get("/nothing").await.0, 404);
    let before = program.peak_kib();
    let mut attacker = TcpStream::connect(program.public).await.unwrap();
    attacker.write_all(&all_streams()).await.unwrap();
    // 8 MiB are 55 of them.
    are_refused(&mut attacker, 960).await;
    let took = program.peak_kib() - before;
    assert!(took < 24 * 1_024, "{took} KiB beside {before} KiB");
    let metrics = Plain::get("/metrics").send(program.admin).await.text();
    let busy = metrics.lines().find_map(|line| line.strip_prefix(BUSY)).unwrap();
    assert!(busy.parse::<usize>().unwrap() >= 960, "{busy}");
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

/// A connection that has begun a head, which goes on in frames that have yet to come.
async fn begin_head(server: &Server) -> TcpStream {
    let mut socket = TcpStream::connect(server.public).await.unwrap();
    let mut begun = PREFACE.to_vec();
    // HEADERS without END_HEADERS: POST.
    begun.extend_from_slice(&[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x83]);
    socket.write_all(&begun).await.unwrap();
    socket
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
