//! HTTP/2 by prior knowledge: many streams on one connection, each like one over HTTP/1.1.

use bytes::Bytes;
use h2::{Reason, client::Builder};
use http::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    client::{Frame, find},
    fixture::{OPEN, PATIENCE, Server},
    h2_client::Http2,
};

const SUBSCRIBERS: &str = "weir_subscribers{pipeline=\"orders\",transport=\"sse\"} ";
const WEB_SOCKETS: &str = "weir_subscribers{pipeline=\"orders\",transport=\"websocket\"} ";

#[tokio::test]
async fn many_streams_share_a_connection_and_each_gets_every_event_in_order() {
    let server = Server::start(OPEN).await;
    // The streams wait to be read one after the other: the client's own limits are not the subject.
    let mut builder = Builder::new();
    builder.initial_connection_window_size(16 * 1024 * 1024).data_frame_budget(usize::MAX / 2);
    let client = Http2::connect_with(server.public, &builder).await;
    let mut streams = Vec::new();
    for _ in 0..300 {
        streams.push(client.sse("/orders/sse", &[]).await);
    }
    server.metric_becomes(SUBSCRIBERS, 300).await;
    let lines: String = (0..40).map(|n| format!("{n}\n")).collect();
    let (status, answer) =
        client.post("/orders/events", "application/x-ndjson", lines.into()).await;
    assert_eq!((status.as_u16(), answer.contains("\"accepted\":40")), (200, true), "{answer}");
    for sse in &mut streams {
        for n in 0..40 {
            assert_eq!(sse.next_data().await, n.to_string());
        }
    }
    let written = "weir_deliveries_written_total{pipeline=\"orders\",transport=\"sse\"} ";
    server.metric_becomes(written, 300 * 40).await;
    drop(streams);
    server.metric_becomes(SUBSCRIBERS, 0).await;
}

#[tokio::test]
async fn a_stream_says_what_proxies_need_to_know_and_opens_at_once() {
    let server = Server::start(&OPEN.replace("sse: {}", "sse: {heartbeat: 1s}")).await;
    let client = Http2::connect(server.public).await;
    let mut sse = client.sse("/orders/sse", &[]).await;
    for part in
        ["200 OK", "text/event-stream", "no-cache, no-transform", "x-accel-buffering", "date"]
    {
        assert!(sse.head.contains(part), "{part} in {}", sse.head);
    }
    assert!(!sse.head.contains("transfer-encoding") && !sse.head.contains("connection"));
    sse.until_line("").await;
    assert!(sse.retry.is_some() && sse.last_event_id.ends_with("-0"));
    sse.until_line(":").await;
}

#[tokio::test]
async fn a_subscriber_resumes_and_is_told_of_gaps() {
    let server = Server::start(OPEN).await;
    server.post_numbers(0..10).await;
    let client = Http2::connect(server.public).await;
    let mut first = client.sse("/orders/sse?from=earliest", &[]).await;
    for n in 0..5 {
        assert_eq!(first.next_data().await, format!("{{\"n\":{n}}}"));
    }
    let cursor = first.last_event_id.clone();
    drop(first);
    let path = "/orders/sse?from=earliest";
    let mut second = client.sse(path, &[("last-event-id", &cursor)]).await;
    assert_eq!(second.next_data().await, "{\"n\":5}");
    let mut lost = client.sse("/orders/sse", &[("last-event-id", "nonsense")]).await;
    assert_eq!(lost.next().await.unwrap().name, "gap");
    assert_eq!(lost.next_data().await, "{\"n\":0}");
}

#[tokio::test]
async fn a_web_socket_runs_inside_a_stream() {
    let server = Server::start(OPEN).await;
    let client = Http2::connect(server.public).await;
    let mut sse = client.sse("/orders/sse", &[]).await;
    let mut socket = client.web_socket("/orders/ws").await;
    server.post("{\"n\":1}").await;
    assert_eq!(socket.next_json().await["data"]["n"], 1);
    socket.send(9, b"are you there?").await;
    assert_eq!(socket.next().await, Some(Frame::Pong(b"are you there?".to_vec())));
    socket.send(8, &1000_u16.to_be_bytes()).await;
    assert_eq!(socket.next().await, Some(Frame::Close(Some(1000))));
    assert_eq!(socket.next().await, None);
    // One whose side of the stream ends has left, as on a connection of its own.
    let mut other = client.web_socket("/orders/ws").await;
    server.metric_becomes(WEB_SOCKETS, 1).await;
    other.socket.shutdown().await.unwrap();
    server.metric_becomes(WEB_SOCKETS, 0).await;
    assert_eq!(sse.next_data().await, "{\"n\":1}");
}

#[tokio::test]
async fn what_is_no_web_socket_is_refused_and_the_connection_goes_on() {
    let server = Server::start(OPEN).await;
    let client = Http2::connect(server.public).await;
    let (status, headers, problem) = client.get("/orders/ws").await;
    assert_eq!(status, 400);
    assert!(problem.contains("RFC 8441") && !headers.contains_key("connection"), "{problem}");
    let (status, ..) = client.tunnel("/orders/sse", Some("websocket")).await.unwrap();
    assert_eq!(status, 400);
    let reset = client.tunnel("/orders/ws", Some("smtp")).await.map(drop).unwrap_err();
    assert_eq!(reset.reason(), Some(Reason::REFUSED_STREAM));
    assert_eq!(client.get("/nothing").await.0, 404);
    // The manifest doesn't open the log to be read by GET.
    assert_eq!(client.get("/orders/events").await.0, 404);
}

#[tokio::test]
async fn a_stream_that_is_not_read_holds_its_window_and_is_cut_off() {
    let server =
        Server::start(&format!("{OPEN}\ndelivery: {{maxLag: {{events: 100, bytes: 1Gi}}}}")).await;
    let mut builder = Builder::new();
    builder.initial_window_size(32 * 1024).initial_connection_window_size(1024 * 1024);
    let client = Http2::connect_with(server.public, &builder).await;
    let mut live = client.sse("/orders/sse", &[]).await;
    let request = Request::get("http://test/orders/sse").body(()).unwrap();
    let (_, _, _, mut stalled) = client.ask(request, None).await.unwrap();
    let filler = "x".repeat(1024);
    for n in 0..250 {
        server.post(&format!("\"{n} {filler}\"")).await;
        assert!(live.next_data().await.starts_with(&format!("\"{n} ")));
    }
    server.metric_becomes("weir_connections_cut_off_total{pipeline=\"orders\"} ", 1).await;
    // What is lost is known when it is gone, with its last words.
    server.metric_becomes(SUBSCRIBERS, 1).await;
    assert!(server.metric("weir_deliveries_dropped_total{pipeline=\"orders\"} ").await > Some(100));
    // Its window's worth is there to be read; and then the stream was reset, not the connection.
    let mut read = 0;
    let reset = loop {
        match stalled.data().await.unwrap() {
            Ok(part) => read += part.len(),
            Err(error) => break error,
        }
    };
    assert!(read <= 32 * 1024 && reset.is_reset(), "{read} bytes, then {reset}");
    server.post("\"still here\"").await;
    assert_eq!(live.next_data().await, "\"still here\"");
}

#[tokio::test]
async fn a_drain_closes_the_streams_and_then_the_connection() {
    let server = Server::start(&format!("{OPEN}\ndelivery: {{drain: {{window: 1s}}}}")).await;
    let client = Http2::connect(server.public).await;
    let mut sse = client.sse("/orders/sse", &[]).await;
    let mut socket = client.web_socket("/orders/ws").await;
    server.app.drain(std::time::Duration::MAX).await;
    assert_eq!(sse.next().await.unwrap().name, "draining");
    assert_eq!(sse.next().await, None);
    assert_eq!(socket.next_json().await["control"], "draining");
    assert_eq!(socket.next().await, Some(Frame::Close(Some(1012))));
    let Http2 { requests, connection } = client;
    drop((sse, socket, requests));
    timeout(PATIENCE, connection).await.expect("the server closes it").unwrap().unwrap();
    let mut late = Http2::connect(server.public).await.sse("/orders/sse", &[]).await;
    assert!(late.next().await.unwrap().data.contains("draining"));
}

#[tokio::test]
async fn a_stop_says_good_bye_in_every_stream() {
    let server = Server::start(OPEN).await;
    let client = Http2::connect(server.public).await;
    let mut sse = client.sse("/orders/sse", &[]).await;
    let cursor = server.post("1").await.json()["cursor"].clone();
    sse.next_data().await;
    server.app.stop().await;
    let farewell = sse.next().await.unwrap();
    assert_eq!((farewell.name.as_str(), &cursor), ("draining", &farewell.id.into()));
    assert_eq!(sse.next().await, None);
}

#[tokio::test]
async fn one_that_resets_streams_without_end_is_thrown_out_and_harms_nobody() {
    let server = Server::start(OPEN).await;
    let mut live = server.sse("").await;
    let mut attacker = TcpStream::connect(server.public).await.unwrap();
    let mut attack = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for stream in (1_u32..4_000).step_by(2) {
        // POST http://test/ in HPACK, and at once RST_STREAM with CANCEL.
        let head = [0x83, 0x86, 0x84, 0x41, 4, b't', b'e', b's', b't'];
        for (kind, flags, payload) in [(1, 4, &head[..]), (3, 0, &[0, 0, 0, 8])] {
            attack.extend_from_slice(&[0, 0, u8::try_from(payload.len()).unwrap(), kind, flags]);
            attack.extend_from_slice(&stream.to_be_bytes());
            attack.extend_from_slice(payload);
        }
    }
    // It may be thrown out before it has sent all.
    let _ = attacker.write_all(&attack).await;
    let mut answer = Vec::new();
    let ended = timeout(PATIENCE, attacker.read_to_end(&mut answer)).await;
    let _ = ended.expect("it is thrown out");
    // GOAWAY (7) for the reason ENHANCE_YOUR_CALM (11), unless a reset of the socket overtook it.
    let told = answer.windows(17).any(|frame| frame[3] == 7 && frame[13..17] == [0, 0, 0, 11]);
    assert!(told || answer.is_empty(), "{answer:?}");
    server.metric_becomes("weir_handshakes_failed_total{reason=\"flood\"} ", 1).await;
    server.post("1").await;
    assert_eq!(live.next_data().await, "1");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_alone() {
    let server = Server::start(OPEN).await;
    let client = Http2::connect(server.public).await;
    let request = Request::get("http://test/orders/sse").header("x", "y".repeat(48 * 1024));
    let refused = client.ask(request.body(()).unwrap(), None).await;
    match refused {
        Ok((status, ..)) => assert_eq!(status, 431),
        Err(error) => assert!(error.is_reset(), "{error}"),
    }
    assert_eq!(client.get("/nothing").await.0, 404);
}

#[tokio::test]
async fn a_publisher_is_answered_as_over_http_1() {
    let server = Server::start(OPEN).await;
    let client = Http2::connect(server.public).await;
    let kind = "application/json";
    let (status, problem) = client.post("/orders/events", kind, Bytes::from("{")).await;
    assert_eq!((status.as_u16(), problem.contains("\"status\":400")), (400, true), "{problem}");
    // Larger than the windows, so that it comes in parts.
    let large = Bytes::from(format!("\"{}\"", "x".repeat(900 * 1024)));
    let (status, _) = client.post("/orders/events", kind, large.clone()).await;
    assert_eq!(status, 200);
    let mut sse = client.sse("/orders/sse?from=earliest", &[]).await;
    assert_eq!(sse.next_data().await.len(), large.len());
    let request = Request::head("http://test/nothing").body(()).unwrap();
    let (status, headers, _, body) = client.ask(request, None).await.unwrap();
    assert!(status == 404 && headers.contains_key("content-length") && body.is_end_stream());
}

#[tokio::test]
async fn a_preface_may_come_in_pieces() {
    let server = Server::start(OPEN).await;
    let mut socket = TcpStream::connect(server.public).await.unwrap();
    socket.set_nodelay(true).unwrap();
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        socket.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    // The settings that the server sends first, with CONNECT_PROTOCOL (8) enabled.
    socket.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let mut answer = Vec::new();
    while find(&answer, &[0, 8, 0, 0, 0, 1]).is_none() {
        assert!(timeout(PATIENCE, socket.read_buf(&mut answer)).await.unwrap().unwrap() > 0);
    }
    assert_eq!(answer[3], 4, "a SETTINGS frame comes first");
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_closed() {
    let server = Server::start(OPEN).await;
    let client = Http2::connect(server.public).await;
    timeout(PATIENCE, client.connection).await.expect("closed after ten seconds").unwrap().unwrap();
}
