//! What becomes of a stream when its token expires; tokens in the handshake of a WebSocket.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::{House, PATIENCE, bearer, manifest, now};
use crate::{
    client::{Frame, WebSocket},
    fixture::config,
};

#[tokio::test]
async fn a_stream_ends_with_its_token_and_a_new_one_goes_on_from_there() {
    let house = House::open().await;
    let mut stream = house.subscribe(&house.token(&json!({"exp": now() + 2}))).await;
    house.server.post("1").await;
    assert_eq!(stream.next_data().await, "1");
    let told = timeout(PATIENCE, stream.next()).await.unwrap().unwrap();
    assert_eq!(told.name, "failure");
    let told: serde_json::Value = serde_json::from_str(&told.data).unwrap();
    assert_eq!(told["code"], "token_expired");
    assert_eq!(told["cursor"], stream.last_event_id.as_str());
    assert!(stream.retry.is_some_and(|retry| (100..2_000).contains(&retry)));
    assert_eq!(stream.next().await, None, "the stream has its proper end");
    house.server.post("2").await;
    let token = bearer(&house.token(&json!({})));
    let headers = [("authorization", token.as_str()), ("last-event-id", &stream.last_event_id)];
    let mut again = house.sse("/orders/sse", &headers).await;
    assert_eq!(again.next_data().await, "2");
    let expired = "weir_connections_expired_total{pipeline=\"orders\"} ";
    house.server.metric_becomes(expired, 1).await;
}

#[tokio::test]
async fn no_event_comes_after_the_token_has_expired() {
    let house = House::open().await;
    let mut stream = house.subscribe(&house.token(&json!({"exp": now() + 1}))).await;
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    house.server.post("1").await;
    let told = stream.next().await.unwrap();
    assert_eq!(told.name, "failure", "{told:?}");
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_web_socket_takes_its_token_in_the_subprotocol_and_never_sends_it_back() {
    let house = House::open().await;
    let public = house.server.public;
    let token = house.token(&json!({"exp": now() + 2}));
    let offered = format!("weir.json, bearer.{token}");
    let mut socket =
        WebSocket::open_with(public, "/orders/ws", &[("sec-websocket-protocol", &offered)]).await;
    assert!(socket.head.starts_with("HTTP/1.1 101"), "{}", socket.head);
    assert!(!socket.head.contains("bearer") && !socket.head.contains(&token));
    house.server.post("1").await;
    assert_eq!(socket.next_json().await["data"], 1);
    let told = timeout(PATIENCE, socket.next_json()).await.unwrap();
    assert_eq!((&told["control"], &told["code"]), (&json!("failure"), &json!("token_expired")));
    assert!(told["cursor"].is_string());
    assert_eq!(socket.next().await, Some(Frame::Close(Some(1008))));
    let refused = WebSocket::open_with(public, "/orders/ws", &[]).await;
    assert!(refused.head.starts_with("HTTP/1.1 401"), "{}", refused.head);
}

#[tokio::test]
async fn other_terms_send_those_away_who_were_let_in_by_the_old_ones() {
    let house = House::open().await;
    let mut stream = house.subscribe(&house.token(&json!({}))).await;
    let apply = |auth: &str, endpoints: &str| {
        house.server.app.apply(config(&manifest(&house.issuer, auth, endpoints), None));
    };
    // Another change keeps who is there.
    apply("", ", read: {}");
    house.server.post("1").await;
    assert_eq!(stream.next_data().await, "1");
    apply("    filter: event.data > 1", "");
    let told = timeout(PATIENCE, stream.next()).await.unwrap().unwrap();
    assert_eq!(told.name, "draining", "{told:?}");
    let token = bearer(&house.token(&json!({})));
    let headers = [("authorization", token.as_str()), ("last-event-id", &stream.last_event_id)];
    let mut again = house.sse("/orders/sse", &headers).await;
    house.server.post("2").await;
    assert_eq!(again.next_data().await, "2");
}
