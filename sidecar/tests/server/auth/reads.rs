//! Pages of the log and durable streams: who may read and change them, until when, and for which caches.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::{House, PATIENCE, bearer, header, now};
use crate::client::{Answer, Request, Sse};

const ROOM: &str = "/orders/streams/rooms/1";

async fn house() -> House {
    House::open_with("", ", read: {}, durableStreams: {}").await
}

async fn ask(house: &House, method: &str, path: &str, claims: Option<&Value>) -> Answer {
    let request = Request::new(method, path).header("content-type", "text/plain");
    let request = match claims {
        Some(claims) => request.header("authorization", &bearer(&house.token(claims))),
        None => request,
    };
    let request = if matches!(method, "PUT" | "POST") { request.body("x") } else { request };
    request.send(house.server.public).await
}

fn scope(scope: &str) -> Value {
    json!({ "scope": scope })
}

#[tokio::test]
async fn a_page_is_read_by_those_who_may_subscribe() {
    let house = house().await;
    house.server.post("1").await;
    assert_eq!(ask(&house, "GET", "/orders/events", None).await.status, 401);
    assert_eq!(ask(&house, "HEAD", "/orders/events", None).await.status, 401);
    assert_eq!(ask(&house, "GET", "/orders/events", Some(&scope("write"))).await.status, 403);
    let page = ask(&house, "GET", "/orders/events", Some(&scope("read"))).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.json()["events"][0]["data"], 1);
    let expired = json!({"exp": now() - 10});
    assert_eq!(ask(&house, "GET", "/orders/events", Some(&expired)).await.status, 401);
    house.refused("token_missing", 2).await;
}

#[tokio::test]
async fn streams_are_read_by_those_who_may_subscribe_and_changed_by_those_who_may_publish() {
    let house = house().await;
    let (read, write) = (scope("read"), scope("write"));
    for (method, path, claims, status) in [
        ("PUT", ROOM, None, 401),
        ("PUT", ROOM, Some(&read), 403),
        ("PUT", ROOM, Some(&write), 201),
        ("POST", ROOM, None, 401),
        ("POST", ROOM, Some(&read), 403),
        ("POST", ROOM, Some(&write), 204),
        ("GET", ROOM, None, 401),
        ("GET", ROOM, Some(&write), 403),
        ("GET", ROOM, Some(&read), 200),
        ("HEAD", ROOM, None, 401),
        ("HEAD", ROOM, Some(&read), 200),
        ("GET", "/orders/streams/rooms/1?offset=-1&live=long-poll", None, 401),
        ("GET", "/orders/streams/rooms/1?offset=-1&live=sse", None, 401),
        ("DELETE", ROOM, None, 401),
        ("DELETE", ROOM, Some(&read), 403),
        ("PATCH", ROOM, None, 401),
        ("OPTIONS", ROOM, None, 204),
        ("GET", ROOM, Some(&read), 200),
        ("DELETE", ROOM, Some(&write), 204),
        ("GET", ROOM, Some(&read), 404),
    ] {
        let answer = ask(&house, method, path, claims).await;
        assert_eq!(answer.status, status, "{method} {path} {claims:?}: {answer:?}");
    }
    house.refused("no_right_to_publish", 3).await;
    house.refused("no_right_to_subscribe", 1).await;
}

#[tokio::test]
async fn what_is_read_by_a_token_is_kept_by_no_cache_that_others_use() {
    let house = house().await;
    house.server.post_numbers(0..3).await;
    assert_eq!(ask(&house, "PUT", ROOM, Some(&scope("write"))).await.status, 201);
    let first = ask(&house, "GET", "/orders/events?limit=1", Some(&scope("read"))).await;
    let next = first.json()["next"].as_str().unwrap().to_owned();
    let full = format!("/orders/events?after={next}&limit=1");
    let waited = format!("/orders/events?after={next}&wait=1s");
    let live = format!("{ROOM}?offset=-1&live=long-poll");
    for path in ["/orders/events", &full, &waited, ROOM, &live] {
        let head = ask(&house, "GET", path, Some(&scope("read"))).await.head;
        let keep = header(&head, "cache-control").unwrap();
        assert!(keep.starts_with("private, no-cache") || keep == "no-store", "{path}: {head}");
        assert!(head.contains("vary: authorization, cookie\r\n"), "{path}: {head}");
    }
    let stream = house.subscribe(&house.token(&json!({}))).await;
    let keep = header(&stream.head, "cache-control").unwrap();
    assert_eq!(keep, "private, no-cache, no-transform");
}

#[tokio::test]
async fn whoever_waits_is_answered_when_the_token_ends() {
    let house = house().await;
    assert_eq!(ask(&house, "PUT", ROOM, Some(&scope("write"))).await.status, 201);
    let stream = ask(&house, "GET", ROOM, Some(&scope("read"))).await;
    let end = header(&stream.head, "stream-next-offset").unwrap();
    let began = Instant::now();
    let soon = json!({"exp": now() + 2});
    let path = format!("{ROOM}?offset={end}&live=long-poll");
    let (page, poll) = tokio::join!(
        ask(&house, "GET", "/orders/events?wait=50s", Some(&soon)),
        ask(&house, "GET", &path, Some(&soon)),
    );
    assert_eq!(page.status, 200);
    assert_eq!(page.json()["events"], json!([]));
    assert_eq!(poll.status, 204);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let token = bearer(&house.token(&json!({"exp": now() + 2})));
    let path = format!("{ROOM}?offset=-1&live=sse");
    let mut live = Sse::open(house.server.public, &path, &[("authorization", &token)]).await;
    let all = async { while live.next().await.is_some() {} };
    timeout(PATIENCE, all).await.expect("the stream ends with its token");
}

#[tokio::test]
async fn streams_that_are_open_to_all_writers_are_still_read_by_token() {
    let house = House::open_with("", ", durableStreams: {anonymous: true}").await;
    assert_eq!(ask(&house, "PUT", ROOM, None).await.status, 201);
    assert_eq!(ask(&house, "GET", ROOM, None).await.status, 401);
    assert_eq!(ask(&house, "GET", ROOM, Some(&scope("read"))).await.status, 200);
}
