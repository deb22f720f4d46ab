//! What a WebSocket says with each subprotocol, held to the schema.

use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{
    client::{Frame, Request, WebSocket},
    fixture::Server,
};

/// What a message is about: the word for what the server says itself, or else `event`.
fn kind(message: &Value) -> &str {
    message["control"].as_str().or(message["data"]["control"].as_str()).unwrap_or("event")
}

const PIPELINE: &str = "
placement: {gateway: {}}
sources: [{name: app, http: {}}]
endpoints: {sse: {}, websocket: {}, publish: {anonymous: true}}
delivery: {drain: {window: 0s}, maxLag: {events: 20}}
";

async fn open(server: &Server, query: &str, protocol: &str) -> WebSocket {
    let socket = TcpStream::connect(server.public).await.unwrap();
    let headers = [("sec-websocket-protocol", protocol)];
    let path = format!("/orders/ws{query}");
    WebSocket::shake_hands(Box::new(socket), &path, &headers).await
}

/// The client holds each message to the schema.
#[tokio::test]
async fn events_and_what_is_said_of_the_stream_keep_to_the_schema() {
    for protocol in ["weir.json", "cloudevents.json"] {
        let server = Server::start(PIPELINE).await;
        let mut socket = open(&server, "?cursor=nonsense", protocol).await;
        let opening = [socket.next_json().await, socket.next_json().await];
        assert_eq!(opening.each_ref().map(kind), ["open", "gap"]);
        let event = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "subject": "x",
            "datacontenttype": "application/json", "dataschema": "https://e.example/s",
            "time": "2026-01-02T03:04:05Z", "weight": 3, "data": null});
        for (media_type, body) in [
            ("application/json", "{\"n\":1}"),
            ("text/plain", "a text"),
            ("application/octet-stream", "\u{0}\u{1}"),
            ("application/cloudevents+json", &event.to_string()),
        ] {
            let request = Request::post("/orders/events").header("content-type", media_type);
            assert_eq!(request.body(body).send(server.publish).await.status, 200);
            assert_eq!(kind(&socket.next_json().await), "event");
        }
        let read = async {
            assert_eq!(kind(&socket.next_json().await), "draining");
            assert_eq!(socket.next().await, Some(Frame::Close(Some(1012))));
            drop(socket);
        };
        tokio::join!(server.app.drain(std::time::Duration::MAX), read);
    }
}

#[tokio::test]
async fn a_farewell_to_who_does_not_keep_up_keeps_to_the_schema() {
    // One frame each: in the midst of a message of several only the close can be said.
    let body = format!("\"{}\"", "x".repeat(32 * 1024));
    for protocol in ["weir.json", "cloudevents.json"] {
        let server = Server::start(PIPELINE).await;
        let mut kinds = Vec::new();
        // It is said where the socket takes it within a second, and this test may take longer.
        for round in 1..10 {
            let mut socket = open(&server, "", protocol).await;
            assert_eq!(kind(&socket.next_json().await), "open");
            let cut_off = "weir_connections_cut_off_total{pipeline=\"orders\"} ";
            while server.metric(cut_off).await < Some(round) {
                assert_eq!(server.post(&body).await.status, 200);
            }
            loop {
                match socket.next().await {
                    Some(Frame::Text(text)) => {
                        let message: Value = serde_json::from_str(&text).unwrap();
                        kinds.push(kind(&message).to_owned());
                    }
                    Some(Frame::Close(code)) => {
                        assert_eq!(code, Some(1013));
                        assert!(socket.close_hint()["cursor"].is_string());
                    }
                    None => break,
                    Some(other @ (Frame::Ping(_) | Frame::Pong(_))) => panic!("{other:?}"),
                }
            }
            if kinds.contains(&"failure".to_owned()) {
                break;
            }
        }
        assert_eq!(kinds.last().map(String::as_str), Some("failure"));
    }
}
