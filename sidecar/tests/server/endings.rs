//! Why connections ended, as the metrics say it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    client::{Frame, Request, WebSocket},
    fixture::{OPEN, PATIENCE, Server, config},
    h2_client::Http2,
    session::{Client, two_pipelines},
};

/// Waits until so many connections over a transport have ended for a reason.
pub(crate) async fn ended(server: &Server, transport: &str, reason: &str, count: u64) {
    let metric = "weir_connections_ended_total{pipeline=\"orders\",transport=";
    let line = format!("{metric}\"{transport}\",reason=\"{reason}\"}} ");
    server.metric_becomes(&line, count).await;
}

#[tokio::test]
async fn who_leaves_is_told_from_who_breaks_the_protocol() {
    let server = Server::start(OPEN).await;
    drop(server.sse("").await);
    ended(&server, "sse", "client", 1).await;
    let mut socket = server.web_socket("").await;
    socket.send(8, &1000_u16.to_be_bytes()).await;
    assert_eq!(socket.next().await, Some(Frame::Close(Some(1000))));
    drop(socket);
    drop(server.web_socket("").await);
    ended(&server, "websocket", "client", 2).await;
    let mut session = Client::open(&server).await;
    session.ask(json!({"type": "subscribe", "id": "a"}), "subscribed").await;
    drop(session);
    ended(&server, "websocket", "client", 3).await;
    let mut plain = server.web_socket("").await;
    plain.socket.write_all(b"\x81\x01x").await.unwrap();
    assert_eq!(plain.next().await, Some(Frame::Close(Some(1002))));
    drop(plain);
    let mut session = Client::open(&server).await;
    session.0.send(2, b"bytes").await;
    assert_eq!(session.0.next().await, Some(Frame::Close(Some(1003))));
    drop(session);
    ended(&server, "websocket", "breach", 2).await;
    ended(&server, "websocket", "broken", 0).await;
}

#[tokio::test]
async fn who_is_sent_away_counts_under_what_for() {
    let at_once = format!("{OPEN}\ndelivery: {{drain: {{window: 0s}}}}");
    let server = Server::start(&at_once).await;
    let (mut socket, mut session) = (server.web_socket("").await, Client::open(&server).await);
    let mut sse = server.sse("").await;
    server.app.apply(config(&at_once.replace("websocket: {}, ", ""), None));
    while socket.next().await.is_some() {}
    while session.0.next().await.is_some() {}
    ended(&server, "websocket", "changed", 2).await;
    ended(&server, "sse", "changed", 0).await;
    assert_eq!(Request::post("/drain").send(server.admin).await.status, 200);
    while sse.next().await.is_some() {}
    ended(&server, "sse", "drain", 1).await;
    ended(&server, "sse", "client", 0).await;
}

/// How many connections have ended, for whatever reason, and how many are there.
async fn accounted_for(server: &Server) -> u64 {
    let text = server.admin("/metrics").await.text();
    let counts = ["weir_connections_ended_total{pipeline=", "weir_subscribers{pipeline="];
    let lines = text.lines().filter(|line| counts.iter().any(|count| line.starts_with(count)));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// Waits until each of so many that were opened has ended or is there.
async fn all_are_accounted_for(server: &Server, opened: u64) {
    let deadline = Instant::now() + PATIENCE;
    let mut found = accounted_for(server).await;
    while found != opened {
        assert!(Instant::now() < deadline, "{found} are accounted for, of {opened}");
        sleep(Duration::from_millis(20)).await;
        found = accounted_for(server).await;
    }
}

/// Pings in one piece, as many as that.
fn pings(count: usize) -> Vec<u8> {
    b"\x89\x81\0\0\0\0p".repeat(count)
}

/// A connection with little room for what isn't read, on which SSE has begun.
async fn narrow(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let mut socket = socket.connect(server.public).await.unwrap();
    socket.write_all(b"GET /orders/sse HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    let mut status = [0; 12];
    socket.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    socket
}

/// Posts so many megabytes.
async fn post_much(server: &Server, megabytes: usize) {
    let large = format!("\"{}\"", "x".repeat(100_000));
    for _ in 0..10 * megabytes {
        assert_eq!(server.post(&large).await.status, 200);
    }
}

const STRICT: &str = "
placement: {gateway: {}}
sources: [{name: app, http: {}}]
endpoints: {sse: {}, websocket: {ping: 1s, maxMessageRate: 20}, publish: {anonymous: true}}
delivery: {maxLag: {events: 20}}
";

/// Sends more than a client may, and is closed for it.
async fn talk_too_much(server: &Server) {
    let mut loud = server.web_socket("").await;
    loud.socket.write_all(&pings(21)).await.unwrap();
    let mut last = loud.next().await;
    while let Some(Frame::Pong(_)) = last {
        last = loud.next().await;
    }
    assert_eq!(last, Some(Frame::Close(Some(1008))));
}

#[tokio::test]
async fn whoever_has_come_is_there_or_has_ended_for_one_reason() {
    let server = Server::start(STRICT).await;
    let client = Http2::connect(server.public).await;
    let (mut staying, read) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    for mut sse in [server.sse("").await, client.sse("/orders/sse", &[]).await] {
        sse.until_line("").await;
        let read = Arc::clone(&read);
        staying.spawn(async move {
            while sse.next().await.is_some_and(|event| event.name == "message") {
                read.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    all_are_accounted_for(&server, 2).await;
    let mut leaving = server.sse("").await;
    leaving.until_line("").await;
    drop(leaving);
    let breaking = narrow(&server).await;
    socket2::SockRef::from(&breaking).set_linger(Some(Duration::ZERO)).unwrap();
    drop(breaking);
    let mut strange = server.web_socket("").await;
    strange.socket.write_all(b"\x81\x01x").await.unwrap();
    assert_eq!(strange.next().await, Some(Frame::Close(Some(1002))));
    drop(strange);
    talk_too_much(&server).await;
    // Each of these is asked whether it is there, and says nothing.
    let (mut silent, mut session) = (server.web_socket("").await, Client::open(&server).await);
    let mut inside = client.web_socket("/orders/ws").await;
    for socket in [&mut silent, &mut session.0, &mut inside] {
        while let Some(frame) = socket.next().await {
            assert!(matches!(frame, Frame::Ping(_) | Frame::Text(_)), "{frame:?}");
        }
    }
    let _stalled = narrow(&server).await;
    let large = format!("\"{}\"", "x".repeat(100_000));
    for n in 1..=80 {
        assert_eq!(server.post(&large).await.status, 200);
        // So that these two are never behind.
        let deadline = Instant::now() + PATIENCE;
        while read.load(Ordering::Relaxed) < 2 * n {
            assert!(Instant::now() < deadline, "they don't read on");
            sleep(Duration::from_millis(1)).await;
        }
    }
    for (transport, reason, count) in [
        ("sse", "client", 1),
        ("sse", "broken", 1),
        ("sse", "slow_consumer", 1),
        ("websocket", "breach", 1),
        ("websocket", "too_many_messages", 1),
        ("websocket", "unanswered", 3),
    ] {
        ended(&server, transport, reason, count).await;
    }
    all_are_accounted_for(&server, 10).await;
    assert_eq!(staying.len(), 2);
    server.app.drain(Duration::ZERO).await;
    staying.join_all().await;
    ended(&server, "sse", "drain", 2).await;
    all_are_accounted_for(&server, 10).await;
}

#[tokio::test]
async fn who_reaches_its_age_is_counted_under_that() {
    let server = Server::start(&format!("{OPEN}\ndelivery: {{maxConnectionAge: 10s}}")).await;
    let client = Http2::connect(server.public).await;
    let (mut sse, mut inside) = (server.sse("").await, client.sse("/orders/sse", &[]).await);
    let (mut socket, mut session) = (server.web_socket("").await, Client::open(&server).await);
    for sse in [&mut sse, &mut inside] {
        assert_eq!(sse.next().await.unwrap().name, "draining");
        assert_eq!(sse.next().await, None);
    }
    assert_eq!(socket.next_json().await["control"], "draining");
    for socket in [&mut socket, &mut session.0] {
        assert_eq!(socket.next().await, Some(Frame::Close(Some(1012))));
    }
    drop((socket, session));
    ended(&server, "sse", "age", 2).await;
    ended(&server, "websocket", "age", 2).await;
    all_are_accounted_for(&server, 4).await;
}

#[tokio::test]
async fn a_filter_that_costs_too_much_ends_who_has_it_and_nobody_else() {
    let server = Server::start(OPEN).await;
    // Comparing a long text with many is what costs; so each event takes as much as one may.
    let filter = format!("event.source%20in%20[{}]", vec!["''"; 310].join(","));
    let query = format!("?filter={filter}");
    let mut costly = server.sse(&query).await;
    let (mut cheap, mut events) = (server.sse("?filter=event.data%20%3D%3D%202").await, 0);
    let (source, lines) = (format!("/{}", "s".repeat(2_000)), "1\n".repeat(2_000));
    let deadline = Instant::now() + 3 * PATIENCE;
    let reason = "reason=\"filter_too_costly\"} ";
    let line =
        format!("weir_connections_ended_total{{pipeline=\"orders\",transport=\"sse\",{reason}");
    while server.metric(&line).await != Some(1) {
        assert!(Instant::now() < deadline, "it goes on after {events} events");
        let request = Request::post("/orders/events").header("ce-source", &source);
        let request = request.header("content-type", "application/x-ndjson");
        let answer = request.body(&lines).send(server.publish).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        events += 2_000;
    }
    // It looked at fewer events than came, and was told of those that the log has lost meanwhile.
    let mut told = costly.next().await.unwrap();
    while told.name == "gap" {
        told = costly.next().await.unwrap();
    }
    assert!(told.name == "failure" && told.data.contains("filter_too_costly"), "{told:?}");
    assert_eq!(costly.next().await, None);
    let mut again = server.sse(&query).await;
    assert!(again.next().await.unwrap().data.contains("filter_too_costly"));
    server.post("2").await;
    let mut got = cheap.next().await.unwrap();
    while got.name == "gap" {
        got = cheap.next().await.unwrap();
    }
    assert_eq!(got.data, "2");
}

/// Waits as long as it takes a minute to be over.
async fn ends_after_all(server: &Server, transport: &str, reason: &str, count: u64) {
    let metric = "weir_connections_ended_total{pipeline=\"orders\",transport=";
    let line = format!("{metric}\"{transport}\",reason=\"{reason}\"}} ");
    let deadline = Instant::now() + Duration::from_secs(90);
    while server.metric(&line).await != Some(count) {
        assert!(Instant::now() < deadline, "{transport} {reason}");
        sleep(Duration::from_millis(500)).await;
    }
}

/// Begins a message, and goes on saying that it is there, until it is closed.
async fn never_ends_a_message(server: &Server) {
    let mut session = Client::open(server).await.0;
    session.socket.write_all(b"\x01\x83\0\0\0\0{\"t").await.unwrap();
    let mut last = Some(Frame::Text(String::new()));
    while let Some(frame) = next_within_a_minute(&mut session).await {
        if let Frame::Ping(payload) = &frame {
            session.send(10, payload).await;
        }
        last = Some(frame);
    }
    assert_eq!(last, Some(Frame::Close(Some(1008))));
}

/// The next frame, for which a socket waits longer than most.
async fn next_within_a_minute(socket: &mut WebSocket) -> Option<Frame> {
    // A read that is given up has taken nothing.
    let next = async {
        loop {
            if let Some(frame) = socket.take_frame() {
                return Some(frame);
            }
            if !socket.read_more().await {
                return None;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(90), next).await.unwrap()
}

#[tokio::test]
async fn who_takes_nothing_or_ends_nothing_is_counted_under_that() {
    let server = Server::start(&format!("{OPEN}\ndelivery: {{maxLag: {{bytes: 64Mi}}}}")).await;
    let stalled = async {
        let _stalled = narrow(&server).await;
        let mut session = Client::open(&server).await;
        session.ask(json!({"type": "subscribe", "id": "a"}), "subscribed").await;
        post_much(&server, 12).await;
        ends_after_all(&server, "sse", "stalled", 1).await;
        ends_after_all(&server, "websocket", "stalled", 1).await;
    };
    tokio::join!(stalled, never_ends_a_message(&server));
    ended(&server, "websocket", "slow_message", 1).await;
    all_are_accounted_for(&server, 3).await;
}

/// How many connections to a pipeline have ended for a reason, over WebSocket.
async fn ended_of(server: &Server, pipeline: &str, reason: &str, count: u64) {
    let labels = format!("pipeline=\"{pipeline}\",transport=\"websocket\"");
    let line = format!("weir_connections_ended_total{{{labels},reason=\"{reason}\"}} ");
    server.metric_becomes(&line, count).await;
}

#[tokio::test]
async fn each_subscription_of_a_session_is_there_or_has_ended() {
    let server = Server::start_with(two_pipelines()).await;
    let mut session = Client::open(&server).await;
    all_are_accounted_for(&server, 1).await;
    for (id, pipeline) in [("a", "orders"), ("b", "orders"), ("c", "returns"), ("d", "returns")] {
        let subscribe = json!({"type": "subscribe", "id": id, "pipeline": pipeline});
        session.ask(subscribe, "subscribed").await;
    }
    // The first has the socket's own place.
    all_are_accounted_for(&server, 4).await;
    let bad = json!({"type": "subscribe", "id": "e", "pipeline": "returns", "filter": "event."});
    session.ask(bad, "failure").await;
    all_are_accounted_for(&server, 4).await;
    for (id, pipeline, left) in [("b", "orders", 1), ("a", "orders", 1), ("c", "returns", 1)] {
        session.ask(json!({"type": "unsubscribe", "id": id}), "unsubscribed").await;
        ended_of(&server, pipeline, "client", left).await;
        all_are_accounted_for(&server, 4).await;
    }
    // The socket has a place by itself again, and comes back to its pipeline with it.
    session.ask(json!({"type": "subscribe", "id": "f"}), "subscribed").await;
    all_are_accounted_for(&server, 4).await;
    server.app.drain(Duration::ZERO).await;
    while session.0.next().await.is_some() {}
    drop(session);
    for (pipeline, reason, count) in [
        ("orders", "drain", 1),
        ("orders", "client", 1),
        ("returns", "drain", 1),
        ("returns", "client", 1),
    ] {
        ended_of(&server, pipeline, reason, count).await;
    }
    all_are_accounted_for(&server, 4).await;
}
