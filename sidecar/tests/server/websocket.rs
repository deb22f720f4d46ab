//! What a subscriber over WebSocket gets.

use tokio::io::AsyncWriteExt;

use crate::{
    client::Frame,
    fixture::{OPEN, Server},
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
