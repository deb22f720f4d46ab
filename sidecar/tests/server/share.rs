//! Subscribers beyond a replica's share are sent away with their cursors; who comes later stays.

use serde_json::json;
use weir_crds::names::Share;
use weir_sidecar::{clock, config::Config};

use crate::{
    client::{Frame, Sse},
    endings::ended,
    fixture::{OPEN, Server, config},
    session::Client,
};

/// How many seconds there are to come down to the share.
const WINDOW: u64 = 3;

/// The open pipeline, of which each replica may keep so many connections.
fn held_to(connections: u64) -> Config {
    let mut config = config(OPEN, None);
    let until = clock::now().as_millis() / 1_000 + WINDOW;
    let orders = config.pipelines.get_mut("orders").unwrap();
    orders.share = Some(Share { connections, until });
    config
}

#[tokio::test]
async fn who_is_too_many_leaves_with_the_cursor_and_is_let_in_again() {
    let server = Server::start(OPEN).await;
    let (mut sse, mut socket) = (server.sse("").await, server.web_socket("").await);
    let mut session = Client::open(&server).await;
    session.ask(json!({"type": "subscribe", "id": "a"}), "subscribed").await;
    server.post("1").await;
    assert_eq!(sse.next_data().await, "1");
    assert_eq!(socket.next_json().await["data"], 1);
    session.events("a", 1).await;
    let share = held_to(0);
    server.app.apply(share.clone());
    let farewell = sse.next().await.unwrap();
    assert_eq!((farewell.name.as_str(), sse.next().await), ("draining", None));
    assert_eq!(socket.next_json().await["control"], "draining");
    assert_eq!(socket.next().await, Some(Frame::Close(Some(1012))));
    session.expect("draining").await;
    assert_eq!(session.0.next().await, Some(Frame::Close(Some(1012))));
    drop((socket, session));
    ended(&server, "sse", "share", 1).await;
    ended(&server, "websocket", "share", 2).await;
    // Whoever comes after the call stays, however often the same share is read.
    let resume = [("last-event-id", farewell.id.as_str())];
    let mut again = Sse::open(server.public, "/orders/sse", &resume).await;
    server.app.apply(share);
    server.post("2").await;
    assert_eq!(again.next_data().await, "2");
}

#[tokio::test]
async fn nobody_leaves_a_replica_that_has_no_more_than_its_share() {
    let server = Server::start(OPEN).await;
    let (mut sse, mut socket) = (server.sse("").await, server.web_socket("").await);
    let share = held_to(2);
    server.app.apply(share.clone());
    let Share { until, .. } = share.pipelines["orders"].share.unwrap();
    // A connection that was drawn would be gone a quarter of a second after the window.
    while clock::now().as_millis() < (until + 1) * 1_000 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    server.post("1").await;
    assert_eq!(sse.next_data().await, "1");
    assert_eq!(socket.next_json().await["data"], 1);
}
