//! Connections over an in-memory pipe.

mod pace;

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::timeout,
};

use super::*;
use crate::{
    auth::Lease,
    engine::Engine,
    frame::{Format, websocket::Coding},
    hub::{Framing, Settings},
    log::{MemoryLog, tests::posted},
};

const PATIENCE: Duration = Duration::from_secs(20);

fn settings() -> Settings {
    let spec = "{placement: {gateway: {}}, sources: [{name: app, http: {}}]}";
    let spec = serde_yaml::from_str(spec).unwrap();
    Settings::from(&spec)
}

/// A hub, and a subscriber over a pipe that holds `room` bytes.
fn subscribe(engine: &Engine, settings: Settings, room: usize) -> (Arc<Hub>, DuplexStream) {
    subscribe_by(Transport::Sse, engine, settings, room)
}

fn subscribe_by(
    transport: Transport,
    engine: &Engine,
    settings: Settings,
    room: usize,
) -> (Arc<Hub>, DuplexStream) {
    let hub = Arc::new(Hub::new("orders", settings, engine.wakers()));
    hub.open(Arc::new(MemoryLog::new(Arc::clone(hub.tail()))));
    let seat = hub.take_seat(transport, None).unwrap();
    let (socket, peer) = duplex(room);
    engine.lane().adopt_stream(Adoption {
        socket,
        head: b"head ".to_vec(),
        opening: b"opening ".to_vec(),
        early: Bytes::new(),
        hub: Arc::clone(&hub),
        seat,
        format: match transport {
            Transport::Sse => Format::SseData,
            Transport::WebSocket => Format::WsJson(Coding::Plain),
        },
        framing: Framing::Bare,
        next: 1,
        lease: Lease::default(),
        session: None,
    });
    (hub, peer)
}

async fn until(peer: &mut DuplexStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let count = timeout(PATIENCE, peer.read_buf(&mut read)).await.unwrap().unwrap();
        assert!(count > 0, "ended at {:?}", String::from_utf8_lossy(&read));
    }
    String::from_utf8(read).unwrap()
}

async fn until_alone(engine: &Engine) {
    let alone = async {
        while engine.connections() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, alone).await.unwrap();
}

async fn publish(hub: &Hub, n: u64) {
    let mut posted = posted(&n.to_string(), b"");
    posted.event.data = n.to_string().into();
    hub.publish(vec![posted]).await.unwrap();
}

#[tokio::test]
async fn events_come_in_order_and_are_counted() {
    let engine = Engine::start(1).unwrap();
    let (hub, mut peer) = subscribe(&engine, settings(), 64);
    assert_eq!(until(&mut peer, "opening ").await, "head opening ");
    for n in 0..100 {
        publish(&hub, n).await;
    }
    let read = until(&mut peer, "data: 99\n\n").await;
    let data: Vec<_> = read.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    drop(peer);
    until_alone(&engine).await;
    let deliveries = hub.cut().deliveries;
    assert_eq!((deliveries.due, deliveries.written, deliveries.lagging), (100, 100, 0));
}

#[tokio::test]
async fn one_that_takes_nothing_is_cut_off() {
    let engine = Engine::start(1).unwrap();
    let settings = Settings { max_lag_events: 10, ..settings() };
    let (hub, mut peer) = subscribe(&engine, settings, 16);
    until(&mut peer, "opening ").await;
    // It has to be live first: until then it is behind by its own wish.
    publish(&hub, 0).await;
    until(&mut peer, "data: 0\n\n").await;
    for n in 1..100 {
        publish(&hub, n).await;
    }
    until_alone(&engine).await;
    let deliveries = hub.cut().deliveries;
    assert_eq!((hub.accounts().cut_off.get(), deliveries.dropped), (1, 99));
}

#[tokio::test]
async fn a_drain_sends_it_away_with_its_cursor() {
    let engine = Engine::start(1).unwrap();
    let settings = Settings { drain: Duration::ZERO, ..settings() };
    let (_hub, mut peer) = subscribe(&engine, settings, 1024);
    until(&mut peer, "opening ").await;
    engine.drain(Duration::MAX);
    let mut farewell = String::new();
    timeout(PATIENCE, peer.read_to_string(&mut farewell)).await.unwrap().unwrap();
    assert!(farewell.contains("event: draining\n"), "{farewell}");
    drop(peer);
    until_alone(&engine).await;
}

#[tokio::test]
async fn a_stop_waits_for_the_last_words() {
    let engine = Engine::start(1).unwrap();
    let (hub, mut peer) = subscribe(&engine, settings(), 1024);
    until(&mut peer, "opening ").await;
    publish(&hub, 0).await;
    engine.lane().stop();
    let mut farewell = String::new();
    timeout(PATIENCE, peer.read_to_string(&mut farewell)).await.unwrap().unwrap();
    assert!(farewell.ends_with("}\n\n") && farewell.contains("event: draining\n"), "{farewell}");
    drop(peer);
    timeout(PATIENCE, engine.lane().stopped()).await.unwrap();
    assert_eq!(engine.connections(), 0);
}

#[tokio::test]
async fn what_a_peer_that_leaves_had_not_got_is_departed() {
    let engine = Engine::start(1).unwrap();
    let (hub, mut peer) = subscribe(&engine, settings(), 16);
    until(&mut peer, "opening ").await;
    for n in 0..3 {
        publish(&hub, n).await;
    }
    peer.shutdown().await.unwrap();
    drop(peer);
    until_alone(&engine).await;
    let deliveries = hub.cut().deliveries;
    assert_eq!((deliveries.due, deliveries.written + deliveries.departed), (3, 3));
    assert_eq!(hub.accounts().subscribers().sse, 0);
}
