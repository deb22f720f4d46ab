//! What else goes over a WebSocket while a large event does, to a client that reads slowly.

use std::{net::SocketAddr, time::Duration};

use h2::client::Builder;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::net::{TcpSocket, TcpStream};

use crate::{
    client::{Frame, Socket, WebSocket},
    fixture::{OPEN, Server},
    h2_client::Http2,
    session::Client,
    tls,
};

const DEFLATE: (&str, &str) = ("sec-websocket-extensions", "permessage-deflate");
const V1: (&str, &str) = ("sec-websocket-protocol", "weir.v1");
const CLOUDEVENTS: (&str, &str) = ("sec-websocket-protocol", "cloudevents.json");
const WEB_SOCKETS: &str = "weir_subscribers{pipeline=\"orders\",transport=\"websocket\"} ";

/// A text that makes an event of a mebibyte, and that no compression makes small.
fn large() -> String {
    let letter = || char::from(fastrand::u8(b'a'..=b'z'));
    std::iter::repeat_with(letter).take(1024 * 1024 - 2).collect()
}

async fn start(more: &str) -> Server {
    let spec = OPEN.replace("websocket: {}", "websocket: {compression: {}}");
    Server::start(&format!("{spec}\n{more}")).await
}

/// A socket for which the kernel keeps little: so the event is with the server while it isn't read.
pub(crate) async fn narrow(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.connect(to).await.unwrap()
}

pub(crate) async fn subscribe(socket: Socket, headers: &[(&str, &str)]) -> WebSocket {
    let mut socket = WebSocket::shake_hands(socket, "/orders/ws", headers).await;
    assert!(socket.head.starts_with("HTTP/1.1 101"), "{}", socket.head);
    // The opening, or hello.
    let opening = socket.next_json().await;
    opening["cursor"].as_str().unwrap_or_default().clone_into(&mut socket.opened_at);
    socket
}

/// Publishes a large event, and reads of it two frames. Gives what was published, and its cursor.
pub(crate) async fn begin(server: &Server, socket: &mut WebSocket) -> (String, String) {
    let event = large();
    let answer = server.post(&json!(event).to_string()).await.json();
    socket.frames.clear();
    socket.read_frames(2).await;
    (event, answer["cursor"].as_str().unwrap().to_owned())
}

/// Pings within a large event: the pong comes within it, too, and the event is whole.
async fn ping(server: &Server, mut socket: WebSocket, data: &str) {
    let (event, _) = begin(server, &mut socket).await;
    socket.send(9, b"are you there?").await;
    assert_eq!(socket.next().await, Some(Frame::Pong(b"are you there?".to_vec())));
    let got = socket.next_json().await;
    assert!(*got.pointer(data).unwrap() == event, "the event is what was posted");
    let first = if socket.head.contains("permessage-deflate") { 0x41 } else { 0x01 };
    let kinds: Vec<u8> = socket.frames.iter().map(|(kind, _)| *kind).collect();
    let (pong, last) = (kinds.iter().position(|kind| *kind == 0x8a).unwrap(), kinds.len() - 1);
    assert!((2..last).contains(&pong), "{kinds:x?}");
    assert_eq!((kinds[0], kinds[last]), (first, 0x80), "{kinds:x?}");
    assert!(kinds[1..last].iter().all(|kind| [0x00, 0x8a].contains(kind)), "{kinds:x?}");
    assert!(last > 8, "{kinds:x?}");
}

#[tokio::test]
async fn a_pong_comes_before_the_end_of_a_large_event() {
    let server = start("").await;
    for headers in [&[][..], &[DEFLATE]] {
        let socket = Box::new(narrow(server.public).await);
        ping(&server, subscribe(socket, headers).await, "/data").await;
        let socket = Box::new(narrow(server.public).await);
        let headers = [headers, &[CLOUDEVENTS]].concat();
        ping(&server, subscribe(socket, &headers).await, "/data").await;
    }
}

#[tokio::test]
async fn so_it_does_with_weir_v1() {
    let server = start("").await;
    for headers in [&[V1][..], &[V1, DEFLATE]] {
        let socket = Box::new(narrow(server.public).await);
        let mut client = Client(subscribe(socket, headers).await);
        client.ask(json!({"type": "subscribe", "id": "a"}), "subscribed").await;
        ping(&server, client.0, "/events/0/data").await;
    }
}

#[tokio::test]
async fn so_it_does_over_http2_and_tls() {
    let server = start("").await;
    let client = Http2::connect_with(server.public, &Builder::new()).await;
    ping(&server, client.web_socket("/orders/ws").await, "/data").await;
    let (_, _, tunnel) = client.tunnel_with("/orders/ws", Some("websocket"), &[V1]).await.unwrap();
    let mut session = Client(WebSocket::bare(Box::new(tunnel)));
    session.0.head = "sec-websocket-protocol: weir.v1\r\n".to_owned();
    session.expect("hello").await;
    session.ask(json!({"type": "subscribe", "id": "a"}), "subscribed").await;
    ping(&server, session.0, "/events/0/data").await;
    let (server, _directory) = tls::start("").await;
    let name = ServerName::try_from("orders.test").unwrap();
    let stream =
        tls::connector(&["http/1.1"]).connect(name, narrow(server.public).await).await.unwrap();
    ping(&server, subscribe(Box::new(stream), &[]).await, "/data").await;
}

/// The events of the pipeline that have departed.
async fn departed(server: &Server) -> Option<u64> {
    server.metric("weir_deliveries_departed_total{pipeline=\"orders\"} ").await
}

#[tokio::test]
async fn a_close_is_answered_within_a_large_event_of_which_nothing_more_comes() {
    let server = start("").await;
    for headers in [&[][..], &[DEFLATE]] {
        let before = departed(&server).await.unwrap();
        let mut socket = subscribe(Box::new(narrow(server.public).await), headers).await;
        begin(&server, &mut socket).await;
        socket.send(8, &1000_u16.to_be_bytes()).await;
        assert_eq!(socket.next().await, Some(Frame::Close(Some(1000))));
        assert_eq!(socket.next().await, None);
        assert!(socket.frames.len() < 12, "{:x?}", socket.frames);
        server.metric_becomes(WEB_SOCKETS, 0).await;
        assert_eq!(departed(&server).await, Some(before + 1));
    }
}

/// A socket that is subscribed, by itself or within a session.
async fn subscribed(server: &Server, headers: &[(&str, &str)]) -> WebSocket {
    let socket = subscribe(Box::new(narrow(server.public).await), headers).await;
    if !headers.contains(&V1) {
        return socket;
    }
    let mut client = Client(socket);
    client.ask(json!({"type": "subscribe", "id": "a"}), "subscribed").await;
    client.0
}

#[tokio::test]
async fn one_that_is_sent_away_within_an_event_is_answered_until_it_has_got_that() {
    for headers in [&[][..], &[DEFLATE], &[V1], &[V1, DEFLATE]] {
        let server = start("delivery: {drain: {window: 0s}}").await;
        let mut socket = subscribed(&server, headers).await;
        let mut other = server.sse("").await;
        let (event, _) = begin(&server, &mut socket).await;
        let read = async {
            assert!(other.next_data().await.trim_matches('"') == event);
            // From here on all know that they are to leave.
            assert_eq!(other.next().await.unwrap().name, "draining");
            socket.send(9, b"are you there?").await;
            assert_eq!(socket.next().await, Some(Frame::Pong(b"are you there?".to_vec())));
            assert!(socket.frames.len() < 12, "{:x?}", socket.frames);
            socket.send(8, &1000_u16.to_be_bytes()).await;
            assert_eq!(socket.next().await, Some(Frame::Close(Some(1000))));
            assert_eq!(socket.next().await, None);
            assert!(socket.frames.len() < 16, "{:x?}", socket.frames);
        };
        tokio::join!(server.app.drain(Duration::MAX), read);
        assert_eq!(departed(&server).await, Some(1));
    }
}

#[tokio::test]
async fn one_that_is_sent_away_in_time_gets_the_whole_event_and_its_cursor() {
    let server = start("delivery: {drain: {window: 1s}}").await;
    let mut socket = subscribe(Box::new(narrow(server.public).await), &[]).await;
    let (event, cursor) = begin(&server, &mut socket).await;
    let read = async {
        assert!(socket.next_json().await["data"] == event);
        let draining = socket.next_json().await;
        assert_eq!(
            (&draining["control"], &draining["cursor"]),
            (&"draining".into(), &json!(cursor))
        );
        assert_eq!(socket.next().await, Some(Frame::Close(Some(1012))));
    };
    tokio::join!(server.app.drain(Duration::MAX), read);
}

#[tokio::test]
async fn at_a_stop_the_close_comes_within_the_event_with_the_cursor_before_it() {
    let server = start("").await;
    let mut socket = subscribe(Box::new(narrow(server.public).await), &[]).await;
    let before = server.post("1").await.json()["cursor"].clone();
    assert_eq!(socket.next_json().await["data"], 1);
    begin(&server, &mut socket).await;
    let read = async {
        assert_eq!(socket.next().await, Some(Frame::Close(Some(1012))));
        assert_eq!(socket.close_hint()["cursor"], before);
        assert_eq!(socket.next().await, None);
    };
    tokio::join!(server.app.stop(), read);
}

#[tokio::test]
async fn so_it_does_within_what_is_compressed_and_within_a_batch() {
    for headers in [&[DEFLATE][..], &[V1], &[V1, DEFLATE]] {
        let server = start("").await;
        let mut socket = subscribed(&server, headers).await;
        begin(&server, &mut socket).await;
        let read = async {
            assert_eq!(socket.next().await, Some(Frame::Close(Some(1012))));
            let hint = socket.close_hint();
            assert!(hint["retry"].is_u64(), "{hint}");
            assert_eq!(hint["cursor"].as_str().unwrap_or_default(), socket.opened_at);
            assert_eq!(socket.next().await, None);
            assert!(socket.frames.len() < 12, "{:x?}", socket.frames);
        };
        tokio::join!(server.app.stop(), read);
    }
}

#[tokio::test]
async fn one_that_skips_the_oldest_has_got_a_large_event_before_the_gap() {
    for headers in [&[][..], &[V1]] {
        let server = start("delivery: {slowConsumer: DropOldest, maxLag: {events: 2}}").await;
        let mut socket = subscribed(&server, headers).await;
        let (event, cursor) = begin(&server, &mut socket).await;
        server.post_numbers(0..9).await;
        let (message, from) = (socket.next_json().await, &mut socket);
        let data = message.pointer(if headers.is_empty() { "/data" } else { "/events/0/data" });
        assert!(*data.unwrap() == event);
        let gap = from.next_json().await;
        assert_eq!((&gap["from"], &gap["reason"]), (&json!(cursor), &json!("slow_consumer")));
        let missed = gap["missed"].as_u64().unwrap();
        assert!((1..9).contains(&missed), "{gap}");
        server.metric_becomes("weir_deliveries_lagging{pipeline=\"orders\"} ", 0).await;
        let dropped = server.metric("weir_deliveries_dropped_total{pipeline=\"orders\"} ").await;
        assert_eq!(dropped, Some(missed));
        assert_eq!(written(&server).await, Some(1 + 9 - missed));
    }
}

#[tokio::test]
async fn one_that_is_conflated_has_got_a_large_event_before_the_newest() {
    for headers in [&[][..], &[V1]] {
        let policy = "slowConsumer: Conflate, conflateKey: event.type, maxLag: {events: 2}";
        let server = start(&format!("delivery: {{{policy}}}")).await;
        let mut socket = subscribed(&server, headers).await;
        let (event, _) = begin(&server, &mut socket).await;
        server.post_numbers(0..9).await;
        let list = |message: serde_json::Value| match message.get("events") {
            Some(events) => events.as_array().unwrap().clone(),
            None => vec![message],
        };
        let mut got = list(socket.next_json().await);
        assert!(got[0]["data"] == event);
        while got.last().unwrap()["data"]["n"] != 8 {
            got.extend(list(socket.next_json().await));
        }
        server.metric_becomes("weir_deliveries_lagging{pipeline=\"orders\"} ", 0).await;
        let metric = "weir_deliveries_conflated_total{pipeline=\"orders\"} ";
        let conflated = server.metric(metric).await.unwrap();
        assert!(conflated > 0);
        assert_eq!(written(&server).await, Some(10 - conflated));
        assert_eq!(got.len() as u64, 10 - conflated, "each that was written has come");
    }
}

/// The events of the pipeline that were written to WebSockets.
async fn written(server: &Server) -> Option<u64> {
    let metric = "weir_deliveries_written_total{pipeline=\"orders\",transport=\"websocket\"} ";
    server.metric(metric).await
}

#[tokio::test]
async fn one_that_is_cut_off_is_told_within_the_event_from_where_to_resume() {
    let server = start("delivery: {maxLag: {events: 2}}").await;
    let mut socket = subscribe(Box::new(narrow(server.public).await), &[]).await;
    let (event, _) = begin(&server, &mut socket).await;
    server.post_numbers(0..5).await;
    server.metric_becomes("weir_connections_cut_off_total{pipeline=\"orders\"} ", 1).await;
    assert_eq!(socket.next().await, Some(Frame::Close(Some(1013))));
    let cursor = socket.close_hint()["cursor"].as_str().unwrap().to_owned();
    assert_eq!(cursor, socket.opened_at);
    let mut back = server.web_socket(&format!("?cursor={cursor}")).await;
    assert!(back.next_json().await["data"] == event, "it comes again, whole");
    assert_eq!(back.next_json().await["data"]["n"], 0);
}
