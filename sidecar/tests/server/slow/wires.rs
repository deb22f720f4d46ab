//! The policies over TLS and over HTTP/2, where a task and no shard drives the subscriber.

use h2::client::Builder;
use tempfile::TempDir;

use super::{deliveries, ended, hold_publishers_up, pipeline, post, read_until, subscribers};
use crate::{client::Sse, fixture::Server, h2_client::Http2, tls};

/// What a subscriber is connected over.
enum Wire {
    /// TLS, with the directory that has the certificate.
    Tls { _directory: TempDir },
    /// A connection of HTTP/2.
    Http2(Http2),
}

#[derive(Clone, Copy)]
enum Over {
    Tls,
    Http2,
}

const ALL: [Over; 2] = [Over::Tls, Over::Http2];

const EVENTS: u64 = 300;

impl Wire {
    /// A server with this policy, and the way to it.
    async fn start(over: Over, policy: &str) -> (Server, Self) {
        match over {
            Over::Tls => {
                let (server, _directory) = tls::start(&format!("delivery: {{{policy}}}")).await;
                (server, Self::Tls { _directory })
            }
            Over::Http2 => {
                let server = Server::start(&pipeline(policy)).await;
                let mut builder = Builder::new();
                builder.initial_window_size(256 * 1024);
                builder.initial_connection_window_size(1024 * 1024);
                let client = Http2::connect_with(server.public, &builder).await;
                (server, Self::Http2(client))
            }
        }
    }

    async fn sse(&self, server: &Server, headers: &[(&str, &str)]) -> Sse {
        match self {
            Self::Tls { _directory: _ } => {
                let connector = tls::connector(&["http/1.1"]);
                let stream = tls::connect(&connector, server, "orders.test").await;
                Sse::ask(Box::new(stream), "/orders/sse", headers).await
            }
            Self::Http2(client) => client.sse("/orders/sse", headers).await,
        }
    }
}

#[tokio::test]
async fn one_that_is_conflated_gets_the_newest_of_each_key() {
    let policy = "slowConsumer: Conflate, conflateKey: event.data.k, maxLag: {events: 20}";
    for over in ALL {
        let (server, wire) = Wire::start(over, policy).await;
        let mut slow = wire.sse(&server, &[]).await;
        subscribers(&server, 1).await;
        post(&server, 0..EVENTS, 3).await;
        let (numbers, missed) = read_until(&mut slow, EVENTS - 1).await;
        assert!(numbers.is_sorted() && missed == 0, "{numbers:?}");
        assert_eq!(numbers[numbers.len() - 3..], [EVENTS - 3, EVENTS - 2, EVENTS - 1]);
        server.metric_becomes("weir_deliveries_lagging{pipeline=\"orders\"} ", 0).await;
        let found = deliveries(&server).await;
        assert!(found.conflated > 0 && found.dropped == 0, "{found:?}");
        assert_eq!(found.conflated + numbers.len() as u64, EVENTS, "{found:?}");
        assert_eq!(ended(found), found.due, "{found:?}");
    }
}

#[tokio::test]
async fn one_that_skips_the_oldest_is_told_how_many() {
    for over in ALL {
        let (server, wire) =
            Wire::start(over, "slowConsumer: DropOldest, maxLag: {events: 20}").await;
        let mut slow = wire.sse(&server, &[]).await;
        subscribers(&server, 1).await;
        post(&server, 0..EVENTS, 3).await;
        let (numbers, missed) = read_until(&mut slow, EVENTS - 1).await;
        assert!(numbers.is_sorted() && missed > 0, "{numbers:?}");
        assert_eq!(numbers.len() as u64 + missed, EVENTS);
        server.metric_becomes("weir_deliveries_lagging{pipeline=\"orders\"} ", 0).await;
        let found = deliveries(&server).await;
        assert_eq!((found.dropped, found.written), (missed, numbers.len() as u64), "{found:?}");
    }
}

#[tokio::test]
async fn one_that_is_cut_off_loses_nothing_when_it_comes_back() {
    for over in ALL {
        let (server, wire) = Wire::start(over, "maxLag: {events: 20}").await;
        let mut slow = wire.sse(&server, &[]).await;
        slow.until_line("").await;
        subscribers(&server, 1).await;
        post(&server, 0..150, 1).await;
        server.metric_becomes("weir_connections_cut_off_total{pipeline=\"orders\"} ", 1).await;
        let (mut numbers, mut cursor) = (Vec::new(), slow.last_event_id.clone());
        // What was cut in two is no event.
        while let Some(event) = slow.next().await {
            let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
            match event.name.as_str() {
                "failure" => assert_eq!(data["code"], "slow_consumer"),
                _ => numbers.push(data["n"].as_u64().unwrap()),
            }
            cursor = event.id;
        }
        let mut back = wire.sse(&server, &[("last-event-id", &cursor)]).await;
        numbers.extend(read_until(&mut back, 149).await.0);
        assert_eq!(numbers, (0..150).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn one_that_publishers_wait_for_gets_everything() {
    for over in ALL {
        let (server, wire) = Wire::start(over, "slowConsumer: Block, maxLag: {events: 5}").await;
        let mut slow = wire.sse(&server, &[]).await;
        subscribers(&server, 1).await;
        hold_publishers_up(&server, &mut slow).await;
    }
}
