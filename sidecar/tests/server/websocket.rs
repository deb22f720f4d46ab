//! What a subscriber over WebSocket gets.

use std::time::Duration;

use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout},
};

use crate::{
    client::Frame,
    fixture::{OPEN, PATIENCE, Server},
};

#[tokio::test]
async fn each_message_is_one_event() {
    let server = Server::start(OPEN).await;
    let mut socket = server.web_socket("").await;
    assert!(socket.head.starts_with("HTTP/1.1 101"), "{}", socket.head);
    assert!(socket.head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{}", socket.head);
    let cursor = server.post("{\"n\" : 1}").await.json()["cursor"].clone();
    let Some(Frame::Text(text)) = socket.next().await else { panic!("a text") };
    assert!(text.contains("\"data\":{\"n\" : 1}"), "the payload as it was posted: {text}");
    let event: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(event["cursor"], cursor);
    for member in ["id", "type", "time"] {
        assert!(event[member].is_string(), "{member} in {event}");
    }
}

#[tokio::test]
async fn a_ping_is_answered_and_text_is_let_pass() {
    let server = Server::start(OPEN).await;
    let mut socket = server.web_socket("").await;
    socket.send(1, b"hello").await;
    socket.send(9, b"are you there").await;
    assert_eq!(socket.next().await, Some(Frame::Pong(b"are you there".to_vec())));
    server.post("1").await;
    assert_eq!(socket.next_json().await["data"], 1);
}

#[tokio::test]
async fn a_close_is_answered_with_its_code_and_ends_the_connection() {
    let server = Server::start(OPEN).await;
    let mut socket = server.web_socket("").await;
    socket.send(8, &1000_u16.to_be_bytes()).await;
    assert_eq!(socket.next().await, Some(Frame::Close(Some(1000))));
    assert_eq!(socket.next().await, None);
    drop(socket);
    server
        .metric_becomes("weir_subscribers{pipeline=\"orders\",transport=\"websocket\"} ", 0)
        .await;
}

#[tokio::test]
async fn a_client_that_breaks_the_protocol_is_told_how() {
    let server = Server::start(OPEN).await;
    for (bytes, code) in [
        (&b"\x81\x01x"[..], 1002),                        // not masked
        (&b"\xc1\x81\x00\x00\x00\x00x"[..], 1002),        // a reserved bit
        (&b"\x81\x81\x00\x00\x00\x00\xff"[..], 1007),     // not UTF-8
        (&b"\x81\xfe\xff\xff\x00\x00\x00\x00"[..], 1009), // 64 KiB announced
    ] {
        let mut socket = server.web_socket("").await;
        socket.socket.write_all(bytes).await.unwrap();
        assert_eq!(socket.next().await, Some(Frame::Close(Some(code))), "{bytes:?}");
    }
    let mut polite = server.web_socket("").await;
    polite.send(8, &1000_u16.to_be_bytes()).await;
    assert_eq!(polite.next().await, Some(Frame::Close(Some(1000))));
    for (code, reason, count) in [
        (1002, "unmasked", 1),
        (1002, "reserved_bits", 1),
        (1003, "binary", 0),
        (1007, "utf8", 1),
        (1009, "too_big", 1),
    ] {
        let labels = format!("pipeline=\"orders\",code=\"{code}\",reason=\"{reason}\"");
        let breaches = format!("weir_websocket_breaches_total{{{labels}}} ");
        assert_eq!(server.metric(&breaches).await, Some(count), "{reason}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_pinged_and_a_dead_one_closed() {
    let server = Server::start(
        "
        placement: {gateway: {}}
        sources: [{name: app, http: {}}]
        endpoints: {websocket: {ping: 1s}, publish: {anonymous: true}}
        ",
    )
    .await;
    let mut socket = server.web_socket("").await;
    assert_eq!(socket.next().await, Some(Frame::Ping(Vec::new())));
    socket.send(10, b"").await;
    assert_eq!(socket.next().await, Some(Frame::Ping(Vec::new())));
    // This one is left unanswered.
    assert_eq!(socket.next().await, None);
}

#[tokio::test]
async fn a_client_that_talks_on_a_quiet_stream_is_pinged_nevertheless() {
    let server = Server::start(&OPEN.replace("websocket: {}", "websocket: {ping: 1s}")).await;
    let mut socket = server.web_socket("").await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        // It is never silent for as long as a ping waits for silence.
        match timeout(Duration::from_millis(100), socket.next()).await {
            Ok(frame) => break assert_eq!(frame, Some(Frame::Ping(Vec::new()))),
            Err(_) => socket.send(1, b"here").await,
        }
        assert!(Instant::now() < deadline, "nothing was sent for {PATIENCE:?}");
    }
}

#[tokio::test]
async fn frames_sent_with_the_handshake_are_not_lost() {
    let server = Server::start(OPEN).await;
    let mut stream = tokio::net::TcpStream::connect(server.public).await.unwrap();
    let mut request =
        b"GET /orders/ws HTTP/1.1\r\nhost: t\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            .to_vec();
    request.extend_from_slice(b"\x89\x80\x00\x00\x00\x00");
    stream.write_all(&request).await.unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\x8a\x00") {
        let read = tokio::io::AsyncReadExt::read_buf(&mut stream, &mut bytes).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&bytes));
    }
}

const COMPRESSED: &str = "
placement: {gateway: {}}
sources: [{name: app, http: {}}]
endpoints: {sse: {}, websocket: {compression: {minSize: \"256\"}}, publish: {anonymous: true}}
";

const DEFLATE: (&str, &str) =
    ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits");

#[tokio::test]
async fn events_are_compressed_for_who_offers_it_from_the_least_size_on() {
    let server = Server::start(COMPRESSED).await;
    let mut squeezed = server.web_socket_with(&[DEFLATE]).await;
    let mut small_window = server
        .web_socket_with(&[(
            "sec-websocket-extensions",
            "permessage-deflate; server_max_window_bits=10",
        )])
        .await;
    let mut plain = server.web_socket("").await;
    assert!(squeezed.head.contains("; client_no_context_takeover\r\n"), "{}", squeezed.head);
    assert!(small_window.head.contains("; server_max_window_bits=9"), "{}", small_window.head);
    assert!(!plain.head.contains("extensions"), "{}", plain.head);
    for socket in [&mut squeezed, &mut small_window] {
        assert_eq!(socket.next_json().await["control"], "open");
    }
    let long = format!("\"{}\"", "to and fro ".repeat(100));
    for posted in ["1", &long, "2"] {
        server.post(posted).await;
        let expected: serde_json::Value = serde_json::from_str(posted).unwrap();
        for socket in [&mut squeezed, &mut small_window, &mut plain] {
            assert_eq!(socket.next_json().await["data"], expected);
        }
    }
    assert_eq!([squeezed.compressed, small_window.compressed, plain.compressed], [1, 1, 0]);
    // Compressed by the client, too: a text, which is ignored, and a ping behind it.
    squeezed.socket.write_all(b"\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\0").await.unwrap();
    squeezed.send(9, b"still here").await;
    assert_eq!(squeezed.next().await, Some(Frame::Pong(b"still here".to_vec())));
}

#[tokio::test]
async fn without_the_field_nothing_is_compressed() {
    let server = Server::start(OPEN).await;
    let socket = server.web_socket_with(&[DEFLATE]).await;
    assert!(socket.head.starts_with("HTTP/1.1 101"), "{}", socket.head);
    assert!(!socket.head.contains("sec-websocket-extensions"), "{}", socket.head);
}

#[tokio::test]
async fn a_bomb_closes_the_connection() {
    let server = Server::start(COMPRESSED).await;
    let mut socket = server.web_socket_with(&[DEFLATE]).await;
    assert_eq!(socket.next_json().await["control"], "open");
    let mut compress = flate2::Compress::new(flate2::Compression::best(), false);
    let mut bomb = Vec::with_capacity(4_096);
    compress.compress_vec(&[b'0'; 1_000_000], &mut bomb, flate2::FlushCompress::Sync).unwrap();
    let mut frame = vec![0xc1, 0xfe];
    frame.extend_from_slice(&u16::try_from(bomb.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(&bomb);
    socket.socket.write_all(&frame).await.unwrap();
    assert_eq!(socket.next().await, Some(Frame::Close(Some(1009))));
}

#[tokio::test]
async fn an_offer_that_can_not_be_read_is_refused() {
    let server = Server::start(OPEN).await;
    let offer = ("sec-websocket-extensions", "permessage-deflate; =1");
    let socket = server.web_socket_with(&[offer]).await;
    assert!(socket.head.starts_with("HTTP/1.1 400"), "{}", socket.head);
}

#[tokio::test]
async fn each_message_is_one_cloudevent_where_that_is_asked_for() {
    let server = Server::start(OPEN).await;
    let protocol = ("sec-websocket-protocol", "bearer.secret, mqtt, cloudevents.json");
    let mut socket = server.web_socket_with(&[protocol]).await;
    let named = "sec-websocket-protocol: cloudevents.json";
    assert!(socket.head.contains(named) && !socket.head.contains("secret"), "{}", socket.head);
    let opening = socket.next_json().await;
    assert_eq!(
        (&opening["specversion"], &opening["type"]),
        (&"1.0".into(), &"dev.weir.open".into())
    );
    assert_eq!(opening["weircursor"], opening["data"]["cursor"]);
    let cursor = server.post("{\"n\":1}").await.json()["cursor"].clone();
    let event = socket.next_json().await;
    assert_eq!((&event["weircursor"], &event["data"]["n"]), (&cursor, &1.into()));
    for member in ["specversion", "id", "source", "type", "time"] {
        assert!(event[member].is_string(), "{member} in {event}");
    }
}

#[tokio::test]
async fn a_subprotocol_that_is_not_known_is_not_answered() {
    let server = Server::start(OPEN).await;
    for (offered, answered) in
        [("mqtt", None), ("bearer.x", None), ("mqtt, weir.json", Some("weir.json"))]
    {
        let mut socket = server.web_socket_with(&[("sec-websocket-protocol", offered)]).await;
        assert!(socket.head.starts_with("HTTP/1.1 101"), "{}", socket.head);
        let found =
            socket.head.lines().find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        assert_eq!(found, answered);
        assert_eq!(socket.next_json().await["control"], "open");
    }
}
