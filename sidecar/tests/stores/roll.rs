//! Replicas on a shared log that are restarted and killed under load: every subscriber sees every event
//! once and in order.

use std::time::Duration;

use tokio::{sync::watch, task::JoinSet, time};

use crate::{
    PATIENCE,
    publisher::{self, Published},
    replica::Pair,
    store::{Kind, Store},
    subscriber::{self, Seen},
};

const SUBSCRIBERS: usize = 60;
const EVENTS: u64 = 2_000;
const A_SECOND: u32 = 200;

/// What happens while events are published.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// One replica after the other is restarted as a Deployment is rolled.
    Rolls,
    /// One replica after the other is killed.
    Kills,
    /// The store is killed.
    Store,
}

async fn endures(kind: Kind, trouble: Trouble) -> (Published, Vec<Seen>) {
    let mut store = Store::start(kind);
    let mut pair = Pair::start(&store.storage()).await;
    let mut subscribers = JoinSet::new();
    let mut progress = Vec::new();
    for number in 0..SUBSCRIBERS {
        let replicas = pair.public();
        let (sender, receiver) = watch::channel(0);
        progress.push(receiver);
        subscribers
            .spawn(async move { subscriber::read_until(EVENTS, &replicas, number, sender).await });
    }
    let publisher = tokio::spawn(publisher::publish(EVENTS, A_SECOND, pair.publish()));
    for round in 0..4 {
        reaches(&mut progress, 300 * (round + 1)).await;
        match trouble {
            Trouble::Rolls => pair.replicas[round % 2].roll().await,
            Trouble::Kills => pair.replicas[round % 2].kill().await,
            Trouble::Store => store.restart(),
        }
    }
    let published = publisher.await.unwrap();
    let seen = subscribers.join_all().await;
    (published, seen)
}

/// Waits until all subscribers have seen so many events, so that the trouble comes in their midst.
async fn reaches(progress: &mut [watch::Receiver<usize>], count: usize) {
    for receiver in progress {
        let reached = receiver.wait_for(|seen| *seen >= count);
        time::timeout(PATIENCE, reached).await.expect("progress in time").ok();
    }
}

fn assert_complete((published, seen): (Published, Vec<Seen>)) {
    let connections: usize = seen.iter().map(|seen| seen.connections).sum();
    println!("{} events were repeated, {connections} connections made", published.repeated);
    assert_eq!(published.acknowledged, EVENTS);
    let expected: Vec<_> = (1..=EVENTS).collect();
    for seen in &seen {
        assert_eq!(seen.gaps, Vec::<String>::new());
        assert_eq!(seen.numbers, expected);
    }
    // The same cursors, whichever replica gave them.
    assert!(seen.windows(2).all(|two| two[0].cursors == two[1].cursors));
    assert!(connections > SUBSCRIBERS, "some came back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_on_redis_loses_and_doubles_nothing() {
    assert_complete(endures(Kind::Redis, Trouble::Rolls).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_on_nats_loses_and_doubles_nothing() {
    assert_complete(endures(Kind::Nats, Trouble::Rolls).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_on_redis_that_are_killed_lose_and_double_nothing() {
    assert_complete(endures(Kind::Redis, Trouble::Kills).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_on_nats_that_are_killed_lose_and_double_nothing() {
    assert_complete(endures(Kind::Nats, Trouble::Kills).await);
}

/// While the store is down, subscribers stay connected.
async fn a_store_is_killed(kind: Kind) {
    let (published, seen) = endures(kind, Trouble::Store).await;
    assert_eq!(published.acknowledged, EVENTS);
    let expected: Vec<_> = (1..=EVENTS).collect();
    for seen in &seen {
        assert_eq!((&seen.numbers, &seen.gaps), (&expected, &Vec::new()));
        assert_eq!(seen.connections, 1, "nobody was sent away");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_killed_costs_no_event_and_no_connection() {
    a_store_is_killed(Kind::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nats_server_that_is_killed_costs_no_event_and_no_connection() {
    a_store_is_killed(Kind::Nats).await;
}

/// A store that lost everything: subscribers are told so, and get what comes from then on.
async fn a_store_is_lost(kind: Kind) {
    let mut store = Store::start(kind);
    let pair = Pair::start(&store.storage()).await;
    let replicas = pair.public();
    let (sender, receiver) = watch::channel(0);
    let mut progress = [receiver];
    let reader =
        tokio::spawn(async move { subscriber::read_until(40, &replicas, 0, sender).await });
    let published = publisher::publish(20, A_SECOND, pair.publish()).await;
    assert_eq!(published.acknowledged, 20);
    reaches(&mut progress, 20).await;
    store.restart_empty();
    // Whatever number comes next; the last one ends the reader.
    for number in 21..=40 {
        let deadline = time::Instant::now() + PATIENCE;
        while publisher::post(number, pair.publish()[0]).await.is_none() {
            assert!(time::Instant::now() < deadline, "{number} was not taken");
            time::sleep(Duration::from_millis(50)).await;
        }
    }
    let seen = reader.await.unwrap();
    assert_eq!(seen.numbers, (1..=40).collect::<Vec<_>>());
    assert_eq!(seen.gaps.len(), 1, "{:?}", seen.gaps);
    assert!(seen.gaps[0].contains("unknown_log"), "{:?}", seen.gaps);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_back_empty_is_told_to_subscribers() {
    a_store_is_lost(Kind::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nats_server_that_comes_back_empty_is_told_to_subscribers() {
    a_store_is_lost(Kind::Nats).await;
}
