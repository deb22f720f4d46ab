//! Cursors, gaps and order.

use crate::{
    client::{Request, Sse},
    fixture::{OPEN, Server},
};

#[tokio::test]
async fn a_subscriber_that_is_cut_off_resumes_without_loss_or_duplicate() {
    let server = Server::start(OPEN).await;
    let mut sse = server.sse("").await;
    server.post_numbers(0..500).await;
    for n in 0..200 {
        assert_eq!(sse.next_data().await, format!("{{\"n\":{n}}}"));
    }
    let cursor = sse.last_event_id.clone();
    drop(sse);
    server.post_numbers(500..600).await;
    // The query still says what it said the first time, as a browser's does.
    let headers = [("last-event-id", cursor.as_str())];
    let mut again = Sse::open(server.public, "/orders/sse?from=earliest", &headers).await;
    for n in 200..600 {
        assert_eq!(again.next_data().await, format!("{{\"n\":{n}}}"));
    }
}

#[tokio::test]
async fn a_cursor_from_sse_resumes_a_websocket() {
    let server = Server::start(OPEN).await;
    server.post_numbers(0..3).await;
    let mut sse = server.sse("?from=earliest").await;
    sse.next_data().await;
    let mut socket = server.web_socket(&format!("?cursor={}", sse.last_event_id)).await;
    assert_eq!(socket.next_json().await["data"]["n"], 1);
    assert_eq!(socket.next_json().await["data"]["n"], 2);
}

#[tokio::test]
async fn a_subscriber_that_saw_no_event_resumes_where_it_connected() {
    let server = Server::start(OPEN).await;
    server.post_numbers(0..3).await;
    let mut sse = server.sse("").await;
    sse.until_line("").await;
    let cursor = sse.last_event_id.clone();
    drop(sse);
    server.post_numbers(3..4).await;
    let mut again = server.sse(&format!("?cursor={cursor}")).await;
    assert_eq!(again.next_data().await, "{\"n\":3}");

    let socket = server.web_socket("").await;
    let cursor = socket.opened_at.clone();
    drop(socket);
    server.post_numbers(4..5).await;
    let mut again = server.web_socket(&format!("?cursor={cursor}")).await;
    assert_eq!(again.next_json().await["data"]["n"], 4);
}

#[tokio::test]
async fn an_evicted_cursor_gets_a_gap_that_says_what_is_missing() {
    let server = Server::start(
        "
        placement: {gateway: {}}
        sources: [{name: app, http: {}}]
        log: {retention: {maxEvents: 10}}
        endpoints: {sse: {}, websocket: {}, publish: {anonymous: true}}
        ",
    )
    .await;
    let first = server.post("{\"n\":0}").await.json()["cursor"].as_str().unwrap().to_owned();
    server.post_numbers(1..100).await;
    let mut sse = server.sse(&format!("?cursor={first}")).await;
    let gap = sse.next().await.unwrap();
    assert_eq!(gap.name, "gap");
    let detail: serde_json::Value = serde_json::from_str(&gap.data).unwrap();
    assert_eq!((&detail["missed"], &detail["reason"]), (&89.into(), &"evicted".into()));
    assert_eq!(detail["from"], first.as_str());
    assert_eq!(sse.next_data().await, "{\"n\":90}");

    let mut socket = server.web_socket(&format!("?cursor={first}")).await;
    let gap = socket.next_json().await;
    assert_eq!((&gap["control"], &gap["missed"]), (&"gap".into(), &89.into()));
    assert_eq!(socket.next_json().await["data"]["n"], 90);
}

#[tokio::test]
async fn a_cursor_from_another_life_or_from_nowhere_gets_a_gap_and_all_there_is() {
    let server = Server::start(OPEN).await;
    server.post_numbers(0..2).await;
    for (cursor, reason) in [("0123456789ab-5", "unknown_log"), ("nonsense", "malformed")] {
        let mut sse = server.sse(&format!("?cursor={cursor}")).await;
        let gap = sse.next().await.unwrap();
        assert_eq!(gap.name, "gap", "{cursor}");
        assert!(gap.data.contains(reason), "{}", gap.data);
        assert_eq!(sse.next_data().await, "{\"n\":0}");
    }
}

#[tokio::test]
async fn order_is_kept_for_many_subscribers_through_a_flood() {
    const EVENTS: u64 = 5_000;
    let server = Server::start(OPEN).await;
    let mut readers = Vec::new();
    for n in 0..10 {
        if n % 2 == 0 {
            let mut sse = server.sse("").await;
            readers.push(tokio::spawn(async move {
                for n in 0..EVENTS {
                    assert_eq!(sse.next_data().await, format!("{{\"n\":{n}}}"));
                }
            }));
        } else {
            let mut socket = server.web_socket("").await;
            readers.push(tokio::spawn(async move {
                for n in 0..EVENTS {
                    assert_eq!(socket.next_json().await["data"]["n"], n);
                }
            }));
        }
    }
    server.post_numbers(0..EVENTS).await;
    for reader in readers {
        reader.await.unwrap();
    }
    let written = "weir_deliveries_written_total{pipeline=\"orders\",transport=\"sse\"} ";
    server.metric_becomes(written, 5 * EVENTS).await;
}

#[tokio::test]
async fn an_event_that_comes_together_with_a_subscriber_is_told_to_those_who_are_there() {
    // Heartbeats would bring it, too.
    let server = Server::start(&OPEN.replace("sse: {}", "sse: {heartbeat: 5m}")).await;
    let (mut there, mut others) = (server.sse("").await, Vec::new());
    for n in 0..200 {
        let text = n.to_string();
        let (other, posted) = tokio::join!(server.sse(""), server.post(&text));
        assert_eq!(posted.status, 200);
        // Nothing comes behind it that would wake anybody.
        assert_eq!(there.next_data().await, text);
        others.push(other);
        others.truncate(5);
    }
}

#[tokio::test]
async fn a_start_at_a_time_to_come_is_refused() {
    let server = Server::start(&OPEN.replace("sse: {}", "sse: {}, read: {}")).await;
    for path in ["sse", "events"] {
        let request = Request::get(&format!("/orders/{path}?from=2999-12-31T00:00:00Z"));
        let answer = request.send(server.public).await;
        assert!(answer.status == 400 && answer.text().contains("no time to come"), "{answer:?}");
    }
    let socket = server.web_socket("?from=2999-12-31T00:00:00Z").await;
    assert!(socket.head.starts_with("HTTP/1.1 400"), "{}", socket.head);
}
