//! What one client may do, and that the others don't notice when it does more.

use std::{fs, net::Ipv4Addr, path::Path, time::Duration};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    client::{Frame, Request, Sse, WebSocket},
    fixture::{OPEN, PATIENCE, Server},
};

/// A connection from one of the addresses of this machine.
pub(crate) async fn connect_from(server: &Server, last: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).unwrap();
    socket.connect(server.public).await.unwrap()
}

async fn sse_from(server: &Server, last: u8) -> Sse {
    Sse::ask(Box::new(connect_from(server, last).await), "/orders/sse", &[]).await
}

fn limited(delivery: &str) -> String {
    format!("{OPEN}\ndelivery: {{{delivery}}}")
}

const OF_ADDRESS: &str = "too_many_connections_of_address";

#[tokio::test]
async fn an_address_has_as_many_connections_as_it_may_and_another_has_its_own() {
    let server = Server::start(&limited("maxConnectionsPerAddress: 2")).await;
    let (first, mut second) = (sse_from(&server, 1).await, sse_from(&server, 1).await);
    let mut third = sse_from(&server, 1).await;
    assert!(third.next().await.unwrap().data.contains(OF_ADDRESS));
    let script = Request::get("/orders/sse").send(server.public).await;
    assert_eq!((script.status, script.text().contains(OF_ADDRESS)), (503, true));
    let mut other = sse_from(&server, 2).await;
    server.post("1").await;
    assert_eq!((second.next_data().await, other.next_data().await), ("1".into(), "1".into()));
    drop(first);
    server.metric_becomes("weir_subscribers{pipeline=\"orders\",transport=\"sse\"} ", 2).await;
    let mut fourth = sse_from(&server, 1).await;
    server.post("2").await;
    assert_eq!(fourth.next_data().await, "2");
    let refused = format!(
        "weir_connections_refused_total{{pipeline=\"orders\",transport=\"sse\",reason=\"{OF_ADDRESS}\"}} "
    );
    assert_eq!(server.metric(&refused).await, Some(2));
}

#[tokio::test]
async fn the_subscriptions_of_a_socket_count_as_one_connection_in_whatever_order_they_end() {
    let server = Server::start(&limited("maxConnectionsPerAddress: 1")).await;
    let language = [("sec-websocket-protocol", "weir.v1")];
    let mut socket = server.web_socket_with(&language).await;
    assert_eq!(socket.next_json().await["type"], "hello");
    for (kind, id) in
        [("subscribe", "a"), ("subscribe", "b"), ("unsubscribe", "b"), ("unsubscribe", "a")]
    {
        let request = json!({ "type": kind, "id": id }).to_string();
        socket.send(1, request.as_bytes()).await;
        assert_eq!(socket.next_json().await["type"], format!("{kind}d"));
        let mut another = server.sse("").await;
        assert!(another.next().await.unwrap().data.contains(OF_ADDRESS), "after {request}");
    }
    drop(socket);
    server
        .metric_becomes("weir_subscribers{pipeline=\"orders\",transport=\"websocket\"} ", 0)
        .await;
    let mut another = server.sse("").await;
    server.post("1").await;
    assert_eq!(another.next_data().await, "1");
}

#[tokio::test]
async fn a_page_that_is_loaded_anew_finds_the_seat_that_it_leaves() {
    for bound in ["maxConnectionsPerAddress: 1", "maxConnections: 1"] {
        let server = Server::start(&limited(bound)).await;
        let mut page = server.sse("").await;
        // As a browser does it: the old connection is closed as the new one asks.
        for n in 0..50 {
            let socket = connect_from(&server, 1).await;
            drop(page);
            page = Sse::ask(Box::new(socket), "/orders/sse", &[]).await;
            server.post(&n.to_string()).await;
            assert_eq!(page.next_data().await, n.to_string(), "{bound}");
        }
        // Where the end of the old one is still on its way when the new one asks, that is waited for.
        let mut socket = connect_from(&server, 1).await;
        socket
            .write_all(b"GET /orders/sse HTTP/1.1\r\nhost: t\r\naccept: text/event-stream\r\n\r\n")
            .await
            .unwrap();
        let mut head = [0; 15];
        let early = timeout(Duration::from_millis(100), socket.read_exact(&mut head)).await;
        assert!(early.is_err(), "{bound}: it was answered before the other had left");
        drop(page);
        timeout(PATIENCE, socket.read_exact(&mut head)).await.unwrap().unwrap();
        server.post("\"now\"").await;
        let mut got = Vec::new();
        while !String::from_utf8_lossy(&got).contains("data: \"now\"") {
            let read = timeout(PATIENCE, socket.read_buf(&mut got)).await.unwrap().unwrap();
            assert!(read > 0, "{bound}: {}", String::from_utf8_lossy(&got));
        }
        let page =
            WebSocket::shake_hands(Box::new(connect_from(&server, 1).await), "/orders/ws", &[]);
        drop(socket);
        let mut page = page.await;
        assert_eq!(page.next_json().await["control"], "open", "{bound}");
        // Whoever stays keeps its seat.
        let mut other = server.sse("").await;
        assert_eq!(other.next().await.unwrap().name, "failure", "{bound}");
    }
}

/// Whether a connection is served, and not closed at once.
async fn is_served(mut socket: TcpStream) -> bool {
    let request = b"GET /nothing HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";
    let mut answer = Vec::new();
    // Either may fail where the connection is closed by then.
    let _ = socket.write_all(request).await;
    let _ = timeout(PATIENCE, socket.read_to_end(&mut answer)).await.unwrap();
    answer.starts_with(b"HTTP/1.1 404 ")
}

#[tokio::test]
async fn an_address_that_opens_too_many_connections_a_second_is_refused_and_another_is_not() {
    let server = Server::start(&limited("maxHandshakesPerAddress: 5")).await;
    let mut arrived = Vec::new();
    for _ in 0..100 {
        arrived.push(connect_from(&server, 1).await);
    }
    let mut refused = 0;
    for socket in arrived {
        refused += u64::from(!is_served(socket).await);
    }
    // To connect takes milliseconds, in which hardly one more is earned.
    assert!((1..=95).contains(&refused), "{refused}");
    assert!(is_served(connect_from(&server, 2).await).await);
    let failed = "weir_handshakes_failed_total{reason=\"too_many_of_address\"} ";
    assert_eq!(server.metric(failed).await, Some(refused));
    // The application comes by another door.
    assert_eq!(server.post("1").await.status, 200);
    let earned = async {
        while !is_served(connect_from(&server, 1).await).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, earned).await.unwrap();
    // What is no longer bounded is served at any rate.
    server.app.apply(crate::fixture::config(OPEN, None));
    for _ in 0..20 {
        assert!(is_served(connect_from(&server, 1).await).await);
    }
}

/// Pings in one piece, as many as that.
fn pings(count: usize) -> Vec<u8> {
    b"\x89\x81\0\0\0\0p".repeat(count)
}

const SLOW_TO_TALK: &str = "
placement: {gateway: {}}
sources: [{name: app, http: {}}]
endpoints: {sse: {}, websocket: {maxMessageRate: 5}, publish: {anonymous: true}}
";

const TOO_MANY: &str = "weir_connections_refused_total{pipeline=\"orders\",transport=\"websocket\",reason=\"too_many_messages\"} ";

#[tokio::test]
async fn a_client_that_sends_too_much_is_closed_and_one_at_its_rate_is_not() {
    let server = Server::start(SLOW_TO_TALK).await;
    let (mut quiet, mut loud) = (server.web_socket("").await, server.web_socket("").await);
    quiet.socket.write_all(&pings(5)).await.unwrap();
    loud.socket.write_all(&pings(6)).await.unwrap();
    let mut last = loud.next().await;
    while let Some(Frame::Pong(_)) = last {
        last = loud.next().await;
    }
    assert_eq!(last, Some(Frame::Close(Some(1008))));
    for _ in 0..5 {
        assert_eq!(quiet.next().await, Some(Frame::Pong(b"p".to_vec())));
    }
    server.post("1").await;
    assert_eq!(quiet.next_json().await["data"], 1);
    assert_eq!(server.metric(TOO_MANY).await, Some(1));
}

#[tokio::test]
async fn a_message_in_very_many_fragments_is_as_many_frames() {
    let server = Server::start(SLOW_TO_TALK).await;
    let mut socket = server.web_socket("").await;
    let mut fragments = b"\x01\x80\0\0\0\0".to_vec();
    fragments.extend_from_slice(&b"\x00\x80\0\0\0\0".repeat(10));
    socket.socket.write_all(&fragments).await.unwrap();
    assert_eq!(socket.next().await, Some(Frame::Close(Some(1008))));
}

#[tokio::test]
async fn a_publisher_that_sends_too_much_is_held_back_and_loses_nothing() {
    let server = Server::start(SLOW_TO_TALK).await;
    let mut reader: WebSocket = server.web_socket("").await;
    let language = [("sec-websocket-protocol", "weir.v1")];
    let mut publisher = server.web_socket_with(&language).await;
    assert_eq!(publisher.next_json().await["type"], "hello");
    for n in 0..12 {
        let publish = json!({ "type": "publish", "id": n.to_string(), "data": n });
        publisher.send(1, publish.to_string().as_bytes()).await;
    }
    for n in 0..12 {
        assert_eq!(publisher.next_json().await["id"], n.to_string());
        assert_eq!(reader.next_json().await["data"], n);
    }
    assert!(server.metric(TOO_MANY).await > Some(0));
}

const WAITED_FOR: &str = "
placement: {gateway: {}}
sources: [{name: app, http: {}}]
endpoints: {sse: {}, read: {}, publish: {anonymous: true}, durableStreams: {anonymous: true}}
delivery: {maxConnectionsPerAddress: 1}
";

#[tokio::test]
async fn who_waits_by_a_request_has_the_place_of_a_connection() {
    let server = Server::start(WAITED_FOR).await;
    let room = "/orders/streams/room";
    let create = Request::new("PUT", room).header("content-type", "text/plain");
    assert_eq!(create.send(server.public).await.status, 201);
    let wait = "/orders/events?from=latest&wait=20s";
    let long_poll = format!("{room}?offset=now&live=long-poll");
    let stream = format!("{room}?offset=now&live=sse");
    let refused = async {
        server.metric_becomes("weir_readers_waiting{pipeline=\"orders\"} ", 1).await;
        for path in [wait, &long_poll, &stream] {
            let answer = Request::get(path).send(server.public).await;
            assert_eq!((answer.status, answer.text().contains(OF_ADDRESS)), (503, true), "{path}");
        }
        assert!(server.sse("").await.next().await.unwrap().data.contains(OF_ADDRESS));
        let other = connect_from(&server, 2).await;
        let other = tokio::spawn(Request::get(wait).send_over(other));
        server.metric_becomes("weir_readers_waiting{pipeline=\"orders\"} ", 2).await;
        assert_eq!(
            server.metric("weir_subscribers{pipeline=\"orders\",transport=\"sse\"} ").await,
            Some(0)
        );
        server.post("1").await;
        assert_eq!(other.await.unwrap().status, 200);
    };
    let (waited, ()) = tokio::join!(Request::get(wait).send(server.public), refused);
    assert_eq!(waited.json()["events"][0]["data"], 1);
    server.metric_becomes("weir_readers_waiting{pipeline=\"orders\"} ", 0).await;
    let reason =
        format!("weir_requests_refused_total{{pipeline=\"orders\",reason=\"{OF_ADDRESS}\"}} ");
    assert_eq!(server.metric(&reason).await, Some(3));
}

#[tokio::test]
async fn where_addresses_tell_clients_apart_one_has_a_part_of_the_places() {
    let server = Server::start(&limited("maxConnectionsPerAddress: 1")).await;
    let mut idle = Vec::new();
    for _ in 0..65 {
        let mut socket = connect_from(&server, 1).await;
        socket.write_all(b"GET /nothing HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
        assert!(timeout(PATIENCE, socket.read_u8()).await.unwrap().is_ok());
        idle.push(socket);
    }
    assert!(!is_served(connect_from(&server, 1).await).await);
    let failed = "weir_handshakes_failed_total{reason=\"too_many_of_address\"} ";
    assert_eq!(server.metric(failed).await, Some(1));
    assert!(is_served(connect_from(&server, 2).await).await);
    drop(idle);
    let free = async { while !is_served(connect_from(&server, 1).await).await {} };
    timeout(PATIENCE, free).await.unwrap();
}

#[test]
fn the_page_of_limits_says_what_the_program_keeps_to() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("../docs/limits.md")).unwrap();
    let mut checked = 0;
    // Behind each number stands the constant that it comes from.
    for claim in page.split("<!-- ").skip(1) {
        let claim = claim.split(" -->").next().unwrap();
        let (file, constant) = claim.split_once(": ").unwrap();
        let (name, value) = constant.split_once(" = ").unwrap();
        let source = fs::read_to_string(root.join("src").join(file)).unwrap();
        let found = source.split(&format!("const {name}: ")).nth(1);
        let found = found.and_then(|rest| rest.split(';').next()?.split_once(" = "));
        assert_eq!(found.map(|(_, value)| value), Some(value), "docs/limits.md is stale: {claim}");
        checked += 1;
    }
    assert!(checked > 40, "{checked}");
}
