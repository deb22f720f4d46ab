//! Filters: what matches is delivered, what doesn't is counted, and what can't be is refused.

use serde_json::{Value, json};

use crate::{
    client::{Frame, Sse},
    fixture::{OPEN, PATIENCE, Server, config},
    limits::connect_from,
    session::Client,
};

/// A filter, as it stands in a query.
fn query(filter: &str) -> String {
    let mut query = String::from("?filter=");
    for byte in filter.bytes() {
        query.push_str(&format!("%{byte:02x}"));
    }
    query
}

async fn deliveries(server: &Server) -> weir_slo::Deliveries {
    let samples = server.admin("/samples").await.json();
    serde_json::from_value(samples["pipelines"][0]["deliveries"].clone()).unwrap()
}

#[tokio::test]
async fn a_subscriber_gets_what_its_filter_matches_and_the_rest_is_counted() {
    let server = Server::start(OPEN).await;
    let mut odd = server.sse(&query("event.data.n % 2 == 1")).await;
    let mut large = server.web_socket(&query("event.data.n >= 90")).await;
    let mut all = server.sse("").await;
    server.metric_becomes("weir_subscribers{pipeline=\"orders\",transport=\"sse\"} ", 2).await;
    server.post_numbers(0..100).await;
    for n in 0..50 {
        assert_eq!(odd.next_data().await, format!("{{\"n\":{}}}", 2 * n + 1));
    }
    for n in 90..100 {
        assert_eq!(large.next_json().await["data"]["n"], n);
    }
    for n in 0..100 {
        assert_eq!(all.next_data().await, format!("{{\"n\":{n}}}"));
    }
    server.metric_becomes("weir_deliveries_lagging{pipeline=\"orders\"} ", 0).await;
    let found = deliveries(&server).await;
    assert_eq!((found.due, found.written, found.filtered), (300, 160, 140), "{found:?}");
}

#[tokio::test]
async fn an_event_is_evaluated_once_for_all_who_share_the_filter() {
    let server = Server::start(OPEN).await;
    server.post_numbers(0..100).await;
    let spellings = ["event.data.n > 50", "event.data.n>50", "(event.data.n > 50)"];
    // They stay, so that the filter does.
    let mut streams = Vec::new();
    for (n, filter) in spellings.into_iter().cycle().take(9).enumerate() {
        let format = if n % 2 == 0 { "&format=cloudevents" } else { "" };
        let mut sse = server.sse(&format!("{}{format}&from=earliest", query(filter))).await;
        for _ in 51..100 {
            sse.next_data().await;
        }
        streams.push(sse);
    }
    let evaluations = "weir_filter_evaluations_total{pipeline=\"orders\"} ";
    assert_eq!(server.metric(evaluations).await, Some(100));
    assert_eq!(server.metric("weir_filters{pipeline=\"orders\"} ").await, Some(1));
}

#[tokio::test]
async fn a_filtered_stretch_moves_the_cursor() {
    let server = Server::start(OPEN).await;
    let mut sse = server.sse(&query("event.data.n == 7")).await;
    let mut socket = server.web_socket(&query("event.data.n == 7")).await;
    server.post_numbers(0..8).await;
    assert_eq!(
        (sse.next_data().await.as_str(), &socket.next_json().await["data"]["n"]),
        ("{\"n\":7}", &7.into())
    );
    let last = server.post("{\"n\":8}").await.json()["cursor"].as_str().unwrap().to_owned();
    sse.until_line(&format!("id: {last}")).await;
    let position = loop {
        match socket.next().await.unwrap() {
            Frame::Text(text) => break text,
            crate::client::Frame::Ping(_) | crate::client::Frame::Pong(_) => {}
            crate::client::Frame::Close(code) => panic!("closed with {code:?}"),
        }
    };
    assert_eq!(position, format!("{{\"control\":\"position\",\"cursor\":\"{last}\"}}"));
}

#[tokio::test]
async fn a_subscriber_resumes_with_its_filter() {
    let server = Server::start(OPEN).await;
    let mut sse = server.sse(&query("event.data.n % 10 == 0")).await;
    server.post_numbers(0..25).await;
    for n in [0, 10, 20] {
        assert_eq!(sse.next_data().await, format!("{{\"n\":{n}}}"));
    }
    let cursor = sse.last_event_id.clone();
    drop(sse);
    server.post_numbers(25..45).await;
    let filter = query("event.data.n % 10 == 0");
    let mut sse = server.sse(&format!("{filter}&cursor={cursor}")).await;
    for n in [30, 40] {
        assert_eq!(sse.next_data().await, format!("{{\"n\":{n}}}"));
    }
}

#[tokio::test]
async fn a_filter_that_cannot_be_used_is_refused_with_the_reason_and_the_place() {
    let server = Server::start(OPEN).await;
    for (filter, says) in [
        ("event.data.n >", "filter: at line 1, column"),
        ("true && evnt.type == 'x'", "there is no evnt"),
        ("event.data.l.all(a, [1].all(b, [1].all(c, true)))", "loops nest"),
        (&format!("'{}' == ''", "x".repeat(3_000)), "may have 2048"),
    ] {
        let request = crate::client::Request::get(&format!("/orders/sse{}", query(filter)));
        let answer = request.send(server.public).await;
        let text = answer.text();
        assert!(answer.status == 400 && text.contains(says), "{filter}: {} {text}", answer.head);
        let socket = server.web_socket(&query(filter)).await;
        assert!(socket.head.starts_with("HTTP/1.1 400"), "{}", socket.head);
    }
    for (reason, count) in [("syntax", 2), ("meaning", 4), ("length", 2), ("too_many_filters", 0)] {
        let labels = format!("pipeline=\"orders\",reason=\"{reason}\"");
        let refused = format!("weir_filters_refused_total{{{labels}}} ");
        assert_eq!(server.metric(&refused).await, Some(count), "{reason}");
    }
}

#[tokio::test]
async fn an_event_on_which_a_filter_fails_does_not_match_and_is_counted() {
    let server = Server::start_with(config(OPEN, None)).await;
    let mut sse = server.sse(&query("event.data.n > 0")).await;
    server.post("{}").await;
    server.post("{\"n\":\"text\"}").await;
    server.post("{\"n\":1}").await;
    assert_eq!(sse.next_data().await, "{\"n\":1}");
    for reason in ["missing", "type"] {
        let metric =
            format!("weir_filter_failures_total{{pipeline=\"orders\",reason=\"{reason}\"}} ");
        assert_eq!(server.metric(&metric).await, Some(1), "{reason}");
    }
}

#[tokio::test]
async fn a_heartbeat_does_not_stand_for_a_position() {
    let often =
        OPEN.replace("sse: {}, websocket: {}", "sse: {heartbeat: 1s}, websocket: {ping: 1s}");
    let server = Server::start(&often).await;
    let nothing = query("event.data.n < 0");
    let (mut sse, mut socket) = (server.sse(&nothing).await, server.web_socket(&nothing).await);
    sse.until_line("").await;
    let cursor = server.post("{\"n\":1}").await.json()["cursor"].clone();
    let id = format!("id: {}", cursor.as_str().unwrap());
    let told = async {
        loop {
            match socket.next().await {
                Some(Frame::Text(text)) => break text,
                // So that it is not taken for dead.
                Some(Frame::Ping(_)) => socket.send(10, b"").await,
                other => panic!("{other:?}"),
            }
        }
    };
    let both = async { tokio::join!(sse.until_line(&id), told).1 };
    let told = tokio::time::timeout(PATIENCE, both).await.expect("a position in time");
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told, serde_json::json!({"control": "position", "cursor": cursor}));
}

const OF_CLIENT: &str = "too_many_filters_of_client";

/// Asks for filters that nobody else has, one after the other. Returns how many it got, and what it was told of the
/// first that it didn't get.
async fn grab(client: &mut Client, who: usize, count: usize) -> (usize, Value) {
    let (mut got, mut told) = (0, Value::Null);
    for n in 0..count {
        let filter = format!("event.id == '{who}-{n}'");
        client.say(json!({"type": "subscribe", "id": n.to_string(), "filter": filter})).await;
        match client.next().await {
            answer if answer["type"] == "subscribed" => got += 1,
            answer if told == Value::Null => told = answer,
            answer => assert_eq!(answer["code"], OF_CLIENT),
        }
    }
    (got, told)
}

#[tokio::test]
async fn one_client_can_not_take_the_filters_of_all() {
    let server = Server::start(OPEN).await;
    let mut sockets = Vec::new();
    for (who, (expected, bound)) in
        [(16, "16"), (16, "16"), (16, "16"), (0, "48")].into_iter().enumerate()
    {
        let mut socket = Client::open(&server).await;
        let (got, told) = grab(&mut socket, who, 64).await;
        assert_eq!((got, told["code"].as_str()), (expected, Some(OF_CLIENT)), "socket {who}");
        assert!(told["message"].as_str().unwrap().contains(bound), "{told}");
        assert!(told["retry"].as_u64().is_some(), "{told}");
        sockets.push(socket);
    }
    // Whoever comes from elsewhere has its filter, and what is sent to it.
    let path = "/orders/sse?filter=event.data%20%3D%3D%201";
    let mut victim = Sse::ask(Box::new(connect_from(&server, 2).await), path, &[]).await;
    // One that is there already is free to everybody.
    let shared = json!({"type": "subscribe", "id": "shared", "filter": "event.data == 1"});
    sockets[3].ask(shared, "subscribed").await;
    let mut same = server.sse("?filter=event.data%20%3D%3D%202").await;
    assert!(same.next().await.unwrap().data.contains(OF_CLIENT));
    server.post("1").await;
    assert_eq!(victim.next_data().await, "1");
    assert_eq!(sockets[3].events("shared", 1).await.0, [1]);
    let refused = "weir_connections_refused_total{pipeline=\"orders\",transport=";
    let of_client = |transport| format!("{refused}\"{transport}\",reason=\"{OF_CLIENT}\"}} ");
    assert_eq!(server.metric(&of_client("websocket")).await, Some(3 * 48 + 64));
    assert_eq!(server.metric(&of_client("sse")).await, Some(1));
    let filters = "weir_filters_refused_total{pipeline=\"orders\",reason=";
    let line = format!("{filters}\"{OF_CLIENT}\"}} ");
    assert_eq!(server.metric(&line).await, Some(3 * 48 + 64 + 1));
    // What a client gives back it may have again; what it shares with another it has, too.
    drop(sockets.remove(0));
    let before = 2 * 16 + 1;
    server.metric_becomes("weir_filters{pipeline=\"orders\"} ", before).await;
    let (got, told) = grab(&mut Client::open(&server).await, 9, 16).await;
    assert_eq!((got, &told["code"]), (48 - 33, &json!(OF_CLIENT)));
}
