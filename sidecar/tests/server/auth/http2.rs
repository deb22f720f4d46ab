//! Tokens over HTTP/2: each stream of a connection has its own, and ends with it.

use serde_json::{Value, json};

use super::{House, bearer, now};
use crate::{client::Frame, endings::ended, h2_client::Http2};

#[tokio::test]
async fn a_stream_without_a_good_token_is_refused_alone() {
    let house = House::open().await;
    let client = Http2::connect(house.server.public).await;
    let (status, headers, problem) = client.get("/orders/sse").await;
    assert_eq!(status, 401);
    assert_eq!(headers["www-authenticate"], "Bearer realm=\"orders\"");
    assert!(problem.contains("token_missing"), "{problem}");
    let expired = bearer(&house.token(&json!({"exp": now() - 1})));
    let refused = client.sse("/orders/sse", &[("authorization", &expired)]).await;
    assert!(refused.head.starts_with("401 ") && refused.head.contains("token_expired"));
    let tunnel = client.tunnel("/orders/ws", Some("websocket")).await.unwrap();
    assert_eq!(tunnel.0, 401);
    let good = bearer(&house.token(&json!({})));
    let mut stream = client.sse("/orders/sse", &[("authorization", &good)]).await;
    house.server.post("1").await;
    assert_eq!(stream.next_data().await, "1");
    house.refused("token_missing", 2).await;
    house.refused("token_expired", 1).await;
}

#[tokio::test]
async fn a_token_that_expires_ends_its_own_streams_and_not_the_connection() {
    let house = House::open().await;
    let client = Http2::connect(house.server.public).await;
    let brief = bearer(&house.token(&json!({"exp": now() + 3})));
    let long = bearer(&house.token(&json!({})));
    let (brief, long) = ([("authorization", &*brief)], [("authorization", &*long)]);
    let mut ends = client.sse("/orders/sse", &brief).await;
    let mut socket = client.web_socket_with("/orders/ws", &brief).await;
    let mut stays = client.sse("/orders/sse", &long).await;
    house.server.post("1").await;
    assert_eq!((ends.next_data().await, stays.next_data().await), ("1".into(), "1".into()));
    assert_eq!(socket.next_json().await["data"], 1);
    let told = ends.next().await.unwrap();
    let failure: Value = serde_json::from_str(&told.data).unwrap();
    assert_eq!((&*told.name, &failure["code"]), ("failure", &json!("token_expired")));
    assert_eq!(failure["cursor"], *told.id);
    assert_eq!(ends.next().await, None, "the stream has its proper end");
    assert_eq!(socket.next_json().await["code"], "token_expired");
    assert_eq!(socket.next().await, Some(Frame::Close(Some(1008))));
    house.server.post("2").await;
    assert_eq!(stays.next_data().await, "2");
    let back = [long[0], ("last-event-id", &*told.id)];
    let mut again = client.sse("/orders/sse", &back).await;
    assert_eq!(again.next_data().await, "2");
    house.server.metric_becomes("weir_connections_expired_total{pipeline=\"orders\"} ", 2).await;
    drop((ends, socket));
    ended(&house.server, "sse", "token_expired", 1).await;
    ended(&house.server, "websocket", "token_expired", 1).await;
}
