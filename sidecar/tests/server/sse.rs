//! What a subscriber over SSE gets.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    client::{Request, Sse},
    fixture::{OPEN, PATIENCE, Server},
};

#[tokio::test]
async fn the_head_keeps_caches_and_proxies_out_and_the_opening_sets_the_position() {
    let server = Server::start(OPEN).await;
    let mut sse = server.sse("").await;
    let head = sse.head.to_ascii_lowercase();
    for line in [
        "http/1.1 200 ok",
        "content-type: text/event-stream; charset=utf-8",
        "cache-control: no-cache, no-transform",
        "x-accel-buffering: no",
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
    assert!(!head.contains("content-length"));
    sse.until_line("").await;
    assert!(sse.last_event_id.ends_with("-0"), "before the first event: {}", sse.last_event_id);
    assert!((1_000..3_000).contains(&sse.retry.unwrap()));
}

#[tokio::test]
async fn events_carry_their_cursor_and_dispatch_as_message() {
    let server = Server::start(OPEN).await;
    let mut sse = server.sse("").await;
    let cursor = server.post("{\"n\":1}").await.json()["cursor"].clone();
    let event = sse.next().await.unwrap();
    assert_eq!((event.name.as_str(), event.data.as_str()), ("message", "{\"n\":1}"));
    assert_eq!(cursor, event.id);
}

#[tokio::test]
async fn named_events_carry_their_type() {
    let server = Server::start(OPEN).await;
    let mut sse = server.sse("?events=named").await;
    let body = r#"{"specversion":"1.0","id":"1","source":"/s","type":"order.placed","data":1}"#;
    let request = Request::post("/orders/events")
        .header("content-type", "application/cloudevents+json")
        .body(body);
    request.send(server.publish).await;
    assert_eq!(sse.next().await.unwrap().name, "order.placed");
}

#[tokio::test]
async fn an_idle_stream_is_kept_open_by_comments() {
    let server = Server::start(
        "
        placement: {gateway: {}}
        sources: [{name: app, http: {}}]
        endpoints: {sse: {heartbeat: 1s}, publish: {anonymous: true}}
        ",
    )
    .await;
    let mut sse = server.sse("").await;
    sse.until_line(":").await;
    sse.until_line("").await;
    sse.until_line(":").await;
    server.post("1").await;
    assert_eq!(sse.next_data().await, "1");
}

#[tokio::test]
async fn a_proxy_that_speaks_http_1_0_gets_a_stream_without_chunks() {
    let server = Server::start(OPEN).await;
    let mut socket = tokio::net::TcpStream::connect(server.public).await.unwrap();
    socket.write_all(b"GET /orders/sse HTTP/1.0\r\n\r\n").await.unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\n\n") {
        let read = tokio::time::timeout(PATIENCE, socket.read_buf(&mut bytes)).await.unwrap();
        assert!(read.unwrap() > 0);
    }
    let text = String::from_utf8(bytes).unwrap();
    assert!(!text.to_ascii_lowercase().contains("transfer-encoding"), "{text}");
    assert!(text.contains("\r\n\r\nretry: "), "{text}");
}

#[tokio::test]
async fn a_payload_of_several_lines_arrives_whole() {
    let server = Server::start(OPEN).await;
    let mut sse = server.sse("").await;
    server.post("{\n  \"n\": 1\n}").await;
    assert_eq!(sse.next_data().await, "{\n  \"n\": 1\n}");
}

#[tokio::test]
async fn a_connection_may_ask_for_something_else_first() {
    let server = Server::start(OPEN).await;
    let mut socket = tokio::net::TcpStream::connect(server.public).await.unwrap();
    // The second request comes in one segment with the first, as a client that pipelines sends it.
    socket
        .write_all(b"GET /x HTTP/1.1\r\nhost: t\r\n\r\nGET /orders/sse HTTP/1.1\r\nhost: t\r\n\r\n")
        .await
        .unwrap();
    let mut bytes = Vec::new();
    while !String::from_utf8_lossy(&bytes).contains("retry: ") {
        let read = tokio::time::timeout(PATIENCE, socket.read_buf(&mut bytes)).await.unwrap();
        assert!(read.unwrap() > 0, "{}", String::from_utf8_lossy(&bytes));
    }
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with("HTTP/1.1 404") && text.contains("HTTP/1.1 200 OK"), "{text}");
}

#[tokio::test]
async fn an_endpoint_that_is_not_declared_is_not_served() {
    let server = Server::start(
        "
        placement: {gateway: {}}
        sources: [{name: tick, generator: {rate: 1}}]
        endpoints: {websocket: {}}
        ",
    )
    .await;
    let answer = Request::get("/orders/sse").send(server.public).await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn who_asks_for_what_is_not_there_is_told_all_that_is() {
    let server = Server::start(&OPEN.replace("sse: {}", "sse: {}, read: {}")).await;
    let detail = async |path: &str, status| {
        let answer = Request::get(path).send(server.public).await;
        assert_eq!(answer.status, status, "{answer:?}");
        answer.json()["detail"].as_str().unwrap().to_owned()
    };
    let all = detail("/orders/nothing", 404).await;
    for endpoint in ["sse", "ws", "events", "streams/{path}", "ticket"] {
        assert!(all.contains(&format!("/{{pipeline}}/{endpoint}")), "{endpoint} in {all}");
    }
    let page = detail("/orders/events?limits=1", 400).await;
    for parameter in ["after", "cursor", "from", "until", "limit", "filter", "wait"] {
        assert!(page.contains(parameter), "{parameter} in {page}");
    }
    assert!(page.contains("perhaps limit is meant"), "{page}");
    let twice = detail("/orders/events?limit=1&limit=2", 400).await;
    assert!(twice.contains("gives limit twice"), "{twice}");
}

#[tokio::test]
async fn a_misspelt_parameter_is_refused_and_what_is_for_others_is_not() {
    let server = Server::start(OPEN).await;
    for path in ["/orders/sse?filtr=true", "/orders/ws?filtr=true"] {
        let answer = Request::get(path).header("accept", "text/event-stream");
        let answer = answer.send(server.public).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.text().contains("perhaps filter is meant"), "{}", answer.text());
    }
    let mut sse = server.sse("?_=1764150000&utm_source=mail&cursor=").await;
    let mut socket = server.web_socket("?_t=1&_t=2").await;
    server.post("1").await;
    assert_eq!(sse.next_data().await, "1");
    assert_eq!(socket.next_json().await["data"], 1);
}

#[tokio::test]
async fn what_is_no_path_of_ours_is_not_there() {
    let server = Server::start(&OPEN.replace("sse: {}", "sse: {}, read: {}")).await;
    for path in [
        "//orders/sse",
        "/orders//sse",
        "/orders/x/sse",
        "/orders/x/events",
        "/./orders/sse",
        "/orders/../x",
        "/orders/./sse",
        "/orders/sse/",
        "/orders/ws/",
        "/orders/events/",
        "/orders/events/?limit=1",
        "/x/../orders/events?limit=0",
        "/sse",
        "/",
    ] {
        let answer = Request::get(path).send(server.public).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        let answer = Request::post(path).body("1").send(server.publish).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
}

const CONNECTED: &str = "weir_subscribers{pipeline=\"orders\",transport=\"sse\"} ";

#[tokio::test]
async fn a_client_that_sends_nothing_more_still_listens() {
    let server = Server::start(&format!("{OPEN}\ndelivery: {{drain: {{window: 0s}}}}")).await;
    let mut socket = tokio::net::TcpStream::connect(server.public).await.unwrap();
    socket.write_all(b"GET /orders/sse HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    socket.shutdown().await.unwrap();
    let mut got = String::new();
    let mut until = async |what: &str| {
        while !got.contains(what) {
            let mut bytes = Vec::new();
            let read = tokio::time::timeout(PATIENCE, socket.read_buf(&mut bytes)).await.unwrap();
            assert!(read.unwrap() > 0, "it ended before {what}: {got}");
            got.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    };
    until("retry: ").await;
    for n in 100..103 {
        server.post(&n.to_string()).await;
        until(&format!("data: {n}")).await;
    }
    assert_eq!(server.metric(CONNECTED).await, Some(1));
    // It ends as for any other.
    server.app.drain(std::time::Duration::MAX).await;
    until("event: draining").await;
    let mut rest = Vec::new();
    let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut rest)).await;
    read.expect("the end").unwrap();
    got.push_str(std::str::from_utf8(&rest).unwrap());
    assert!(got.ends_with("0\r\n\r\n"), "{got}");
}

#[tokio::test]
async fn a_client_that_sends_nothing_more_gets_what_its_socket_had_no_room_for() {
    const EVENTS: usize = 12;
    let server = Server::start(&format!("{OPEN}\ndelivery: {{maxLag: {{bytes: 64Mi}}}}")).await;
    let narrow = async || {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        let mut socket = socket.connect(server.public).await.unwrap();
        socket.write_all(b"GET /orders/sse HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
        socket.read_u8().await.unwrap();
        socket
    };
    let (mut listens, gone) = (narrow().await, narrow().await);
    let large = "x".repeat(500_000);
    for n in 0..EVENTS {
        assert_eq!(server.post(&format!("\"{n}:{large}\"")).await.status, 200);
    }
    listens.shutdown().await.unwrap();
    // The other has gone altogether, and is found out behind what it will never read.
    drop(gone);
    tokio::time::timeout(std::time::Duration::from_secs(5), server.metric_becomes(CONNECTED, 1))
        .await
        .unwrap();
    let mut got = Vec::new();
    while got.len() < EVENTS * large.len() + 5_000 {
        let read = tokio::time::timeout(PATIENCE, listens.read_buf(&mut got)).await;
        match read {
            Ok(read) => assert!(read.unwrap() > 0, "it ended after {}", got.len()),
            Err(_) => break,
        }
        let text = String::from_utf8_lossy(&got[got.len().saturating_sub(200)..]);
        if text.contains("xxx\"\n\n") && got.len() > EVENTS * large.len() {
            break;
        }
    }
    let text = String::from_utf8(got).unwrap();
    let places: Vec<_> =
        (0..EVENTS).map(|n| text.find(&format!("data: \"{n}:x")).unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert_eq!(server.metric(CONNECTED).await, Some(1));
}

#[tokio::test]
async fn a_client_that_is_gone_is_found_out_though_nothing_is_sent() {
    let server = Server::start(OPEN).await;
    let (sse, socket) = (server.sse("").await, server.web_socket("").await);
    server.metric_becomes(CONNECTED, 1).await;
    drop((sse, socket));
    let gone = async {
        server.metric_becomes(CONNECTED, 0).await;
        server.metric_becomes(&CONNECTED.replace("sse", "websocket"), 0).await;
    };
    // Long before the next heartbeat.
    tokio::time::timeout(std::time::Duration::from_secs(5), gone).await.unwrap();
    // The end of what a client says over WebSocket is the end.
    let mut socket = server.web_socket("").await;
    socket.socket.shutdown().await.unwrap();
    assert_eq!(socket.next().await, None);
}

#[tokio::test]
async fn a_cursor_that_is_given_by_two_headers_is_refused() {
    let server = Server::start(OPEN).await;
    let cursor = server.post("1").await.json()["cursor"].as_str().unwrap().to_owned();
    let request = Request::get("/orders/sse").header("last-event-id", &cursor);
    let answer = request.header("last-event-id", &cursor).send(server.public).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("last-event-id is given twice"), "{}", answer.text());
}

#[tokio::test]
async fn a_full_pipeline_asks_an_event_source_to_come_back() {
    let server = Server::start(
        "
        placement: {gateway: {}}
        sources: [{name: app, http: {}}]
        endpoints: {sse: {}, websocket: {}, publish: {anonymous: true}}
        delivery: {maxConnections: 1}
        ",
    )
    .await;
    let _first = server.sse("").await;
    let mut second = Sse::open(server.public, "/orders/sse", &[("connection", "close")]).await;
    assert!(second.head.starts_with("HTTP/1.1 200"), "another status ends an EventSource for good");
    let event = second.next().await.unwrap();
    assert!(event.data.contains("too_many_connections"), "{event:?}");
    assert!(second.retry.is_some());
    let script = Request::get("/orders/sse").send(server.public).await;
    assert_eq!(script.status, 503, "who reads a status is given one");
    assert!(script.head.to_ascii_lowercase().contains("\r\nretry-after: "), "{}", script.head);
    assert_eq!(script.json()["type"], "tag:weir.dev,2026:problem/too_many_connections");
    let refused = "weir_connections_refused_total{pipeline=\"orders\",transport=\"sse\",reason=\"too_many_connections\"} ";
    assert_eq!(server.metric(refused).await, Some(2));
}
