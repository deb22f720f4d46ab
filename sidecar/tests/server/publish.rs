//! What an application posts, and what it is answered.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::{
    client::{Answer, Request},
    fixture::{OPEN, PATIENCE, Server, config},
};

async fn post(server: &Server, media_type: &str, body: &str) -> Answer {
    let request = Request::post("/orders/events").header("content-type", media_type);
    request.body(body).send(server.publish).await
}

#[tokio::test]
async fn a_publish_is_answered_with_what_the_log_has_taken() {
    let server = Server::start(OPEN).await;
    let answer = server.post("{\"n\":1}").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    assert_eq!((&json["accepted"], &json["duplicates"]), (&1.into(), &0.into()));
    assert!(json["cursor"].as_str().unwrap().ends_with("-1"), "{json}");
}

#[tokio::test]
async fn every_content_mode_arrives_as_it_was_posted() {
    let server = Server::start(OPEN).await;
    let mut sse = server.sse("").await;
    let event = |id, data| {
        format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t","data":{data}}}"#)
    };
    let batch = format!("[{},{}]", event("b", "[2, 3]"), event("c", "\"x\""));
    for (media_type, body) in [
        ("application/json", r#"{"a" :  1}"#),
        ("application/cloudevents+json", &event("a", r#"{"k":1.0}"#)),
        ("application/cloudevents-batch+json", &batch),
        ("application/x-ndjson", "{\"n\":1}\n\n{\"n\":2}\n"),
    ] {
        let answer = post(&server, media_type, body).await;
        assert_eq!(answer.status, 200, "{media_type}: {answer:?}");
    }
    for expected in [r#"{"a" :  1}"#, r#"{"k":1.0}"#, "[2, 3]", "\"x\"", "{\"n\":1}", "{\"n\":2}"] {
        assert_eq!(sse.next_data().await, expected);
    }
}

#[tokio::test]
async fn a_cloudevent_in_binary_mode_keeps_its_attributes() {
    let server = Server::start(OPEN).await;
    let mut sse = server.sse("?format=cloudevents").await;
    let request = Request::post("/orders/events")
        .header("content-type", "application/json")
        .header("ce-specversion", "1.0")
        .header("ce-id", "e-1")
        .header("ce-source", "/shop")
        .header("ce-type", "order.placed")
        .header("ce-traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_eq!(request.body("{\"n\":1}").send(server.publish).await.status, 200);
    let event: serde_json::Value = serde_json::from_str(&sse.next_data().await).unwrap();
    assert_eq!((&event["id"], &event["type"]), (&"e-1".into(), &"order.placed".into()));
    assert_eq!((&event["source"], &event["data"]["n"]), (&"/shop".into(), &1.into()));
    assert!(event["traceparent"].is_string());
}

#[tokio::test]
async fn an_id_makes_a_publish_idempotent() {
    let server = Server::start(OPEN).await;
    let mut sse = server.sse("").await;
    let publish = || {
        Request::post("/orders/events")
            .header("content-type", "application/json")
            .header("idempotency-key", "k-1")
            .body("{\"n\":1}")
            .send(server.publish)
    };
    let (first, second) = (publish().await.json(), publish().await.json());
    assert_eq!((&second["accepted"], &second["duplicates"]), (&0.into(), &1.into()));
    assert_eq!(first["cursor"], second["cursor"]);
    server.post("{\"n\":2}").await;
    assert_eq!([sse.next_data().await, sse.next_data().await], ["{\"n\":1}", "{\"n\":2}"]);
}

#[tokio::test]
async fn a_bad_event_is_refused_with_a_problem_and_leaves_no_trace() {
    let server = Server::start(OPEN).await;
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    for (media_type, body, status) in [
        ("application/json", "{\"n\":", 400),
        ("application/json", "", 400),
        ("application/json", large.as_str(), 413),
        ("application/cloudevents+json", r#"{"specversion":"1.0","id":"a","type":"t"}"#, 422),
        ("application/x-ndjson", "{\"n\":1}\nnonsense\n", 400),
        ("application/cloudevents+xml", "<event/>", 415),
    ] {
        let answer = post(&server, media_type, body).await;
        let json = answer.json();
        assert_eq!(answer.status, status, "{media_type}: {json}");
        assert!(answer.head.contains("application/problem+json"), "{}", answer.head);
        assert_eq!(json["status"], status);
        assert!(!json["detail"].as_str().unwrap().is_empty());
    }
    assert_eq!(server.metric("weir_log_events{pipeline=\"orders\"} ").await, Some(0));
    let rejected = "weir_source_requests_rejected_total{pipeline=\"orders\",source=\"app\"} ";
    assert_eq!(server.metric(rejected).await, Some(6));
}

#[tokio::test]
async fn a_text_in_letters_of_two_bytes_fits_however_it_is_escaped() {
    let server = Server::start(OPEN).await;
    let event = format!(
        r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/plain","data":"{}"}}"#,
        r"\u0436".repeat(500_000)
    );
    let answer = post(&server, "application/cloudevents+json", &event).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn json_that_no_filter_could_read_is_refused_and_everything_else_is_found_by_one() {
    let server = Server::start(OPEN).await;
    let mut sse = server.sse("?filter=has(event.data)").await;
    let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for (payload, words) in [
        (deep(100_000), "deeper than 100 levels"),
        ("{\"n\":1e400}".to_owned(), "beyond 1.8e308"),
        (r#"{"s":"\ud800"}"#.to_owned(), "half a character"),
    ] {
        let refused = post(&server, "application/json", &payload).await;
        assert_eq!(refused.status, 422, "{refused:?}");
        assert_eq!(refused.json()["type"], "tag:weir.dev,2026:problem/unreadable_json");
        assert!(refused.text().contains(words), "{refused:?}");
    }
    for payload in [&*deep(100), "{\"n\":-1.7e308}", r#"{"s":"\ud83d\ude00"}"#] {
        assert_eq!(post(&server, "application/json", payload).await.status, 200, "{payload}");
        assert_eq!(sse.next_data().await, payload);
    }
}

#[tokio::test]
async fn where_an_event_stood_in_another_log_is_in_no_format() {
    let server = Server::start(&OPEN.replace("sse: {}", "sse: {}, read: {}")).await;
    let language = [("sec-websocket-protocol", "cloudevents.json")];
    let mut socket = server.web_socket_with(&language).await;
    let mut sse = server.sse("?format=cloudevents").await;
    let event = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","weircursor":"elsewhere-7","data":1}"#;
    let answer = post(&server, "application/cloudevents+json", event).await;
    let cursor = answer.json()["cursor"].clone();
    assert!(!sse.next_data().await.contains("elsewhere"));
    loop {
        let told = socket.next_json().await;
        if told["type"] == "t" {
            assert_eq!(told["weircursor"], cursor);
            break;
        }
    }
    let page = Request::get("/orders/events")
        .header("accept", "application/cloudevents-batch+json")
        .send(server.public)
        .await;
    assert!(page.status == 200 && !page.text().contains("elsewhere"), "{page:?}");
}

#[tokio::test]
async fn the_public_port_takes_events_only_where_the_manifest_opens_it() {
    let open = Server::start(OPEN).await;
    let request = || {
        let request = Request::post("/orders/events").header("content-type", "application/json");
        request.body("{}")
    };
    assert_eq!(request().send(open.public).await.status, 200);

    let closed = Server::start(
        "
        placement: {sidecar: {selector: {matchLabels: {app: shop}}}}
        sources: [{name: app, http: {}}]
        ",
    )
    .await;
    let answer = request().send(closed.public).await;
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("spec.endpoints.publish"), "{}", answer.text());
    assert_eq!(request().send(closed.publish).await.status, 200);
}

#[tokio::test]
async fn what_is_not_served_is_answered_with_what_is() {
    let server = Server::start(OPEN).await;
    let secret = OPEN.replace("endpoints:", "auth: {jwt: {issuer: https://id.example, audiences: [orders], jwks: {secretName: a, key: b}}}\nendpoints:");
    let mut both = config(OPEN, None);
    let closed = config(&secret, None).pipelines.remove("orders").unwrap();
    both.pipelines.insert("board".to_owned(), closed);
    server.app.apply(both);
    for path in ["/nothing/sse", "/nothing/ws", "/nothing/events", "/nothing/streams/a"] {
        let answer = Request::get(path).send(server.public).await;
        assert_eq!(answer.status, 404, "{answer:?}");
        assert!(answer.text().contains("served are: orders\""), "{}", answer.text());
    }
    // The application is told of all.
    let answer = Request::post("/nothing/events").body("1").send(server.publish).await;
    assert!(answer.text().contains("served are: board, orders\""), "{}", answer.text());
    for (request, status, hint) in [
        (Request::get("/nothing/sse"), 404, "served are: orders"),
        (Request::get("/orders/events"), 404, "spec.endpoints.read"),
        (Request::post("/orders/ws"), 405, "GET"),
        (Request::new("PUT", "/orders/sse"), 405, "GET, POST, QUERY"),
        (Request::get("/orders/sse?from=yesterday"), 400, "earliest"),
        (Request::get("/orders/ws"), 426, "upgrade"),
        (Request::get("/favicon.ico"), 404, "/{pipeline}/sse"),
    ] {
        let answer = request.send(server.public).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.text().contains(hint), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_web_page_can_not_publish_as_if_it_were_the_application() {
    let server = Server::start(OPEN).await;
    let request = || {
        let request = Request::post("/orders/events").header("content-type", "text/plain");
        request.header("origin", "https://evil.example").body("x")
    };
    assert_eq!(request().send(server.publish).await.status, 403);
    assert_eq!(
        request().send(server.public).await.status,
        200,
        "the manifest opens it to everybody"
    );
}

#[tokio::test]
async fn what_is_asked_of_a_proxy_is_refused() {
    let server = Server::start(OPEN).await;
    for to in [server.public, server.publish, server.admin] {
        assert_eq!(Request::new("CONNECT", "a:1").send(to).await.status, 400);
    }
}

/// What was sent in vain is thrown away, and the answer to it is seen.
#[tokio::test]
async fn whoever_sends_much_in_vain_reads_why() {
    // Whose public port takes no events: its application's own pods do.
    let spec = "placement: {sidecar: {selector: {matchLabels: {app: shop}}}}\n\
                sources: [{name: app, http: {}}]\nendpoints: {sse: {}}";
    let server = Server::start(spec).await;
    let large = "x".repeat(5 << 20);
    for (method, path, status) in [
        ("POST", "/orders/events", 403),
        ("POST", "/nothing/events", 404),
        ("POST", "/orders/ticket", 404),
        ("PUT", "/orders/streams/a", 404),
        ("PUT", "/orders/sse", 405),
        ("POST", "/orders/sse", 415),
        ("PUT", "/orders/events", 405),
        ("POST", "/orders", 404),
    ] {
        let request = Request::new(method, path).header("content-type", "application/json");
        let answer = request.body(&large).send(server.public).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.head);
        assert!(!answer.json()["detail"].as_str().unwrap().is_empty());
        // The same without a word about how much it is.
        let mut socket = tokio::net::TcpStream::connect(server.public).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..80 {
            let chunk = format!("10000\r\n{}\r\n", &large[..1 << 16]);
            socket.write_all(chunk.as_bytes()).await.unwrap();
        }
        socket.write_all(b"0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, socket.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {answer}");
    }
    // Who waits for a word before it sends is answered at once, and one who never ends is not waited for.
    for (head, most) in [("expect: 100-continue\r\n", 1), ("", 10)] {
        let begun = std::time::Instant::now();
        let mut socket = tokio::net::TcpStream::connect(server.public).await.unwrap();
        let head = format!(
            "POST /orders/events HTTP/1.1\r\nhost: t\r\nconnection: close\r\n{head}content-length: 9\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, socket.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        assert!(begun.elapsed().as_secs() < most, "{:?}", begun.elapsed());
    }
}
