//! Who can't be served now is asked to come back, in the way that it understands.

use serde_json::Value;

use crate::{
    client::{Frame, Request, Socket, Sse, WebSocket},
    fixture::{OPEN, PATIENCE, Server, config},
    h2_client::Http2,
    limits::connect_from,
    schema::hold,
};

const FULL: &str = "
placement: {gateway: {}}
sources: [{name: app, http: {}}]
endpoints: {sse: {}, websocket: {}, publish: {anonymous: true}}
delivery: {maxConnections: 1}
";

/// What an accepted WebSocket is told, with which code it is closed, and that it ends then.
async fn farewell(mut socket: WebSocket) -> (Value, u16) {
    let message = socket.next_json().await;
    let Some(Frame::Close(Some(code))) = socket.next().await else { panic!("no close") };
    socket.send(8, &code.to_be_bytes()).await;
    assert_eq!(socket.next().await, None);
    (message, code)
}

async fn open(server: &Server, query: &str, headers: &[(&str, &str)]) -> WebSocket {
    let socket: Socket = Box::new(tokio::net::TcpStream::connect(server.public).await.unwrap());
    let socket = WebSocket::shake_hands(socket, &format!("/orders/ws{query}"), headers).await;
    assert!(socket.head.starts_with("HTTP/1.1 101 "), "{}", socket.head);
    socket
}

async fn refused(server: &Server, transport: &str, reason: &str) -> Option<u64> {
    let metric = "weir_connections_refused_total{pipeline=\"orders\",transport=";
    server.metric(&format!("{metric}\"{transport}\",reason=\"{reason}\"}} ")).await
}

#[tokio::test]
async fn a_full_pipeline_tells_a_web_socket_so_in_its_own_language() {
    let server = Server::start(FULL).await;
    let _first = server.sse("").await;
    let (message, code) = farewell(open(&server, "", &[]).await).await;
    hold("json.failure", &message);
    assert_eq!((message["code"].as_str(), code), (Some("too_many_connections"), 1013));
    assert!(message["retry"].as_u64().is_some_and(|retry| (1_000..3_000).contains(&retry)));

    let language = [("sec-websocket-protocol", "cloudevents.json")];
    let (message, code) = farewell(open(&server, "", &language).await).await;
    hold("cloudevents.server", &message);
    assert_eq!((message["type"].as_str(), code), (Some("dev.weir.failure"), 1013));
    assert_eq!(message["data"]["code"], "too_many_connections");

    let language = [("sec-websocket-protocol", "weir.v1")];
    let (message, code) = farewell(open(&server, "", &language).await).await;
    hold("v1.failure", &message);
    assert_eq!((message["of"].as_str(), code), (Some("connection"), 1013));
    assert_eq!(message["code"], "too_many_connections");
    assert_eq!(refused(&server, "websocket", "too_many_connections").await, Some(3));
}

#[tokio::test]
async fn an_event_source_that_is_sent_back_keeps_the_position_it_came_with() {
    let server = Server::start(FULL).await;
    let _first = server.sse("").await;
    for position in ["0123456789ab-1f", "somebody's \"own\""] {
        let headers = [("accept", "text/event-stream"), ("last-event-id", position)];
        let mut source = Sse::open(server.public, "/orders/sse", &headers).await;
        let told = source.next().await.unwrap();
        assert!(told.data.contains("too_many_connections"), "{}", told.data);
        assert_eq!(told.id, position);
        let told: serde_json::Value = serde_json::from_str(&told.data).unwrap();
        assert_eq!(told["cursor"], position);
    }
}

#[tokio::test]
async fn a_full_pipeline_tells_a_web_socket_inside_http2_so_too() {
    let server = Server::start(FULL).await;
    let _first = server.sse("").await;
    let client = Http2::connect(server.public).await;
    for _ in 0..2 {
        let (status, _, tunnel) = client.tunnel("/orders/ws", Some("websocket")).await.unwrap();
        assert_eq!(status, 200);
        let (message, code) = farewell(WebSocket::bare(Box::new(tunnel))).await;
        assert_eq!((message["code"].as_str(), code), (Some("too_many_connections"), 1013));
    }
}

#[tokio::test]
async fn a_refusal_leaves_the_place_free_for_whoever_comes_next() {
    let server = Server::start(FULL).await;
    let first = server.sse("").await;
    farewell(open(&server, "", &[]).await).await;
    drop(first);
    server.metric_becomes("weir_subscribers{pipeline=\"orders\",transport=\"sse\"} ", 0).await;
    let mut second = server.web_socket("").await;
    server.post("1").await;
    assert_eq!(second.next_json().await["data"], 1);
}

#[tokio::test]
async fn a_handshake_that_is_none_is_answered_by_a_status_though_the_pipeline_is_full() {
    let server = Server::start(FULL).await;
    let _first = server.sse("").await;
    assert_eq!(Request::get("/orders/ws").send(server.public).await.status, 426);
}

#[tokio::test]
async fn who_comes_while_the_replica_stops_is_sent_to_another() {
    let server = Server::start(&format!("{OPEN}\ndelivery: {{drain: {{window: 0s}}}}")).await;
    assert_eq!(Request::post("/drain").send(server.admin).await.status, 200);
    let (message, code) = farewell(open(&server, "", &[]).await).await;
    assert_eq!((message["code"].as_str(), code), (Some("draining"), 1012));
    let script = Request::get("/orders/sse").send(server.public).await;
    assert_eq!(script.status, 503);
    assert_eq!(script.json()["type"], "tag:weir.dev,2026:problem/draining");
    assert_eq!(refused(&server, "sse", "draining").await, Some(1));
    assert_eq!(refused(&server, "websocket", "draining").await, Some(1));
}

#[tokio::test]
async fn one_filter_too_many_is_told_in_band() {
    let server = Server::start(OPEN).await;
    let mut held = Vec::new();
    for n in 0..64 {
        // More than one address may have.
        let socket = connect_from(&server, 2 + n / 32).await;
        let path = format!("/orders/sse?filter=event.data.n%20%3D%3D%20{n}");
        held.push(Sse::ask(Box::new(socket), &path, &[]).await);
    }
    let filter = "?filter=event.data.n%20%3D%3D%2064";
    let (message, code) = farewell(open(&server, filter, &[]).await).await;
    assert_eq!((message["code"].as_str(), code), (Some("too_many_filters"), 1013));
    let mut source = server.sse(filter).await;
    assert!(source.head.starts_with("HTTP/1.1 200 "), "{}", source.head);
    assert!(source.next().await.unwrap().data.contains("too_many_filters"));
    // A filter that can't be read will not be better later.
    let bad = Request::get("/orders/sse?filter=%29").header("accept", "text/event-stream");
    assert_eq!(bad.send(server.public).await.status, 400);
    assert_eq!(refused(&server, "sse", "too_many_filters").await, Some(1));
}

#[tokio::test]
async fn a_log_that_can_not_be_read_now_is_told_in_band() {
    // There is no place for logs on a disk.
    let disk = OPEN.replace("endpoints:", "log: {storage: {disk: {size: 1Gi}}}\nendpoints:");
    let server = Server::start_with(config(&disk, None)).await;
    let (message, code) = farewell(open(&server, "", &[]).await).await;
    assert_eq!((message["code"].as_str(), code), (Some("log_unavailable"), 1013));
    let mut source = Sse::open(server.public, "/orders/sse", &[]).await;
    assert!(source.next().await.unwrap().data.contains("log_unavailable"));
    assert!(source.retry.is_some());
    assert_eq!(Request::get("/orders/sse").send(server.public).await.status, 503);
    assert_eq!(refused(&server, "sse", "log_unavailable").await, Some(2));
}

#[tokio::test]
async fn a_store_that_refuses_connections_is_said_once_not_to_be_reached() {
    let redis = "log: {storage: {redis: {address: '127.0.0.1:1'}}}\nendpoints:";
    let server = Server::start(&OPEN.replace("endpoints:", redis)).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let told = loop {
        let refused = server.post("1").await;
        assert_eq!(refused.status, 503);
        let told = refused.json()["detail"].as_str().unwrap().to_owned();
        // At first it is being opened.
        if told.contains("refused") {
            break told;
        }
        assert!(tokio::time::Instant::now() < deadline, "{told}");
        tokio::task::yield_now().await;
    };
    assert_eq!(told.matches("can't be reached").count(), 1, "{told}");
}

/// After how long each of so many that come at once is asked to come back.
async fn hints(server: &Server, count: usize) -> Vec<u64> {
    let mut coming = tokio::task::JoinSet::new();
    for _ in 0..count {
        let public = server.public;
        coming.spawn(async move {
            let mut told = Sse::open(public, "/orders/sse", &[]).await;
            assert_eq!(told.next().await.unwrap().name, "failure");
            told.retry.unwrap()
        });
    }
    coming.join_all().await
}

#[tokio::test]
async fn a_crowd_is_spread_and_whoever_comes_for_another_reason_is_not() {
    let drains = FULL.replace("maxConnections: 1", "maxConnections: 1, drain: {window: 0s}");
    let server = Server::start(&drains).await;
    let _first = server.sse("").await;
    let few = hints(&server, 50).await;
    assert!(few.iter().all(|hint| (1_000..3_000).contains(hint)), "{few:?}");
    hints(&server, 250).await;
    let crowd = hints(&server, 50).await;
    // Of fifty, all in the first two of five seconds are not seen.
    assert!(crowd.iter().any(|hint| *hint > 3_000), "{crowd:?}");
    assert!(crowd.iter().all(|hint| (1_000..8_000).contains(hint)), "{crowd:?}");
    assert_eq!(Request::post("/drain").send(server.admin).await.status, 200);
    let others = hints(&server, 50).await;
    assert!(others.iter().all(|hint| *hint < 3_000), "{others:?}");
    assert_eq!(refused(&server, "sse", "too_many_connections").await, Some(350));
    assert_eq!(refused(&server, "sse", "draining").await, Some(50));
}
