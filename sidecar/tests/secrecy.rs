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
#[path = "server/h2_client.rs"]
mod h2_client;
#[path = "server/auth/issuer.rs"]
mod issuer;
#[path = "server/schema.rs"]
mod schema;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use client::{Request, Socket, Sse, WebSocket};
use fixture::Server;
use h2_client::Http2;
use issuer::{ISSUER, Issuer, Pair, claims};
use jsonwebtoken::Algorithm;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
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

/// The certificate of the server that speaks TLS, and its key.
const CERTIFICATE: &str = include_str!("server/certificates/orders.crt");
const KEY: &str = include_str!("server/certificates/orders.key");

/// A client of TLS.
fn connector() -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

async fn plain(public: SocketAddr) -> Socket {
    Box::new(TcpStream::connect(public).await.unwrap())
}

async fn tls(public: SocketAddr) -> Socket {
    let name = ServerName::try_from("orders.test").unwrap();
    let socket = TcpStream::connect(public).await.unwrap();
    Box::new(connector().connect(name, socket).await.unwrap())
}

/// Asks for a stream in a session that is opened with the token.
async fn subscribe(socket: Socket, token: &str) {
    let offered = format!("weir.v1, bearer.{token}");
    let headers = [("sec-websocket-protocol", offered.as_str())];
    let mut session = WebSocket::shake_hands(socket, "/orders/ws", &headers).await;
    if session.head.starts_with("HTTP/1.1 101") {
        assert_eq!(session.next_json().await["type"], "hello");
        session.send(1, br#"{"type":"subscribe","id":"a"}"#).await;
        assert_eq!(session.next_json().await["type"], "subscribed");
    }
}

/// Shows a token wherever one can be shown. Returns the ticket that was issued for it, is refused, and is used.
async fn show(open: impl AsyncFn() -> Socket, token: &str) -> Option<String> {
    let bearer = format!("Bearer {token}");
    let bearer = [("authorization", bearer.as_str())];
    let _ = Sse::ask(open().await, "/orders/sse", &bearer).await;
    let publish = Request::post("/orders/events").header("authorization", bearer[0].1);
    let _ = publish.body("1").send_over(open().await).await;
    let offered = format!("weir.json, bearer.{token}");
    let offered = [("sec-websocket-protocol", offered.as_str())];
    let _ = WebSocket::shake_hands(open().await, "/orders/ws", &offered).await;
    for path in ["/orders/events", "/orders/streams/a"] {
        let request = Request::get(path).header("authorization", bearer[0].1);
        let _ = request.send_over(open().await).await;
    }
    subscribe(open().await, token).await;
    let cookie = format!("session={token}");
    for origin in ["https://shop.example", "https://evil.example"] {
        let headers = [("cookie", cookie.as_str()), ("origin", origin)];
        let _ = Sse::ask(open().await, "/orders/sse", &headers).await;
    }
    let url = format!("/orders/sse?access_token={token}");
    let _ = Request::get(&url).send_over(open().await).await;
    let ticket = Request::post("/orders/ticket").header("authorization", bearer[0].1);
    let answer = ticket.send_over(open().await).await;
    if answer.status != 200 {
        return None;
    }
    let ticket = answer.json()["ticket"].as_str().unwrap().to_owned();
    let url = format!("/orders/sse?ticket={ticket}");
    let refused = Request::get(&format!("{url}&filter=%29")).send_over(open().await).await;
    assert_eq!(refused.status, 400);
    assert!(Sse::ask(open().await, &url, &[]).await.head.starts_with("HTTP/1.1 200"));
    assert_eq!(Request::get(&url).send_over(open().await).await.status, 401);
    Some(ticket)
}

/// The same over HTTP/2. The client is in this process, too, and is held to the same.
async fn show_inside(client: &Http2, token: &str, ticket: Option<&str>) {
    let bearer = format!("Bearer {token}");
    for headers in [("authorization", bearer.as_str()), ("cookie", &format!("session={token}"))] {
        let _ = client.sse("/orders/sse", &[headers]).await;
    }
    let offered = format!("weir.json, bearer.{token}");
    let offered = [("sec-websocket-protocol", offered.as_str())];
    let _ = client.tunnel_with("/orders/ws", Some("websocket"), &offered).await;
    let _ = client.get(&format!("/orders/sse?access_token={token}")).await;
    if let Some(ticket) = ticket {
        let url = format!("/orders/sse?ticket={ticket}");
        assert_eq!(client.get(&url).await.0, 401);
        assert_eq!(client.get(&format!("{url}&filter=%29")).await.0, 401);
    }
}

#[tokio::test]
async fn whatever_is_shown_is_in_no_log_line() {
    let log = Log::capture();
    let pair = Pair::new("first", Algorithm::EdDSA);
    let issuer = Issuer::start(&[&pair]).await;
    let secrets = tempfile::tempdir().unwrap();
    let mounted = secrets.path().join("orders-tls");
    std::fs::create_dir(&mounted).unwrap();
    std::fs::write(mounted.join("tls.crt"), CERTIFICATE).unwrap();
    std::fs::write(mounted.join("tls.key"), KEY).unwrap();
    let manifest = |tls: &str| {
        format!(
            "
placement: {{gateway: {{replicas: 1}}}}
sources: [{{name: app, http: {{}}}}]
endpoints: {{sse: {{}}, websocket: {{}}, publish: {{}}, read: {{}}, durableStreams: {{}}{tls}}}
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
        )
    };
    let server = Server::start(&manifest("")).await;
    let secure =
        Server::start_in(secrets.path(), &manifest(", tls: {secretName: orders-tls}")).await;
    let client = Http2::connect(server.public).await;
    let stranger = Pair::new("first", Algorithm::EdDSA);
    let good = pair.sign(&claims(&json!({"scope": "write"})));
    let bad = [
        stranger.sign(&claims(&json!({}))),
        pair.sign(&claims(&json!({"exp": 1}))),
        "c2VjcmV0.c2VjcmV0.c2VjcmV0-but-odd".to_owned(),
    ];
    let mut secrets_shown = vec![good.clone()];
    secrets_shown.extend(bad.iter().cloned());
    for token in [&good, &bad[0], &bad[1], &bad[2]] {
        let ticket = show(async || plain(server.public).await, token).await;
        show_inside(&client, token, ticket.as_deref()).await;
        secrets_shown.extend(ticket);
        secrets_shown.extend(show(async || tls(secure.public).await, token).await);
    }
    assert_eq!(secrets_shown.len(), 6, "two tickets were issued");
    let text = log.text();
    assert!(text.contains("refused a request") && text.contains("TRACE"), "nothing was captured");
    for secret in secrets_shown {
        let signature = secret.rsplit('.').next().unwrap();
        assert!(!text.contains(signature), "a secret is in the log");
    }
}
