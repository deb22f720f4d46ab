//! Tokens over HTTP/2: each stream of a connection has its own, and ends with it.

use serde_json::{Value, json};

use super::{House, bearer, now};
use crate::{
    client::{Frame, Request},
    endings::ended,
    h2_client::Http2,
};

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

/// A ticket, as it stands in a query.
async fn ticket(house: &House) -> String {
    let token = bearer(&house.token(&json!({})));
    let request = Request::post("/orders/ticket").header("authorization", &token);
    let answer = request.send(house.server.public).await.json();
    format!("ticket={}", answer["ticket"].as_str().unwrap())
}

#[tokio::test]
async fn of_many_who_show_a_ticket_at_once_one_gets_in() {
    let house = House::open_with("  tickets: {ttl: 30s}", "").await;
    let public = house.server.public;
    let clients = [Http2::connect(public).await, Http2::connect(public).await];
    let url = format!("/orders/sse?{}", ticket(&house).await);
    assert_eq!(clients[0].get(&format!("{url}&filter=%29")).await.0, 400, "it is given back");
    let all = (0..8).map(|n| clients[n % 2].sse(&url, &[]));
    let mut streams = futures::future::join_all(all).await;
    streams.sort_by(|a, b| a.head.cmp(&b.head));
    let statuses: Vec<_> = streams.iter().map(|stream| &stream.head[..3]).collect();
    assert_eq!(statuses, ["200", "401", "401", "401", "401", "401", "401", "401"]);
    house.server.post("1").await;
    assert_eq!(streams[0].next_data().await, "1");
    house.refused("ticket_invalid", 7).await;
    let socket = url.replace("/sse", "/ws");
    let (status, _, _) = clients[0].tunnel(&socket, Some("websocket")).await.unwrap();
    assert_eq!(status, 401);
    let socket = format!("/orders/ws?{}", ticket(&house).await);
    let mut socket = clients[1].web_socket(&socket).await;
    house.server.post("2").await;
    assert_eq!(socket.next_json().await["data"], 2);
}

#[tokio::test]
async fn a_ticket_of_which_a_try_is_under_way_is_not_lost() {
    let house = House::open_with("  tickets: {ttl: 30s}\ndelivery: {maxConnections: 1}", "").await;
    let public = house.server.public;
    let first = house.subscribe(&house.token(&json!({}))).await;
    let url = format!("/orders/sse?{}", ticket(&house).await);
    // One of them waits a moment for a seat, and the other finds the ticket in its hands.
    let (a, b) = tokio::join!(Request::get(&url).send(public), Request::get(&url).send(public));
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [401, 503]);
    drop(first);
    let mut stream = house.sse(&url, &[]).await;
    house.server.post("1").await;
    assert_eq!(stream.next_data().await, "1");
}
