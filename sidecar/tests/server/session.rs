//! `weir.v1`: several pipelines on one socket. Every message of either side is held to the schema.

use serde_json::{Value, json};

use crate::{
    client::{Frame, WebSocket},
    fixture::{OPEN, Server, config},
    schema::hold,
};

/// A client of `weir.v1`.
pub(crate) struct Client(pub(crate) WebSocket);

impl Client {
    pub(crate) async fn open(server: &Server) -> Self {
        let mut client = Self::open_with(server, &[]).await;
        let hello = client.next().await;
        assert_eq!(hello["type"], "hello");
        client
    }

    pub(crate) async fn open_with(server: &Server, headers: &[(&str, &str)]) -> Self {
        let headers = [&[("sec-websocket-protocol", "weir.v1")], headers].concat();
        let socket = server.web_socket_with(&headers).await;
        assert!(socket.head.contains("sec-websocket-protocol: weir.v1\r\n"), "{}", socket.head);
        Self(socket)
    }

    pub(crate) async fn say(&mut self, message: Value) {
        hold("v1.client", &message);
        self.0.send(1, message.to_string().as_bytes()).await;
    }

    pub(crate) async fn next(&mut self) -> Value {
        self.0.next_json().await
    }

    /// The next message, which must be of this type.
    pub(crate) async fn expect(&mut self, kind: &str) -> Value {
        let message = self.next().await;
        assert_eq!(message["type"], kind, "{message}");
        message
    }

    /// Asks, and expects an answer of this type.
    pub(crate) async fn ask(&mut self, message: Value, kind: &str) -> Value {
        self.say(message).await;
        self.expect(kind).await
    }

    /// The data of the next so many events of a subscription, and the last cursor.
    pub(crate) async fn events(&mut self, id: &str, count: usize) -> (Vec<Value>, String) {
        let (mut data, mut cursor) = (Vec::new(), String::new());
        while data.len() < count {
            let batch = self.expect("events").await;
            assert_eq!(batch["id"], id, "{batch}");
            for event in batch["events"].as_array().unwrap() {
                data.push(event["data"].clone());
                event["cursor"].as_str().unwrap().clone_into(&mut cursor);
            }
        }
        assert_eq!(data.len(), count);
        (data, cursor)
    }
}

pub(crate) fn two_pipelines() -> weir_sidecar::config::Config {
    let mut both = config(OPEN, None);
    let mut other = both.pipelines["orders"].clone();
    "returns".clone_into(&mut other.name);
    both.pipelines.insert("returns".to_owned(), other);
    both
}

#[tokio::test]
async fn several_pipelines_share_a_socket() {
    let server = Server::start_with(two_pipelines()).await;
    let mut client = Client::open(&server).await;
    client.ask(json!({"type": "subscribe", "id": "a"}), "subscribed").await;
    client.ask(json!({"type": "subscribe", "id": "b", "pipeline": "returns"}), "subscribed").await;
    let to_b = json!({"type": "publish", "id": "p", "pipeline": "returns", "data": "b"});
    // The answer and the event may come in either order.
    client.say(to_b).await;
    let (first, second) = (client.next().await, client.next().await);
    let mut kinds = [first["type"].clone(), second["type"].clone()];
    kinds.sort_by_key(ToString::to_string);
    assert_eq!(kinds, ["events", "published"]);
    let events = if first["type"] == "events" { first } else { second };
    assert_eq!((&events["id"], &events["events"][0]["data"]), (&json!("b"), &json!("b")));
    server.post("\"a\"").await;
    assert_eq!(client.events("a", 1).await.0, ["a"]);
    client.ask(json!({"type": "unsubscribe", "id": "b"}), "unsubscribed").await;
    let again = client.ask(json!({"type": "unsubscribe", "id": "b"}), "failure").await;
    assert_eq!(again["code"], "unknown_subscription");
}

#[tokio::test]
async fn a_backlog_comes_in_batches_and_resumes_by_cursor() {
    let server = Server::start(OPEN).await;
    server.post_numbers(0..1_000).await;
    let mut client = Client::open(&server).await;
    client.ask(json!({"type": "subscribe", "id": "a", "from": "earliest"}), "subscribed").await;
    let first = client.expect("events").await;
    let batch = first["events"].as_array().unwrap();
    assert!(batch.len() > 100, "{} events in the first batch", batch.len());
    let seen = batch.len();
    let cursor = batch.last().unwrap()["cursor"].clone();
    let mut again = Client::open(&server).await;
    again.ask(json!({"type": "subscribe", "id": "x", "cursor": cursor}), "subscribed").await;
    let (rest, _) = again.events("x", 1_000 - seen).await;
    assert_eq!(rest.first(), Some(&json!({"n": seen})));
    assert_eq!(rest.last(), Some(&json!({"n": 999})));
}

#[tokio::test]
async fn no_more_events_are_unacknowledged_than_the_window_has() {
    let server = Server::start(OPEN).await;
    server.post_numbers(0..10).await;
    let mut client = Client::open(&server).await;
    let subscribe = json!({"type": "subscribe", "id": "a", "from": "earliest", "window": 4});
    client.ask(subscribe, "subscribed").await;
    let (first, cursor) = client.events("a", 4).await;
    assert_eq!(first.last(), Some(&json!({"n": 3})));
    // Nothing but the answer comes.
    client.ask(json!({"type": "ping", "id": "quiet"}), "pong").await;
    client.say(json!({"type": "ack", "id": "a", "cursor": cursor})).await;
    let (second, cursor) = client.events("a", 4).await;
    assert_eq!(second.first(), Some(&json!({"n": 4})));
    client.say(json!({"type": "ack", "id": "a", "cursor": cursor})).await;
    assert_eq!(client.events("a", 2).await.0, [json!({"n": 8}), json!({"n": 9})]);
    let foreign = json!({"type": "ack", "id": "a", "cursor": "nonsense"});
    assert_eq!(client.ask(foreign, "failure").await["of"], "ack");
}

#[tokio::test]
async fn a_publish_is_answered_and_taken_once() {
    let server = Server::start(OPEN).await;
    let mut client = Client::open(&server).await;
    let keyed = json!({"type": "publish", "id": "1", "data": {"n": 1}, "key": "k 1", "event": "order.placed"});
    let first = client.ask(keyed.clone(), "published").await;
    assert_eq!((&first["accepted"], &first["duplicates"]), (&json!(1), &json!(0)));
    let second = client.ask(keyed, "published").await;
    assert_eq!((&second["accepted"], &second["duplicates"]), (&json!(0), &json!(1)));
    assert_eq!(first["cursor"], second["cursor"]);
    let event = json!({"specversion": "1.0", "id": "7", "source": "/s", "type": "t"});
    let bad = json!({"type": "publish", "id": "2", "events": [event, {}]});
    let refused = client.ask(bad, "failure").await;
    assert_eq!(
        (&refused["of"], &refused["id"], &refused["index"]),
        (&json!("publish"), &json!("2"), &json!(1))
    );
    let deep = (0..101).fold(json!(1), |inner, _| json!([inner]));
    let refused = client.ask(json!({"type": "publish", "id": "4", "data": deep}), "failure").await;
    assert_eq!((&refused["id"], &refused["code"]), (&json!("4"), &json!("unreadable_json")));
    let nowhere = json!({"type": "publish", "id": "3", "pipeline": "x", "data": 1});
    assert_eq!(client.ask(nowhere, "failure").await["code"], "unknown_pipeline");
}

#[tokio::test]
async fn publishing_needs_the_manifest_to_open_it() {
    let closed = "
        placement: {sidecar: {selector: {matchLabels: {app: shop}}}}
        sources: [{name: app, http: {}}]
    ";
    let server = Server::start(closed).await;
    let mut client = Client::open(&server).await;
    let refused = client.ask(json!({"type": "publish", "id": "p", "data": 1}), "failure").await;
    assert_eq!(refused["code"], "forbidden");
}

#[tokio::test]
async fn what_can_not_be_done_is_told_and_the_rest_goes_on() {
    let server = Server::start(OPEN).await;
    let mut client = Client::open(&server).await;
    client.ask(json!({"type": "subscribe", "id": "a"}), "subscribed").await;
    for (request, code) in [
        (json!({"type": "subscribe", "id": "a"}), "duplicate_id"),
        (json!({"type": "subscribe", "id": "b", "pipeline": "nowhere"}), "unknown_pipeline"),
        (json!({"type": "subscribe", "id": "b", "from": "yesterday"}), "query"),
        (json!({"type": "subscribe", "id": "b", "filter": "nonsense("}), "filter"),
    ] {
        assert_eq!(client.ask(request, "failure").await["code"], code);
    }
    for text in ["", "[]", "{\"type\":\"shout\"}", "{\"type\":\"subscribe\",\"id\":\"c\",\"x\":1}"]
    {
        client.0.send(1, text.as_bytes()).await;
        assert_eq!(client.expect("failure").await["code"], "malformed", "{text}");
    }
    server.post("1").await;
    assert_eq!(client.events("a", 1).await.0, [json!(1)]);
    client.0.send(2, b"bytes").await;
    assert_eq!(client.0.next().await, Some(Frame::Close(Some(1003))));
    assert_eq!(client.0.next().await, None);
}

#[tokio::test]
async fn a_cursor_that_can_not_be_honoured_is_told() {
    let server = Server::start(OPEN).await;
    let mut client = Client::open(&server).await;
    client.ask(json!({"type": "subscribe", "id": "a", "cursor": "nonsense"}), "subscribed").await;
    assert_eq!(client.expect("gap").await["reason"], "malformed");
}

#[tokio::test]
async fn a_drain_sends_every_subscription_away_with_its_cursor() {
    let server = Server::start(&format!("{OPEN}\ndelivery: {{drain: {{window: 0s}}}}")).await;
    let mut client = Client::open(&server).await;
    client.ask(json!({"type": "subscribe", "id": "a"}), "subscribed").await;
    client.ask(json!({"type": "subscribe", "id": "b"}), "subscribed").await;
    let cursor = server.post("1").await.json()["cursor"].clone();
    for _ in 0..2 {
        client.expect("events").await;
    }
    let drain = server.app.drain(std::time::Duration::MAX);
    let read = async {
        let mut hints = Vec::new();
        for id in ["a", "b"] {
            let draining = client.expect("draining").await;
            assert_eq!((&draining["id"], &draining["cursor"]), (&json!(id), &cursor));
            hints.push(draining["retry"].as_u64());
        }
        assert_eq!(client.0.next().await, Some(Frame::Close(Some(1012))));
        let hint = client.0.close_hint()["retry"].as_u64();
        assert!(
            hint.is_some() && hints == [hint; 2],
            "one socket comes back at one time: {hints:?}"
        );
        drop(client);
    };
    tokio::join!(drain, read);
}

#[tokio::test]
async fn silence_is_filled_with_heartbeats_and_a_dead_peer_is_let_go() {
    let server = Server::start(&OPEN.replace("websocket: {}", "websocket: {ping: 1s}")).await;
    let mut client = Client::open(&server).await;
    let (mut beats, mut pings) = (0, 0);
    // It doesn't answer the ping.
    while let Some(frame) = client.0.next().await {
        match frame {
            Frame::Text(text) => {
                assert_eq!(text, "{\"type\":\"heartbeat\"}");
                beats += 1;
            }
            Frame::Ping(_) => pings += 1,
            other @ (Frame::Pong(_) | Frame::Close(_)) => panic!("{other:?}"),
        }
    }
    assert!(beats >= 1 && pings == 1, "{beats} heartbeats, {pings} pings");
}

#[tokio::test]
async fn deliveries_are_counted_as_everywhere() {
    let server = Server::start(OPEN).await;
    let mut client = Client::open(&server).await;
    for id in ["a", "b"] {
        client.ask(json!({"type": "subscribe", "id": id}), "subscribed").await;
    }
    server
        .metric_becomes("weir_subscribers{pipeline=\"orders\",transport=\"websocket\"} ", 2)
        .await;
    server.post_numbers(0..50).await;
    let mut seen = 0;
    while seen < 100 {
        seen += client.expect("events").await["events"].as_array().unwrap().len();
    }
    client.ask(json!({"type": "unsubscribe", "id": "b"}), "unsubscribed").await;
    drop(client);
    server
        .metric_becomes("weir_subscribers{pipeline=\"orders\",transport=\"websocket\"} ", 0)
        .await;
    let samples: weir_slo::Samples =
        serde_json::from_slice(&server.admin("/samples").await.body).unwrap();
    let deliveries = samples.pipelines[0].deliveries;
    assert_eq!((deliveries.due, deliveries.written, deliveries.lagging), (100, 100, 0));
}

#[tokio::test]
async fn batches_are_compressed_where_that_is_agreed_on() {
    let compressed = OPEN.replace("websocket: {}", "websocket: {compression: {}}");
    let server = Server::start(&compressed).await;
    server.post_numbers(0..200).await;
    let mut client =
        Client::open_with(&server, &[("sec-websocket-extensions", "permessage-deflate")]).await;
    client.expect("hello").await;
    client.ask(json!({"type": "subscribe", "id": "a", "from": "earliest"}), "subscribed").await;
    assert_eq!(client.events("a", 200).await.0.len(), 200);
    assert!(client.0.compressed > 0);
}

#[tokio::test]
async fn each_subscription_has_its_filter_and_is_told_how_far_it_has_come() {
    let server = Server::start(OPEN).await;
    let mut client = Client::open(&server).await;
    let even = json!({"type": "subscribe", "id": "a", "filter": "event.data.n % 2 == 0"});
    client.ask(even, "subscribed").await;
    server.post_numbers(0..4).await;
    let (seen, _) = client.events("a", 2).await;
    assert_eq!(seen, [json!({"n": 0}), json!({"n": 2})]);
    let last = server.post("{\"n\":5}").await.json()["cursor"].clone();
    loop {
        let position = client.expect("position").await;
        if position["cursor"] == last {
            break;
        }
    }
}
