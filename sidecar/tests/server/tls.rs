//! TLS: what is agreed on, which certificate is shown, and how it is renewed.
//!
//! The certificates were made by openssl for these tests, and are valid for a hundred years.

use std::{fs, path::Path, sync::Arc};

use h2::client::Builder;
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use weir_sidecar::config::Config;

use crate::{
    client::{Frame, Request, Sse, WebSocket},
    fixture::{OPEN, PATIENCE, Server, config},
    h2_client::Http2,
};

pub(crate) type Pair = (&'static str, &'static str);

pub(crate) const ORDERS: Pair =
    (include_str!("certificates/orders.crt"), include_str!("certificates/orders.key"));
const RENEWED: Pair =
    (include_str!("certificates/renewed.crt"), include_str!("certificates/renewed.key"));
const OTHER: Pair =
    (include_str!("certificates/other.crt"), include_str!("certificates/other.key"));

/// Puts a pair where the Secret `secret` is mounted.
pub(crate) fn mount(directory: &Path, secret: &str, (certificate, key): Pair) {
    let directory = directory.join(secret);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("tls.key"), key).unwrap();
    fs::write(directory.join("tls.crt"), certificate).unwrap();
}

/// A server with `orders` over TLS, and where its certificates lie.
pub(crate) async fn start(more: &str) -> (Server, TempDir) {
    let directory = TempDir::new().unwrap();
    mount(directory.path(), "orders-tls", ORDERS);
    let spec = OPEN.replace("endpoints: {", "endpoints: {tls: {secretName: orders-tls}, ");
    let config = config(&format!("{spec}\n{more}"), None);
    (Server::start_with_secrets(config, directory.path()).await, directory)
}

/// A client that trusts all certificates of these tests, and speaks these protocols.
pub(crate) fn connector(protocols: &[&str]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for (certificate, _) in [ORDERS, RENEWED, OTHER] {
        roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

pub(crate) async fn connect(
    connector: &TlsConnector,
    server: &Server,
    name: &str,
) -> TlsStream<TcpStream> {
    let socket = TcpStream::connect(server.public).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    timeout(PATIENCE, connector.connect(name, socket)).await.unwrap().unwrap()
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

fn certificate((certificate, _): Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()
}

#[tokio::test]
async fn subscribers_read_over_tls_resume_and_are_sent_away_in_order() {
    let (server, _directory) = start("delivery: {drain: {window: 0s}}").await;
    let connector = connector(&["http/1.1"]);
    let stream = connect(&connector, &server, "orders.test").await;
    let mut sse = Sse::ask(Box::new(stream), "/orders/sse", &[]).await;
    let stream = connect(&connector, &server, "orders.test").await;
    let mut socket = WebSocket::ask(Box::new(stream), "/orders/ws").await;
    server.post_numbers(0..1_000).await;
    for n in 0..1_000 {
        assert_eq!(sse.next_data().await, format!("{{\"n\":{n}}}"));
        assert_eq!(socket.next_json().await["data"]["n"], n);
    }
    let stream = connect(&connector, &server, "orders.test").await;
    let resume = [("last-event-id", socket.opened_at.as_str())];
    let mut again = Sse::ask(Box::new(stream), "/orders/sse", &resume).await;
    assert_eq!(again.next_data().await, "{\"n\":0}");
    drop(again);
    server.app.drain(std::time::Duration::MAX).await;
    assert_eq!(sse.next().await.unwrap().name, "draining");
    assert_eq!(sse.next().await, None);
    assert_eq!(socket.next_json().await["control"], "draining");
    assert_eq!(socket.next().await, Some(Frame::Close(Some(1012))));
}

#[tokio::test]
async fn http_2_is_agreed_on_by_who_speaks_it() {
    let (server, _directory) = start("").await;
    let stream = connect(&connector(&["h2", "http/1.1"]), &server, "orders.test").await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let client = Http2::over(Box::new(stream), &Builder::new()).await;
    let mut sse = client.sse("/orders/sse", &[]).await;
    let mut socket = client.web_socket("/orders/ws").await;
    server.post("1").await;
    assert_eq!(sse.next_data().await, "1");
    assert_eq!(socket.next_json().await["data"], 1);
}

#[tokio::test]
async fn what_is_to_be_read_by_nobody_else_is_not_served_in_plain_text() {
    let (server, _directory) = start("").await;
    for request in [Request::get("/orders/sse"), Request::post("/orders/events")] {
        let answer = request.send(server.public).await;
        assert_eq!(answer.status, 421, "{answer:?}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("spec.endpoints.tls"));
    }
    let client = Http2::connect(server.public).await;
    assert_eq!(client.get("/orders/sse").await.0, 421);
    assert_eq!(server.post("1").await.status, 200, "the application's own door stays");
}

#[tokio::test]
async fn each_name_is_shown_its_certificate_and_a_pipeline_without_tls_is_served_both_ways() {
    let directory = TempDir::new().unwrap();
    mount(directory.path(), "orders-tls", ORDERS);
    mount(directory.path(), "other-tls", OTHER);
    let mut pipelines = std::collections::BTreeMap::new();
    for (name, tls) in [
        ("orders", ", tls: {secretName: orders-tls}"),
        ("plain", ""),
        ("other", ", tls: {secretName: other-tls}"),
    ] {
        let spec = OPEN.replace("sse: {}", &format!("sse: {{}}{tls}"));
        let mut one = config(&spec, None).pipelines.remove("orders").unwrap();
        name.clone_into(&mut one.name);
        pipelines.insert(name.to_owned(), one);
    }
    let server = Server::start_with_secrets(Config { pipelines }, directory.path()).await;
    let connector = connector(&[]);
    let stream = connect(&connector, &server, "other.test").await;
    assert_eq!(shown(&stream), certificate(OTHER));
    let sse = Sse::ask(Box::new(stream), "/plain/sse", &[]).await;
    assert!(sse.head.starts_with("HTTP/1.1 200"), "{}", sse.head);
    let plain = Sse::open(server.public, "/plain/sse", &[]).await;
    assert!(plain.head.starts_with("HTTP/1.1 200"), "{}", plain.head);
    let stream = connect(&connector, &server, "orders.test").await;
    assert_eq!(shown(&stream), certificate(ORDERS));
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_up_and_a_broken_one_refused_while_streams_go_on() {
    const REFUSED: &str = "weir_tls_certificate_refused{secret=\"orders-tls\"} ";
    let (server, directory) = start("").await;
    let connector = connector(&["http/1.1"]);
    let stream = connect(&connector, &server, "orders.test").await;
    let mut sse = Sse::ask(Box::new(stream), "/orders/sse", &[]).await;
    mount(directory.path(), "orders-tls", (RENEWED.0, ORDERS.1));
    server.metric_becomes(REFUSED, 1).await;
    let stream = connect(&connector, &server, "orders.test").await;
    assert_eq!(shown(&stream), certificate(ORDERS), "the last good one stays");
    mount(directory.path(), "orders-tls", RENEWED);
    server.metric_becomes(REFUSED, 0).await;
    let stream = connect(&connector, &server, "orders.test").await;
    assert_eq!(shown(&stream), certificate(RENEWED));
    fs::remove_file(directory.path().join("orders-tls/tls.key")).unwrap();
    server.metric_becomes(REFUSED, 1).await;
    server.metric_becomes("weir_tls_certificate_usable{secret=\"orders-tls\"} ", 1).await;
    server.post("1").await;
    assert_eq!(sse.next_data().await, "1");
}

#[tokio::test]
async fn a_pod_that_is_there_to_serve_is_ready_once_it_has_a_certificate_and_stays_so() {
    const SERVING: &str = "/readyz?serving=true";
    let directory = TempDir::new().unwrap();
    let of_secret = |secret: &str| {
        let tls = format!("endpoints: {{tls: {{secretName: {secret}}}, ");
        config(&OPEN.replace("endpoints: {", &tls), None)
    };
    let server = Server::start_with_secrets(of_secret("orders-tls"), directory.path()).await;
    let answer = server.admin(SERVING).await;
    let why = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 503, "{why}");
    assert!(why.starts_with("there is no certificate of the Secret orders-tls yet: "), "{why}");
    assert_eq!(server.admin("/readyz").await.status, 200);
    mount(directory.path(), "orders-tls", ORDERS);
    let is_ready = async {
        while server.admin(SERVING).await.status != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, is_ready).await.expect("taken up without a restart");
    server.app.apply(of_secret("another"));
    assert_eq!(server.admin(SERVING).await.status, 200, "its subscribers stay");
}

#[tokio::test]
async fn one_that_comes_back_is_spared_the_handshake() {
    let (server, _directory) = start("").await;
    let connector = connector(&["http/1.1"]);
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut stream = connect(&connector, &server, "orders.test").await;
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected));
        // The ticket comes before the answer.
        stream.write_all(b"GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 404"));
    }
}

#[tokio::test]
async fn one_that_stops_reading_over_tls_is_cut_off() {
    let (server, _directory) = start("delivery: {maxLag: {events: 100, bytes: 1Gi}}").await;
    let connector = connector(&["http/1.1"]);
    let stream = connect(&connector, &server, "orders.test").await;
    let _stalled = Sse::ask(Box::new(stream), "/orders/sse", &[]).await;
    let stream = connect(&connector, &server, "orders.test").await;
    let mut live = Sse::ask(Box::new(stream), "/orders/sse", &[]).await;
    let filler = "x".repeat(64 * 1024);
    for n in 0..250 {
        server.post(&format!("\"{n} {filler}\"")).await;
        assert!(live.next_data().await.starts_with(&format!("\"{n} ")));
    }
    server.metric_becomes("weir_connections_cut_off_total{pipeline=\"orders\"} ", 1).await;
}

#[tokio::test]
async fn what_is_no_handshake_is_counted_and_harms_nobody() {
    let (server, _directory) = start("").await;
    let mut silent = TcpStream::connect(server.public).await.unwrap();
    silent.write_all(&[0x16, 3, 1]).await.unwrap();
    let mut garbage = TcpStream::connect(server.public).await.unwrap();
    garbage.write_all(&[0x16; 600]).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, garbage.read_to_end(&mut answer)).await.expect("it is closed");
    server.metric_becomes("weir_tls_handshakes_failed_total{reason=\"broken\"} ", 1).await;
    let stream = connect(&connector(&[]), &server, "orders.test").await;
    let sse = Sse::ask(Box::new(stream), "/orders/sse", &[]).await;
    assert!(sse.head.starts_with("HTTP/1.1 200"));
    let _ =
        timeout(PATIENCE, silent.read_to_end(&mut answer)).await.expect("closed in ten seconds");
    server.metric_becomes("weir_tls_handshakes_failed_total{reason=\"timeout\"} ", 1).await;
}

#[tokio::test]
async fn who_says_inside_tls_that_it_sends_nothing_more_has_left() {
    let (server, _directory) = start("").await;
    let connected = "weir_subscribers{pipeline=\"orders\",transport=\"sse\"} ";
    let mut stream = connect(&connector(&["http/1.1"]), &server, "orders.test").await;
    stream.write_all(b"GET /orders/sse HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    let mut got = vec![stream.read_u8().await.unwrap()];
    server.metric_becomes(connected, 1).await;
    stream.shutdown().await.unwrap();
    // However it says so.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut got)).await.expect("the end");
    server.metric_becomes(connected, 0).await;
    crate::endings::ended(&server, "sse", "client", 1).await;
}
