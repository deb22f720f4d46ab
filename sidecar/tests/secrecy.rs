//! Holds the whole server to one thing: no token, ticket or cookie is in any log line, at any level.
//!
//! A program of its own, because it takes the log of its whole process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(dead_code, reason = "these modules are the other tests', too")]

#[path = "server/client.rs"]
mod client;
#[path = "server/fixture.rs"]
mod fixture;
#[path = "server/auth/issuer.rs"]
mod issuer;
#[path = "server/schema.rs"]
mod schema;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use client::{Request, Sse, WebSocket};
use fixture::Server;
use issuer::{ISSUER, Issuer, Pair, claims};
use jsonwebtoken::Algorithm;
use serde_json::json;
use tokio::net::TcpStream;
use tracing_subscriber::filter::LevelFilter;

/// Everything that was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Takes the log of this process.
    fn capture() -> Self {
        let log = Self::default();
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .init();
        log
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Asks for a stream in a session that is opened with the token.
async fn subscribe(public: SocketAddr, token: &str) {
    let socket = TcpStream::connect(public).await.unwrap();
    let offered = format!("weir.v1, bearer.{token}");
    let headers = [("sec-websocket-protocol", offered.as_str())];
    let mut session = WebSocket::shake_hands(Box::new(socket), "/orders/ws", &headers).await;
    if session.head.starts_with("HTTP/1.1 101") {
        assert_eq!(session.next_json().await["type"], "hello");
        session.send(1, br#"{"type":"subscribe","id":"a"}"#).await;
        assert_eq!(session.next_json().await["type"], "subscribed");
    }
}

/// Shows a token wherever one can be shown. Returns the ticket that was issued for it, and is used.
async fn show(public: SocketAddr, token: &str) -> Option<String> {
    let bearer = format!("Bearer {token}");
    let bearer = [("authorization", bearer.as_str())];
    let _ = Sse::open(public, "/orders/sse", &bearer).await;
    let publish = Request::post("/orders/events").header("authorization", bearer[0].1);
    let _ = publish.body("1").send(public).await;
    let offered = format!("weir.json, bearer.{token}");
    let _ =
        WebSocket::open_with(public, "/orders/ws", &[("sec-websocket-protocol", &offered)]).await;
    for path in ["/orders/events", "/orders/streams/a"] {
        let _ = Request::get(path).header("authorization", bearer[0].1).send(public).await;
    }
    subscribe(public, token).await;
    let cookie = format!("session={token}");
    for origin in ["https://shop.example", "https://evil.example"] {
        let _ = Sse::open(public, "/orders/sse", &[("cookie", &cookie), ("origin", origin)]).await;
    }
    let url = format!("/orders/sse?access_token={token}");
    let _ = Request::get(&url).send(public).await;
    let ticket = Request::post("/orders/ticket").header("authorization", bearer[0].1);
    let answer = ticket.send(public).await;
    if answer.status != 200 {
        return None;
    }
    let ticket = answer.json()["ticket"].as_str().unwrap().to_owned();
    let url = format!("/orders/sse?ticket={ticket}");
    let _ = Sse::open(public, &url, &[]).await;
    assert_eq!(Request::get(&url).send(public).await.status, 401);
    Some(ticket)
}

#[tokio::test]
async fn whatever_is_shown_is_in_no_log_line() {
    let log = Log::capture();
    let pair = Pair::new("first", Algorithm::EdDSA);
    let issuer = Issuer::start(&[&pair]).await;
    let server = Server::start(&format!(
        "
placement: {{gateway: {{replicas: 1}}}}
sources: [{{name: app, http: {{}}}}]
endpoints: {{sse: {{}}, websocket: {{}}, publish: {{}}, read: {{}}, durableStreams: {{}}}}
auth:
  jwt:
    issuer: {ISSUER}
    audiences: [orders]
    jwksUrl: {}
    publish: {{claim: scope, anyOf: [write]}}
  cookie: {{name: session, allowedOrigins: ['https://shop.example']}}
  tickets: {{}}
",
        issuer.url()
    ))
    .await;
    let public = server.public;
    let stranger = Pair::new("first", Algorithm::EdDSA);
    let good = pair.sign(&claims(&json!({"scope": "write"})));
    let bad = [
        stranger.sign(&claims(&json!({}))),
        pair.sign(&claims(&json!({"exp": 1}))),
        "c2VjcmV0.c2VjcmV0.c2VjcmV0-but-odd".to_owned(),
    ];
    let mut secrets = vec![good.clone()];
    secrets.extend(bad.iter().cloned());
    for token in [&good, &bad[0], &bad[1], &bad[2]] {
        secrets.extend(show(public, token).await);
    }
    assert_eq!(secrets.len(), 5, "a ticket was issued");
    let text = log.text();
    assert!(text.contains("refused a request") && text.contains("TRACE"), "nothing was captured");
    for secret in secrets {
        let signature = secret.rsplit('.').next().unwrap();
        assert!(!text.contains(signature), "a secret is in the log");
    }
}
