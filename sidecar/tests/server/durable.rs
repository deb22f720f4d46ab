//! Durable streams over real sockets: what the public conformance suite doesn't ask.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    client::{Answer, Request, Sse},
    fixture::{Server, config},
};

const STREAMS: &str = "
placement: {gateway: {replicas: 1}}
sources: [{name: demo, generator: {rate: 1}}]
endpoints: {sse: {}, durableStreams: {anonymous: true, maxStreams: 3, maxStreamBytes: 8Ki, longPoll: 1s}}
";

const ROOM: &str = "/orders/streams/rooms/1";

async fn put(server: &Server, path: &str, media_type: &str) -> Answer {
    Request::new("PUT", path).header("content-type", media_type).send(server.public).await
}

async fn append(server: &Server, path: &str, body: &str) -> Answer {
    let request = Request::post(path).header("content-type", "text/plain");
    request.body(body).send(server.public).await
}

async fn get(server: &Server, path: &str) -> Answer {
    Request::get(path).send(server.public).await
}

fn header(answer: &Answer, name: &str) -> Option<String> {
    let line = answer.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.map(str::to_owned)
}

fn next(answer: &Answer) -> String {
    header(answer, "stream-next-offset").unwrap()
}

#[tokio::test]
async fn a_stream_is_created_appended_to_read_and_deleted() {
    let server = Server::start(STREAMS).await;
    let created = put(&server, ROOM, "text/plain").await;
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(header(&created, "location").unwrap(), format!("http://test{ROOM}"));
    assert_eq!(append(&server, ROOM, "hello").await.status, 204);
    let read = get(&server, ROOM).await;
    assert_eq!((read.status, read.text().as_str()), (200, "hello"));
    assert_eq!(header(&read, "stream-up-to-date").as_deref(), Some("true"));
    let deleted = Request::new("DELETE", ROOM).send(server.public).await;
    assert_eq!(deleted.status, 204);
    let missing = get(&server, ROOM).await;
    assert_eq!(missing.status, 404);
    assert!(missing.json()["detail"].as_str().unwrap().contains("PUT"), "{missing:?}");
    assert_eq!(server.metric("weir_durable_streams{pipeline=\"orders\"}").await, Some(0));
    let refused = "weir_durable_streams_refused_total{pipeline=\"orders\",reason=\"not_found\"}";
    assert_eq!(server.metric(refused).await, Some(1));
}

#[tokio::test]
async fn a_long_poll_is_woken_by_an_append_and_a_sleeping_one_is_answered_in_time() {
    let server = Server::start(STREAMS).await;
    let at = next(&put(&server, ROOM, "text/plain").await);
    let path = format!("{ROOM}?offset={at}&live=long-poll");
    let begin = Instant::now();
    let idle = get(&server, &path).await;
    assert_eq!((idle.status, next(&idle)), (204, at.clone()));
    assert!(begin.elapsed() >= Duration::from_secs(1));
    let (woken, appended) = tokio::join!(get(&server, &path), append(&server, ROOM, "news"));
    assert_eq!((woken.status, woken.text().as_str(), appended.status), (200, "news", 204));
}

#[tokio::test]
async fn a_reader_over_sse_gets_what_is_there_what_comes_and_the_end() {
    let server = Server::start(STREAMS).await;
    put(&server, ROOM, "text/plain").await;
    append(&server, ROOM, "one\ntwo").await;
    let mut sse = Sse::open(server.public, &format!("{ROOM}?offset=-1&live=sse"), &[]).await;
    let first = sse.next().await.unwrap();
    assert_eq!((first.name.as_str(), first.data.as_str()), ("data", "one\ntwo"));
    assert!(sse.next().await.unwrap().data.contains("\"upToDate\":true"));
    // The first bytes of a character wait for the last.
    let whole = "é".as_bytes();
    for part in whole {
        let request = Request::post(ROOM).header("content-type", "text/plain");
        assert_eq!(request.bytes(&[*part]).send(server.public).await.status, 204);
    }
    assert_eq!(sse.next().await.unwrap().data, "é");
    assert_eq!(sse.next().await.unwrap().name, "control");
    let close = Request::post(ROOM).header("stream-closed", "true").send(server.public).await;
    assert_eq!(close.status, 204);
    assert!(sse.next().await.unwrap().data.contains("\"streamClosed\":true"));
    assert_eq!(sse.next().await, None);
}

#[tokio::test]
async fn what_would_go_beyond_a_bound_is_refused_and_harms_no_other_stream() {
    let server = Server::start(STREAMS).await;
    for path in ["/orders/streams/a", "/orders/streams/b", "/orders/streams/c"] {
        assert_eq!(put(&server, path, "text/plain").await.status, 201);
    }
    assert_eq!(put(&server, "/orders/streams/d", "text/plain").await.status, 507);
    let large = "x".repeat(9 * 1024);
    assert_eq!(append(&server, "/orders/streams/a", &large).await.status, 413);
    let most = "x".repeat(6 * 1024);
    assert_eq!(append(&server, "/orders/streams/a", &most).await.status, 204);
    assert_eq!(append(&server, "/orders/streams/a", &most).await.status, 507);
    assert_eq!(append(&server, "/orders/streams/b", "fine").await.status, 204);
    assert_eq!(get(&server, "/orders/streams/a").await.body.len(), most.len());
}

#[tokio::test]
async fn a_bad_request_is_answered_with_what_is_wrong() {
    let server = Server::start(STREAMS).await;
    put(&server, ROOM, "text/plain").await;
    for (path, status, word) in [
        ("/orders/streams/", 400, "path"),
        ("/orders/streams/a/%2e%2e/b", 400, "path"),
        ("/orders/streams/none", 404, "PUT"),
        (&format!("{ROOM}?offset=7"), 400, "offset"),
        (&format!("{ROOM}?offset=-1&live=forever"), 400, "live"),
    ] {
        let answer = get(&server, path).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(word), "{path}: {answer:?}");
        assert_eq!(header(&answer, "x-content-type-options").as_deref(), Some("nosniff"));
    }
    let odd = Request::new("PATCH", ROOM).send(server.public).await;
    assert_eq!((odd.status, header(&odd, "allow").is_some()), (405, true));
}

#[tokio::test]
async fn a_changed_manifest_keeps_the_streams_and_one_without_them_serves_none() {
    let server = Server::start(STREAMS).await;
    put(&server, ROOM, "text/plain").await;
    server.app.apply(config(&STREAMS.replace("maxStreams: 3", "maxStreams: 1"), None));
    assert_eq!(get(&server, ROOM).await.status, 200);
    assert_eq!(put(&server, "/orders/streams/b", "text/plain").await.status, 507);
    let without = "
placement: {gateway: {replicas: 1}}
sources: [{name: demo, generator: {rate: 1}}]
";
    server.app.apply(config(without, None));
    let none = get(&server, ROOM).await;
    assert_eq!(none.status, 404);
    assert!(none.text().contains("spec.endpoints.durableStreams"), "{none:?}");
}
