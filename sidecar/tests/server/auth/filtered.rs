//! `auth.jwt.filter`: what a subscriber's token says decides which events it gets, wherever it reads.

use serde_json::{Value, json};

use super::{House, bearer, header, sessions::open};
use crate::client::{Answer, Request, WebSocket};

const OWN: &str = "    filter: event.data.owner == claims.sub";

async fn house() -> House {
    House::open_with(OWN, ", read: {}").await
}

async fn post(house: &House, owner: &str, n: u64) {
    house.server.post(&json!({"owner": owner, "n": n}).to_string()).await;
}

/// Bob's first, so that whoever is not held to the filter is seen at once.
async fn fill(house: &House) {
    for (owner, n) in [("bob", 1), ("ada", 2), ("bob", 3), ("ada", 4)] {
        post(house, owner, n).await;
    }
}

fn token(house: &House, sub: &str) -> String {
    bearer(&house.token(&json!({"sub": sub, "jti": "7"})))
}

async fn page(house: &House, sub: &str, query: &str) -> Answer {
    let request = Request::get(&format!("/orders/events{query}"));
    request.header("authorization", &token(house, sub)).send(house.server.public).await
}

fn numbers(page: &Value) -> Vec<u64> {
    page["events"].as_array().unwrap().iter().map(|e| e["data"]["n"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_stream_has_the_events_that_the_token_gives_a_right_to() {
    let house = house().await;
    fill(&house).await;
    let ada = token(&house, "ada");
    let ada = [("authorization", ada.as_str())];
    let mut stream = house.sse("/orders/sse?from=earliest", &ada).await;
    assert!(stream.next_data().await.contains("\"n\":2"));
    assert!(stream.next_data().await.contains("\"n\":4"));
    let path = "/orders/ws?from=earliest";
    let mut socket = WebSocket::open_with(house.server.public, path, &ada).await;
    assert_eq!(socket.next_json().await["data"]["n"], 2);
    assert_eq!(socket.next_json().await["data"]["n"], 4);
    for (owner, n) in [("bob", 5), ("ada", 6)] {
        post(&house, owner, n).await;
    }
    assert!(stream.next_data().await.contains("\"n\":6"));
    assert_eq!(socket.next_json().await["data"]["n"], 6);
}

#[tokio::test]
async fn what_a_subscriber_wishes_for_adds_nothing_to_it() {
    let house = house().await;
    fill(&house).await;
    let ada = token(&house, "ada");
    let ada = [("authorization", ada.as_str())];
    for (filter, first) in [("true", "\"n\":2"), ("event.data.n%20%3E%202", "\"n\":4")] {
        let path = format!("/orders/sse?from=earliest&filter={filter}");
        assert!(house.sse(&path, &ada).await.next_data().await.contains(first), "{filter}");
    }
    assert_eq!(numbers(&page(&house, "ada", "?filter=true%20%7C%7C%20false").await.json()), [2, 4]);
}

#[tokio::test]
async fn a_session_has_the_events_that_the_token_gives_a_right_to() {
    let house = house().await;
    fill(&house).await;
    let bob = token(&house, "bob");
    let mut client = open(&house.server, "/orders/ws", &[("authorization", &bob)]).await;
    let all = json!({"type": "subscribe", "id": "a", "from": "earliest", "filter": "true"});
    client.ask(all, "subscribed").await;
    let (data, _) = client.events("a", 2).await;
    assert_eq!(data, [json!({"owner": "bob", "n": 1}), json!({"owner": "bob", "n": 3})]);
}

#[tokio::test]
async fn a_page_is_each_reader_s_own() {
    let house = house().await;
    fill(&house).await;
    let (ada, bob) = (page(&house, "ada", "").await, page(&house, "bob", "").await);
    assert_eq!(numbers(&ada.json()), [2, 4]);
    assert_eq!(numbers(&bob.json()), [1, 3]);
    assert_eq!(numbers(&page(&house, "eve", "").await.json()), [0; 0]);
    let tag = header(&ada.head, "etag").unwrap();
    assert_ne!(Some(tag), header(&bob.head, "etag"));
    let again = |sub| {
        let request = Request::get("/orders/events").header("if-none-match", tag);
        request.header("authorization", &token(&house, sub)).send(house.server.public)
    };
    assert_eq!(again("ada").await.status, 304);
    assert_eq!(again("bob").await.status, 200);
}

#[tokio::test]
async fn many_subscribers_with_claims_of_their_own_have_one_filter_each_and_no_bound_in_common() {
    let house = house().await;
    let mut streams = Vec::new();
    for n in 0..70 {
        let token = token(&house, &format!("user-{n}"));
        streams.push(house.sse("/orders/sse", &[("authorization", &token)]).await);
    }
    post(&house, "user-69", 1).await;
    assert!(streams.last_mut().unwrap().next_data().await.contains("user-69"));
    // Tokens that differ in what the filter doesn't read share one.
    let other = bearer(&house.token(&json!({"sub": "user-0", "jti": "8"})));
    let _same = house.sse("/orders/sse", &[("authorization", &other)]).await;
    house.server.metric_becomes("weir_filters{pipeline=\"orders\"} ", 70).await;
}

#[tokio::test]
async fn whoever_shows_no_token_gets_what_is_there_for_everybody() {
    let public = "    filter: has(event.data.open) || event.data.owner == claims.sub\n";
    let house = House::open_with(&format!("{public}  anonymous: true"), ", read: {}").await;
    post(&house, "ada", 1).await;
    house.server.post("{\"open\":true,\"n\":2}").await;
    let answer = Request::get("/orders/events").send(house.server.public).await;
    assert_eq!(numbers(&answer.json()), [2]);
    assert_eq!(numbers(&page(&house, "ada", "").await.json()), [1, 2]);
    let keep = header(&answer.head, "cache-control").unwrap();
    assert!(keep.starts_with("private"), "{keep}");
}
