//! Why connections ended, as the metrics say it.

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::{
    client::{Frame, Request},
    fixture::{OPEN, Server, config},
    session::Client,
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
    let server = Server::start(&format!("{OPEN}\ndelivery: {{drain: {{window: 0s}}}}")).await;
    let (mut socket, mut session) = (server.web_socket("").await, Client::open(&server).await);
    let mut sse = server.sse("").await;
    server.app.apply(config(&OPEN.replace("websocket: {}, ", ""), None));
    while socket.next().await.is_some() {}
    while session.0.next().await.is_some() {}
    ended(&server, "websocket", "changed", 2).await;
    ended(&server, "sse", "changed", 0).await;
    assert_eq!(Request::post("/drain").send(server.admin).await.status, 200);
    while sse.next().await.is_some() {}
    ended(&server, "sse", "drain", 1).await;
    ended(&server, "sse", "client", 0).await;
}
