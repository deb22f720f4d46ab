//! Slow subscribers: what becomes of them under each policy, and that the books balance meanwhile.

mod wires;

use tokio::{io::AsyncWriteExt, net::TcpStream};
use weir_slo::Deliveries;

use crate::{
    client::Sse,
    fixture::{PATIENCE, Server},
};

fn pipeline(delivery: &str) -> String {
    format!(
        "placement: {{gateway: {{}}}}
sources: [{{name: app, http: {{}}}}]
endpoints: {{sse: {{}}, websocket: {{}}, publish: {{anonymous: true}}}}
delivery: {{{delivery}}}"
    )
}

/// More than the kernel's buffers hold, in this many events.
const FILLER: usize = 64 * 1024;

async fn subscribers(server: &Server, count: u64) {
    let metric = "weir_subscribers{pipeline=\"orders\",transport=\"sse\"} ";
    server.metric_becomes(metric, count).await;
}

/// Posts `{"k":n % keys,"n":n,…}` for a range of numbers.
async fn post(server: &Server, numbers: std::ops::Range<u64>, keys: u64) {
    let filler = "x".repeat(FILLER);
    for n in numbers {
        let body = format!("{{\"k\":{},\"n\":{n},\"f\":\"{filler}\"}}", n % keys);
        assert_eq!(server.post(&body).await.status, 200);
    }
}

/// What a subscriber gets until it has the event `last`: numbers, and how many were said to be missing.
async fn read_until(sse: &mut Sse, last: u64) -> (Vec<u64>, u64) {
    let (mut numbers, mut missed) = (Vec::new(), 0);
    while numbers.last() != Some(&last) {
        let event = sse.next().await.expect("the stream goes on");
        let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
        if event.name == "gap" {
            assert_eq!(data["reason"], "slow_consumer");
            missed += data["missed"].as_u64().unwrap();
        } else {
            numbers.push(data["n"].as_u64().unwrap());
        }
    }
    (numbers, missed)
}

/// A subscriber whom publishers wait for, until they are refused: as soon as it reads, there is room, and it has
/// missed nothing.
async fn hold_publishers_up(server: &Server, slow: &mut Sse) {
    let filler = "x".repeat(FILLER);
    let mut taken = 0;
    let refused = loop {
        let answer = server.post(&format!("{{\"n\":{taken},\"f\":\"{filler}\"}}")).await;
        if answer.status != 200 {
            break answer;
        }
        taken += 1;
        assert!(taken < 1_000, "nobody waits");
    };
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("slow_consumer"), "{}", refused.text());
    let (numbers, missed) = read_until(slow, taken - 1).await;
    assert_eq!((numbers.len() as u64, missed), (taken, 0));
    assert_eq!(server.post("{\"n\":0}").await.status, 200);
}

async fn deliveries(server: &Server) -> Deliveries {
    let samples = server.admin("/samples").await.json();
    serde_json::from_value(samples["pipelines"][0]["deliveries"].clone()).unwrap()
}

fn ended(found: Deliveries) -> u64 {
    let Deliveries { written, filtered, conflated, dropped, departed, .. } = found;
    written + filtered + conflated + dropped + departed
}

#[tokio::test]
async fn a_conflated_subscriber_gets_the_newest_of_each_key_and_then_goes_on() {
    const EVENTS: u64 = 300;
    let policy = "slowConsumer: Conflate, conflateKey: event.data.k, maxLag: {events: 20}";
    let server = Server::start(&pipeline(policy)).await;
    let mut slow = server.sse("").await;
    subscribers(&server, 1).await;
    post(&server, 0..EVENTS, 3).await;
    let (numbers, missed) = read_until(&mut slow, EVENTS - 1).await;
    assert!(numbers.is_sorted() && missed == 0, "{numbers:?}");
    assert_eq!(numbers[numbers.len() - 3..], [EVENTS - 3, EVENTS - 2, EVENTS - 1]);
    assert!(numbers.len() < 250, "{}", numbers.len());
    post(&server, EVENTS..EVENTS + 2, 3).await;
    assert_eq!(read_until(&mut slow, EVENTS + 1).await.0, [EVENTS, EVENTS + 1]);
    server.metric_becomes("weir_deliveries_lagging{pipeline=\"orders\"} ", 0).await;
    let found = deliveries(&server).await;
    assert_eq!(found.written, numbers.len() as u64 + 2, "{found:?}");
    assert_eq!((ended(found), found.dropped), (found.due, 0), "{found:?}");
    assert_eq!(found.conflated, EVENTS - numbers.len() as u64);
}

#[tokio::test]
async fn a_subscriber_that_skips_the_oldest_is_told_how_many() {
    const EVENTS: u64 = 300;
    let policy = "slowConsumer: DropOldest, maxLag: {events: 20}";
    let server = Server::start(&pipeline(policy)).await;
    let mut slow = server.sse("").await;
    subscribers(&server, 1).await;
    post(&server, 0..EVENTS, 3).await;
    let (numbers, missed) = read_until(&mut slow, EVENTS - 1).await;
    assert!(numbers.is_sorted() && missed > 0);
    assert_eq!(numbers.len() as u64 + missed, EVENTS);
    server.metric_becomes("weir_deliveries_lagging{pipeline=\"orders\"} ", 0).await;
    let found = deliveries(&server).await;
    assert_eq!((found.dropped, found.written), (missed, numbers.len() as u64), "{found:?}");
    assert_eq!(ended(found), found.due, "{found:?}");
}

#[tokio::test]
async fn publishers_wait_for_a_slow_subscriber_and_not_for_ever() {
    let policy = "slowConsumer: Block, maxLag: {events: 5}";
    let server = Server::start(&pipeline(policy)).await;
    let mut slow = server.sse("").await;
    subscribers(&server, 1).await;
    hold_publishers_up(&server, &mut slow).await;
    // One that is dead is cut off, and the stream goes on.
    let mut dead = TcpStream::connect(server.public).await.unwrap();
    dead.write_all(b"GET /orders/sse HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    subscribers(&server, 2).await;
    drop(slow);
    let deadline = tokio::time::Instant::now() + 3 * PATIENCE;
    let cut_off = "weir_connections_cut_off_total{pipeline=\"orders\"} ";
    let filler = "x".repeat(FILLER);
    while server.metric(cut_off).await != Some(1) {
        assert!(tokio::time::Instant::now() < deadline);
        server.post(&format!("{{\"n\":1,\"f\":\"{filler}\"}}")).await;
    }
    assert_eq!(server.post("{\"n\":2}").await.status, 200);
}

#[tokio::test]
async fn a_subscriber_that_is_cut_off_may_come_back_with_its_cursor() {
    let server = Server::start(&pipeline("maxLag: {events: 20}")).await;
    let mut slow = server.sse("").await;
    subscribers(&server, 1).await;
    post(&server, 0..150, 1).await;
    server.metric_becomes("weir_connections_cut_off_total{pipeline=\"orders\"} ", 1).await;
    let mut numbers: Vec<u64> = Vec::new();
    while let Some(event) = slow.next().await {
        let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
        match event.name.as_str() {
            "failure" => assert_eq!(data["code"], "slow_consumer"),
            _ => numbers.push(data["n"].as_u64().unwrap()),
        }
    }
    let mut back = server.sse(&format!("?cursor={}", slow.last_event_id)).await;
    numbers.extend(read_until(&mut back, 149).await.0);
    assert_eq!(numbers, (0..150).collect::<Vec<_>>());
}

#[tokio::test]
async fn live_subscribers_come_before_one_that_replays() {
    const HISTORY: u64 = 100_000;
    let server = Server::start(&pipeline("maxLag: {events: 10}")).await;
    server.post_numbers(0..HISTORY).await;
    let mut live = server.sse("").await;
    let mut replay = server.sse("?from=earliest").await;
    assert_eq!(replay.next_data().await, "{\"n\":0}");
    // Among the live ones are a large event's slices.
    let large = format!("\"{}\"", "y".repeat(900 * 1024));
    assert_eq!(server.post(&large).await.status, 200);
    assert_eq!(live.next_data().await.len(), large.len());
    for n in 0..20 {
        server.post(&n.to_string()).await;
        assert_eq!(live.next_data().await, n.to_string());
    }
    // All of which came before the replay was over: its reader has not read on.
    let lagging = "weir_deliveries_lagging{pipeline=\"orders\"} ";
    assert!(server.metric(lagging).await > Some(1_000));
    for n in 1..HISTORY {
        assert_eq!(replay.next_data().await, format!("{{\"n\":{n}}}"));
    }
    assert_eq!(replay.next_data().await.len(), large.len());
}

#[tokio::test]
async fn the_books_balance_at_any_instant_whoever_comes_and_goes() {
    for policy in ["Disconnect", "Conflate", "DropOldest"] {
        let policy = format!("slowConsumer: {policy}, maxLag: {{events: 50, bytes: 256Ki}}");
        let server = Server::start(&pipeline(&policy)).await;
        // One that never reads, one that is filtered and never reads, and those that come and go.
        let _stalled = server.sse("").await;
        let _filtered = server.sse("?filter=event.data.n%20%25%203%20%3D%3D%200").await;
        let churn = async {
            for round in 0..15_u64 {
                let mut streams = Vec::new();
                for query in ["", "?from=earliest", "?filter=event.data.n%20%3E%20100"] {
                    streams.push(server.sse(query).await);
                }
                if round % 2 == 0 {
                    streams[1].next().await;
                }
            }
        };
        let publish = async {
            for n in 0..15 {
                post(&server, n * 10..(n + 1) * 10, 7).await;
            }
        };
        let watch = async {
            let mut last = Deliveries::default();
            for _ in 0..60 {
                let found = deliveries(&server).await;
                // The parts are read one after the other: what ended a moment ago may not be due yet.
                assert!(found.due >= last.due && ended(found) >= ended(last), "{last:?} {found:?}");
                assert_eq!(found.lagging, found.due.saturating_sub(ended(found)), "{found:?}");
                last = found;
            }
        };
        tokio::join!(churn, publish, watch);
        drop((_stalled, _filtered));
        subscribers(&server, 0).await;
        let end = deliveries(&server).await;
        assert_eq!((end.due, end.lagging), (ended(end), 0), "{policy}: {end:?}");
        assert!(end.filtered > 0 && end.departed > 0, "{end:?}");
    }
}
