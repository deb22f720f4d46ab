//! A token whose time is over while a large event is on its way, and the process ends before that has come.

use serde_json::json;

use super::{House, bearer, issuer::now};
use crate::{
    client::Frame,
    large::{begin, narrow, subscribe},
    session::Client,
};

#[tokio::test]
async fn it_is_what_the_close_says_that_comes_within_the_event() {
    for subprotocol in ["weir.json", "weir.v1"] {
        let house = House::open().await;
        let token = bearer(&house.token(&json!({"exp": now() + 2})));
        let headers = [("authorization", token.as_str()), ("sec-websocket-protocol", subprotocol)];
        let server = house.server;
        let mut socket = subscribe(Box::new(narrow(server.public).await), &headers).await;
        if subprotocol == "weir.v1" {
            let mut client = Client(socket);
            client.ask(json!({"type": "subscribe", "id": "a"}), "subscribed").await;
            socket = client.0;
        }
        begin(&server, &mut socket).await;
        server.metric_becomes("weir_connections_expired_total{pipeline=\"orders\"} ", 1).await;
        let read = async {
            assert_eq!(socket.next().await, Some(Frame::Close(Some(1008))), "{subprotocol}");
            assert!(socket.close_hint()["retry"].is_u64());
            assert!(socket.frames.len() < 12, "{:x?}", socket.frames);
        };
        tokio::join!(server.app.stop(), read);
    }
}
