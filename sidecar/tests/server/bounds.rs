//! Slow subscribers, limits, and peers that say nothing.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::fixture::{OPEN, PATIENCE, Server};

/// A pipeline whose subscribers may fall behind by a hundred events.
const STRICT: &str = "
placement: {gateway: {}}
sources: [{name: app, http: {}}]
endpoints: {sse: {}, websocket: {}, publish: {anonymous: true}}
delivery: {maxLag: {events: 100, bytes: 1Gi}}
";

#[tokio::test]
async fn a_stalled_subscriber_is_cut_off_and_harms_nobody() {
    let server = Server::start(STRICT).await;
    let mut stalled = TcpStream::connect(server.public).await.unwrap();
    stalled.write_all(b"GET /orders/sse HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    let mut live = server.sse("").await;
    server.metric_becomes("weir_subscribers{pipeline=\"orders\",transport=\"sse\"} ", 2).await;
    // More than the kernel's buffers hold, in steps that the live one keeps up with.
    let filler = "x".repeat(64 * 1024);
    for n in 0..400 {
        server.post(&format!("\"{n} {filler}\"")).await;
        assert!(live.next_data().await.starts_with(&format!("\"{n} ")));
    }
    server.metric_becomes("weir_connections_cut_off_total{pipeline=\"orders\"} ", 1).await;
    server.metric_becomes("weir_subscribers{pipeline=\"orders\",transport=\"sse\"} ", 1).await;
    assert!(server.metric("weir_deliveries_dropped_total{pipeline=\"orders\"} ").await > Some(100));
    // What it was sent before is still there to be read; then the connection is over.
    let mut rest = Vec::new();
    let _ = stalled.read_to_end(&mut rest).await;
    assert!(!rest.is_empty());
}

#[tokio::test]
async fn a_replay_longer_than_the_lag_limit_is_not_cut_off() {
    let server = Server::start(STRICT).await;
    server.post_numbers(0..2_000).await;
    let mut sse = server.sse("?from=earliest").await;
    for n in 0..2_000 {
        assert_eq!(sse.next_data().await, format!("{{\"n\":{n}}}"));
    }
}

#[tokio::test]
async fn a_subscriber_may_not_talk_without_end() {
    let server = Server::start(OPEN).await;
    let mut socket = TcpStream::connect(server.public).await.unwrap();
    socket.write_all(b"GET /orders/sse HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    server.metric_becomes("weir_subscribers{pipeline=\"orders\",transport=\"sse\"} ", 1).await;
    let _ = socket.write_all(&vec![b'x'; 256 * 1024]).await;
    server.metric_becomes("weir_subscribers{pipeline=\"orders\",transport=\"sse\"} ", 0).await;
}

/// Waits until so many connections were of no use for this reason.
async fn failed(server: &Server, reason: &str, count: u64) {
    let metric = format!("weir_handshakes_failed_total{{reason=\"{reason}\"}} ");
    server.metric_becomes(&metric, count).await;
}

#[tokio::test]
async fn a_request_whose_head_is_too_large_is_refused() {
    let server = Server::start(OPEN).await;
    let mut socket = TcpStream::connect(server.public).await.unwrap();
    let head = format!("GET /orders/sse HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(128 * 1024));
    let _ = socket.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 431") || answer.is_empty());
    failed(&server, "head_too_large", 1).await;
    let mut socket = TcpStream::connect(server.public).await.unwrap();
    socket.write_all(b"\x16\x00no TLS either\r\n\r\n").await.unwrap();
    let _ = socket.read_to_end(&mut answer).await;
    failed(&server, "malformed", 1).await;
    assert_eq!(server.admin("/livez").await.status, 200);
}

#[tokio::test]
async fn a_request_that_does_not_say_once_which_host_it_is_for_is_refused() {
    let server = Server::start(OPEN).await;
    let twice = "host: a\r\nhost: b\r\n";
    for (hosts, reason) in [("", "is missing"), (twice, "given twice"), ("host: a b\r\n", "a name")]
    {
        let mut socket = TcpStream::connect(server.public).await.unwrap();
        let head = format!("GET /orders/sse HTTP/1.1\r\n{hosts}\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
        read.expect("the connection is closed").unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.contains("problem/host") && answer.contains(reason), "{answer}");
    }
    failed(&server, "malformed", 3).await;
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_closed_and_one_that_has_asked_is_kept() {
    let server = Server::start(OPEN).await;
    let connect = || TcpStream::connect(server.public);
    let (mut silent, mut slow, mut kept) =
        tokio::try_join!(connect(), connect(), connect()).unwrap();
    slow.write_all(b"GET /orders/s").await.unwrap();
    let request = b"GET /nothing HTTP/1.1\r\nhost: t\r\n\r\n";
    kept.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    kept.read_buf(&mut answer).await.unwrap();
    let mut rest = Vec::new();
    let closed = async {
        let _ = silent.read_to_end(&mut rest).await;
        let _ = slow.read_to_end(&mut rest).await;
    };
    timeout(PATIENCE, closed).await.expect("both are closed after ten seconds");
    failed(&server, "silent", 1).await;
    failed(&server, "slow", 1).await;
    kept.write_all(request).await.unwrap();
    answer.clear();
    assert!(kept.read_buf(&mut answer).await.unwrap() > 0);
}

#[tokio::test]
async fn a_flood_of_pings_costs_neither_memory_nor_the_others_time() {
    let server = Server::start(OPEN).await;
    let mut flooder = server.web_socket("").await;
    let mut live = server.sse("").await;
    let flood: Vec<u8> = b"\x89\x84\x00\x00\x00\x00ping".repeat(20_000);
    let before = resident_kib();
    // It sends and never reads.
    let flooding =
        tokio::spawn(async move { while flooder.socket.write_all(&flood).await.is_ok() {} });
    for n in 0..200 {
        server.post(&n.to_string()).await;
        assert_eq!(live.next_data().await, n.to_string());
    }
    flooding.abort();
    assert!(resident_kib() < before + 64 * 1024, "from {before} to {} KiB", resident_kib());
}

/// The memory of this process, which is client and server at once.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Asks for nothing, and keeps the connection.
async fn ask(socket: &mut TcpStream) -> bool {
    let mut answer = Vec::new();
    let asked = async {
        socket.write_all(b"GET /nothing HTTP/1.1\r\nhost: t\r\n\r\n").await?;
        // The problem is an object.
        while !answer.ends_with(b"}") && socket.read_buf(&mut answer).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    let asked = timeout(PATIENCE, asked).await.unwrap();
    asked.is_ok() && answer.starts_with(b"HTTP/1.1 404 ")
}

#[tokio::test]
async fn strangers_keep_neither_the_application_nor_subscribers_out() {
    let server = Server::start(OPEN).await;
    let neighbour = TcpSocket::new_v4().unwrap();
    neighbour.bind((Ipv4Addr::new(127, 0, 0, 2), 0).into()).unwrap();
    let mut neighbour = neighbour.connect(server.public).await.unwrap();
    assert!(ask(&mut neighbour).await);
    let mut strangers = Vec::new();
    while strangers.len() < 4_200 {
        let Ok(Ok(mut socket)) = timeout(PATIENCE, TcpStream::connect(server.public)).await else {
            break;
        };
        // All places are taken by whoever has asked once, and then does nothing.
        if strangers.len() < 4_090 {
            assert!(ask(&mut socket).await);
        }
        strangers.push(socket);
    }
    assert_eq!(server.post("1").await.status, 200);
    let mut sse = timeout(PATIENCE, server.sse("")).await.expect("a place");
    server.post("2").await;
    assert_eq!(sse.next_data().await, "2");
    assert!(ask(&mut neighbour).await, "who has one connection keeps it");
    assert!(server.metric("weir_handshakes_failed_total{reason=\"idle\"} ").await > Some(0));
}

#[tokio::test]
async fn a_stream_that_is_asked_for_behind_an_unread_answer_comes_behind_it() {
    let open = OPEN.replace("endpoints: {", "endpoints: {read: {}, ");
    let server = Server::start(&open).await;
    for n in 0..10 {
        server.post(&format!("\"{n}{}\"", "x".repeat(100_000))).await;
    }
    let mut client = TcpStream::connect(server.public).await.unwrap();
    let both = b"GET /orders/events?limit=10 HTTP/1.1\r\nhost: t\r\n\r\n\
                 GET /orders/sse HTTP/1.1\r\nhost: t\r\n\r\n";
    client.write_all(both).await.unwrap();
    // Both requests are there, and no more of the page than the kernel holds.
    server.metric_becomes("weir_reads_total{pipeline=\"orders\"} ", 1).await;
    server.post("1").await;
    let mut got = Vec::new();
    let has = |got: &[u8], what: &str| got.windows(what.len()).any(|part| part == what.as_bytes());
    while !has(&got, "retry: ") {
        assert!(timeout(PATIENCE, client.read_buf(&mut got)).await.unwrap().unwrap() > 0);
    }
    let got = String::from_utf8(got).unwrap();
    let (head, rest) = got.split_once("\r\n\r\n").unwrap();
    let length = head.to_ascii_lowercase();
    let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let (page, stream) = rest.split_at(length.parse().unwrap());
    assert!(page.starts_with('{') && page.ends_with('}'), "{} bytes", page.len());
    assert!(stream.starts_with("HTTP/1.1 200 OK\r\n"), "{}", stream.get(..200).unwrap_or(stream));
}

#[tokio::test]
async fn the_signs_of_life_of_those_who_came_together_are_spread() {
    const HEARTBEAT: Duration = Duration::from_secs(4);
    let server = Server::start(&OPEN.replace("sse: {}", "sse: {heartbeat: 4s}")).await;
    let public = server.public;
    let first = (0..64).map(|_| {
        tokio::spawn(async move {
            let mut socket = TcpStream::connect(public).await.unwrap();
            socket.write_all(b"GET /orders/sse HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
            let (start, mut read) = (Instant::now(), Vec::new());
            while !read.windows(3).any(|bytes| bytes == b"\n:\n") {
                let more = timeout(PATIENCE, socket.read_buf(&mut read)).await.unwrap().unwrap();
                assert!(more > 0, "the stream has ended");
            }
            start.elapsed()
        })
    });
    let mut times = Vec::new();
    for one in first.collect::<Vec<_>>() {
        times.push(one.await.unwrap());
    }
    let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    // A connection counts in quarters of a second: without chance they would all fall into one.
    assert!(*least >= HEARTBEAT * 9 / 10 - Duration::from_millis(250), "{least:?}");
    assert!(*most - *least >= HEARTBEAT / 10, "from {least:?} to {most:?}");
}
