//! Sessions over a socket that takes what it is told to.

#![cfg(feature = "cel")]

mod filtered;
mod held;
mod large;
mod seats;

use std::{
    net::Ipv4Addr,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    task::{Wake, Waker},
};

use serde_json::{Value, json};
use tokio::runtime::{self, Runtime};
use weir_slo::Deliveries;

use super::*;
use crate::{
    auth::{Grant, Lease, Shown},
    config::{Config, PipelineConfig},
    count::Transport,
    engine::Wakers,
    hub::Client,
    intake::Posted,
    log::{DataDir, tests::posted},
    memory::{Budget, Budgets, Memory},
    pipeline::storage::Keeper,
    registry::Registry,
};

/// A client, and what its socket has taken.
struct Peer {
    runtime: Runtime,
    hub: Arc<Hub>,
    session: Session,
    taken: Vec<u8>,
    start: Instant,
}

/// Whether a session wants another turn.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn config(delivery: &str, log: &str) -> Config {
    let spec = format!(
        "{{placement: {{gateway: {{}}}}, sources: [{{name: app, http: {{}}}}], \
         endpoints: {{websocket: {{ping: 10s}}}}, delivery: {{{delivery}}}, log: {log}}}"
    );
    let named = |name: &str| PipelineConfig {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: None,
        generation: None,
        share: None,
        spec: serde_yaml::from_str(&spec).unwrap(),
        slos: Vec::new(),
    };
    Config { pipelines: ["orders", "returns"].map(|name| (name.to_owned(), named(name))).into() }
}

impl Peer {
    /// A client of `orders` that has said nothing yet, and whose socket has taken the greeting.
    fn new(delivery: &str) -> Self {
        Self::with(delivery, "{}", Budgets::of(None).messages)
    }

    fn with_log(delivery: &str, log: &str) -> Self {
        Self::with(delivery, log, Budgets::of(None).messages)
    }

    /// The same, where all sessions together may keep so much.
    fn within(delivery: &str, messages: Budget) -> Self {
        Self::with(delivery, "{}", messages)
    }

    fn with(delivery: &str, log: &str, messages: Budget) -> Self {
        let runtime =
            runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let inside = runtime.enter();
        let keeper = Keeper::new(DataDir::default(), Path::new(""));
        let registry = Registry::new(Wakers::none(), keeper, Path::new(""));
        registry.apply(config(delivery, log));
        let pipeline = registry.get("orders").unwrap();
        let hub = Arc::clone(pipeline.hub());
        let headers = http::HeaderMap::new();
        let shown = Shown { headers: &headers, ticket: None, token_in_url: false };
        let visitor = Arc::new(pipeline.guard().visitor(shown, &Grant::default()));
        let seat = hub.take_seat(Transport::WebSocket, None).unwrap();
        let access = Access {
            registry: Arc::new(registry),
            secure: false,
            visitor,
            client: Client::of_socket(Ipv4Addr::LOCALHOST.into()),
            memory: Memory::unbounded(),
            messages,
        };
        let home = Home {
            access,
            hub: Arc::clone(&hub),
            seat,
            lease: Lease::default(),
            coding: Coding::Plain,
            part: 0,
        };
        let session = Session::new(home, b"");
        drop(inside);
        let mut peer = Self { runtime, hub, session, taken: Vec::new(), start: Instant::now() };
        assert_eq!(peer.take_all()[0]["type"], "hello");
        peer
    }

    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    fn other(&self) -> Arc<Hub> {
        Arc::clone(self.session.access.registry.get("returns").unwrap().hub())
    }

    /// Lets the session do all that it can.
    fn turn(&mut self) {
        let Self { runtime, session, .. } = self;
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        runtime.block_on(async {
            loop {
                session.poll(&mut Context::from_waker(&waker));
                if session.job.is_none() && !woken.0.swap(false, Ordering::Relaxed) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
    }

    fn say(&mut self, message: &Value) {
        self.hear(&frame(&message.to_string()));
        self.turn();
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.session.hear(bytes, self.start);
    }

    /// Lets the socket take so many bytes.
    fn take(&mut self, mut most: usize) {
        while most > 0 {
            let next =
                self.session.slices().iter().find(|slice| !slice.is_empty()).map(|s| s.to_vec());
            let Some(mut next) = next else { return };
            next.truncate(most);
            most -= next.len();
            self.session.advance(next.len(), self.start);
            self.taken.extend(next);
        }
    }

    /// Lets the socket take all that there is, and gives the messages.
    fn take_all(&mut self) -> Vec<Value> {
        loop {
            self.turn();
            let before = self.taken.len();
            self.take(usize::MAX);
            if self.taken.len() == before {
                return messages(&std::mem::take(&mut self.taken));
            }
        }
    }

    fn publish(&self, hub: &Hub, numbers: std::ops::Range<u64>) {
        let events = numbers.map(numbered).collect();
        self.runtime.block_on(hub.publish(events)).unwrap();
    }
}

fn numbered(n: u64) -> Posted {
    let mut posted = posted(&n.to_string(), b"");
    posted.event.data = n.to_string().into();
    posted
}

/// A text of a client.
fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(short @ ..126), _) => frame.push(0x80 | short),
        (_, Ok(medium)) => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&medium.to_be_bytes());
        }
        (_, Err(_)) => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(text.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// The messages of the server; a ping is `ping`, a close its code.
fn messages(mut bytes: &[u8]) -> Vec<Value> {
    let (mut messages, mut open) = (Vec::new(), Vec::new());
    while let [first, second, rest @ ..] = bytes {
        let (size, rest) = match second {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            size => (usize::from(*size), rest),
        };
        match (first, open.is_empty()) {
            (0x01, true) | (0x00, false) => open.extend_from_slice(&rest[..size]),
            (0x81, true) | (0x80, false) => {
                open.extend_from_slice(&rest[..size]);
                messages.push(serde_json::from_slice(&std::mem::take(&mut open)).unwrap());
            }
            (0x88, _) => messages.push(json!(u16::from_be_bytes([rest[0], rest[1]]))),
            (0x89, _) => messages.push(json!("ping")),
            (0x8a, _) => messages.push(json!("pong")),
            (other, _) => panic!("a frame of {other:x}"),
        }
        bytes = &rest[size..];
    }
    messages
}

fn numbers(messages: &[Value]) -> Vec<u64> {
    let events = messages.iter().filter(|message| message["type"] == "events");
    let events = events.flat_map(|message| message["events"].as_array().unwrap().clone());
    events.map(|event| event["data"].as_u64().unwrap()).collect()
}

fn types(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["type"].as_str().unwrap_or("frame")).collect()
}

/// Those written, filtered, dropped and departed; with those conflated, all that were due.
fn sums(hub: &Hub) -> (u64, u64, u64, u64) {
    let found = hub.cut().deliveries;
    let Deliveries { written, filtered, conflated, dropped, departed, due, .. } = found;
    assert_eq!(written + filtered + conflated + dropped + departed, due, "{found:?}");
    (written, filtered, dropped, departed)
}

#[test]
fn a_batch_that_waits_is_taken_back_when_its_subscription_ends() {
    let mut peer = Peer::new("");
    peer.say(&json!({"type": "subscribe", "id": "a"}));
    let start = peer.take_all()[0]["cursor"].clone();
    peer.publish(&peer.hub, 0..3);
    peer.turn();
    peer.say(&json!({"type": "unsubscribe", "id": "a"}));
    let messages = peer.take_all();
    assert_eq!(types(&messages), ["unsubscribed"]);
    assert_eq!(messages[0]["cursor"], start);
    assert_eq!(sums(&peer.hub), (0, 0, 0, 3));
    // From there on nothing is lost.
    peer.say(&json!({"type": "subscribe", "id": "a", "cursor": start}));
    assert_eq!(numbers(&peer.take_all()), [0, 1, 2]);
}

#[test]
fn a_batch_that_has_begun_goes_before_the_end_of_its_subscription_and_counts_as_written() {
    let mut peer = Peer::new("");
    peer.say(&json!({"type": "subscribe", "id": "a"}));
    peer.take_all();
    peer.publish(&peer.hub, 0..3);
    peer.turn();
    peer.take(1);
    peer.say(&json!({"type": "unsubscribe", "id": "a"}));
    peer.publish(&peer.hub, 3..4);
    let messages = peer.take_all();
    assert_eq!(types(&messages), ["events", "unsubscribed"]);
    assert_eq!(messages[1]["cursor"], messages[0]["events"][2]["cursor"]);
    assert_eq!(sums(&peer.hub).0, 3);
    peer.say(&json!({"type": "subscribe", "id": "a", "cursor": messages[1]["cursor"]}));
    assert_eq!(numbers(&peer.take_all()), [3]);
}

#[test]
fn who_is_sent_away_has_got_the_batch_that_had_begun() {
    for begun in [0, 1] {
        let mut peer = Peer::new("");
        for id in ["a", "b"] {
            peer.say(&json!({"type": "subscribe", "id": id}));
        }
        let start = peer.take_all()[0]["cursor"].clone();
        peer.publish(&peer.hub, 0..3);
        peer.turn();
        peer.take(begun);
        peer.session.leave(EndReason::Drain);
        let messages = peer.take_all();
        let (farewells, events) = if begun > 0 {
            assert_eq!(types(&messages), ["events", "draining", "draining", "frame"]);
            (&messages[1..], &messages[0]["events"])
        } else {
            assert_eq!(types(&messages), ["draining", "draining", "frame"]);
            (&messages[..], &Value::Null)
        };
        for farewell in &farewells[..2] {
            let got = events.get(2).filter(|_| messages[0]["id"] == farewell["id"]);
            assert_eq!(
                farewell["cursor"],
                got.map_or(start.clone(), |event| event["cursor"].clone())
            );
        }
        assert!(peer.session.is_over());
        drop(peer.session);
        let written = 3 * begun as u64;
        assert_eq!(sums(&peer.hub), (written, 0, 0, 6 - written));
    }
}

#[test]
fn a_pipeline_that_is_gone_takes_back_what_has_not_begun() {
    let mut peer = Peer::new("");
    peer.say(&json!({"type": "subscribe", "id": "a", "pipeline": "returns"}));
    let start = peer.take_all()[0]["cursor"].clone();
    let other = peer.other();
    peer.publish(&other, 0..3);
    peer.turn();
    other.close();
    assert!(peer.session.tick(None, peer.start));
    let messages = peer.take_all();
    assert_eq!((types(&messages), &messages[0]["cursor"]), (vec!["draining"], &start));
}

#[test]
fn who_is_cut_off_gets_each_event_once_behind_its_cursor() {
    for begun in [0, 1] {
        let mut peer = Peer::new("maxLag: {events: 5}");
        peer.say(&json!({"type": "subscribe", "id": "a"}));
        peer.take_all();
        peer.publish(&peer.hub, 0..3);
        peer.turn();
        peer.take(begun);
        peer.publish(&peer.hub, 3..9);
        peer.turn();
        assert!(peer.session.tick(Some(peer.start), peer.start));
        let first = peer.take_all();
        let failure = first.last().unwrap();
        assert_eq!(
            (&failure["type"], &failure["code"]),
            (&json!("failure"), &json!("slow_consumer"))
        );
        peer.say(&json!({"type": "subscribe", "id": "a", "cursor": failure["cursor"]}));
        let second = peer.take_all();
        assert_eq!([numbers(&first), numbers(&second)].concat(), (0..9).collect::<Vec<_>>());
        assert_eq!(peer.hub.accounts().cut_off.get(), 1);
        let got = numbers(&first).len() as u64;
        assert_eq!(sums(&peer.hub), (9, 0, 9 - got, 0));
    }
}

#[test]
fn a_peer_that_takes_nothing_has_not_kept_up() {
    let mut peer = Peer::new("");
    let other = peer.other();
    peer.say(&json!({"type": "subscribe", "id": "a"}));
    peer.say(&json!({"type": "subscribe", "id": "b", "pipeline": "returns"}));
    peer.take_all();
    peer.publish(&peer.hub, 0..2);
    peer.publish(&other, 0..3);
    peer.turn();
    assert!(peer.session.tick(Some(peer.start), peer.at(29.0)));
    assert!(!peer.session.tick(Some(peer.start), peer.at(30.0)));
    drop(peer.session);
    for (hub, dropped) in [(&peer.hub, 2), (&other, 3)] {
        assert_eq!(sums(hub), (0, 0, dropped, 0));
        assert_eq!(hub.accounts().cut_off.get(), 1);
    }
}

#[test]
fn a_peer_that_was_sent_away_and_takes_nothing_has_departed() {
    let mut peer = Peer::new("");
    peer.say(&json!({"type": "subscribe", "id": "a"}));
    peer.take_all();
    peer.publish(&peer.hub, 0..2);
    peer.turn();
    peer.take(1);
    peer.session.leave(EndReason::Drain);
    assert!(peer.session.tick(Some(peer.start), peer.at(29.0)));
    assert!(!peer.session.tick(Some(peer.start), peer.at(30.0)));
    drop(peer.session);
    assert_eq!(sums(&peer.hub), (0, 0, 0, 2));
    assert_eq!(peer.hub.accounts().cut_off.get(), 0);
}

#[test]
fn bytes_count_for_the_pipeline_whose_events_they_are() {
    let mut peer = Peer::new("");
    let other = peer.other();
    let bytes = |hub: &Hub| hub.accounts().shard(0).unwrap().bytes.get();
    peer.say(&json!({"type": "subscribe", "id": "b", "pipeline": "returns"}));
    peer.take_all();
    assert_eq!(bytes(&other), 0);
    let before = bytes(&peer.hub);
    peer.publish(&other, 0..50);
    peer.turn();
    // A message waits behind it.
    peer.take(10);
    peer.say(&json!({"type": "ping"}));
    let total: usize = peer.session.slices().iter().map(|slice| slice.len()).sum();
    let pong = 2 + "{\"type\":\"pong\"}".len();
    peer.take_all();
    assert_eq!(bytes(&peer.hub) - before, pong as u64);
    assert_eq!(bytes(&other), (10 + total) as u64);
}

#[test]
fn a_position_is_told_after_five_seconds_and_not_again_before_as_many() {
    let mut peer = Peer::new("");
    peer.session.jitter = 100;
    peer.say(&json!({"type": "subscribe", "id": "a", "filter": "event.data < 0"}));
    peer.take_all();
    let mut told = Vec::new();
    for half_seconds in 0..40_u32 {
        let now = peer.at(f64::from(half_seconds) / 2.0);
        peer.publish(&peer.hub, half_seconds.into()..u64::from(half_seconds) + 1);
        peer.turn();
        // It is heard of all the time, and so never pinged.
        peer.session.hear(&frame("{\"type\":\"ping\"}"), now);
        assert!(peer.session.tick(None, now));
        let messages = peer.take_all();
        if types(&messages).contains(&"position") {
            told.push(half_seconds / 2);
        }
    }
    // A subscription begins a moment after the clock of the test does.
    assert!(matches!(told[..], [5 | 6, 10 | 11, 15 | 16]), "{told:?}");
}

#[test]
fn signs_of_life_are_spread() {
    let mut first_beats = Vec::new();
    for _ in 0..40 {
        let mut peer = Peer::new("");
        let mut beats = Vec::new();
        for tenths in 0..200 {
            let now = peer.at(f64::from(tenths) / 10.0);
            assert!(peer.session.tick(None, now));
            if types(&peer.take_all()).contains(&"heartbeat") {
                beats.push(tenths);
                break;
            }
        }
        first_beats.extend(beats);
    }
    assert!(first_beats.iter().all(|tenths| (90..=111).contains(tenths)), "{first_beats:?}");
    first_beats.dedup();
    assert!(first_beats.len() > 5, "{first_beats:?}");
}

#[test]
fn requests_that_wait_are_bounded_in_bytes_and_none_is_lost() {
    let mut peer = Peer::new("");
    let large = |n: u64| {
        let data = "x".repeat(300 * 1024);
        frame(&json!({"type": "publish", "id": n.to_string(), "data": data}).to_string())
    };
    // The filter is read elsewhere, and until then the session is not asked.
    let filtered = json!({"type": "subscribe", "id": "a", "filter": "event.data == 1"});
    peer.hear(&frame(&filtered.to_string()));
    let inside = peer.runtime.enter();
    peer.session.poll(&mut Context::from_waker(Waker::noop()));
    drop(inside);
    let mut count = 0;
    while peer.session.wants_input() {
        peer.hear(&large(count));
        count += 1;
    }
    assert_eq!(count, 4, "a mebibyte, and the last one whole");
    // What comes with them is not lost.
    let pings = frame("{\"type\":\"ping\"}").repeat(100);
    peer.hear(&[large(count), pings].concat());
    let answers = peer.take_all();
    assert_eq!(types(&answers)[0], "subscribed");
    let refused = (0..=count).map(|n| json!(n.to_string())).collect::<Vec<_>>();
    let ids = answers.iter().filter(|answer| answer["of"] == "publish");
    assert_eq!(ids.map(|answer| answer["id"].clone()).collect::<Vec<_>>(), refused);
    assert_eq!(types(&answers).iter().filter(|kind| **kind == "pong").count(), 100);
    assert!(peer.session.wants_input());
}

#[test]
fn a_subscription_that_skips_the_oldest_is_told_how_many() {
    for (filter, matching) in [(None, 30_u64), (Some("event.data % 2 == 0"), 15)] {
        let mut peer = Peer::new("slowConsumer: DropOldest, maxLag: {events: 6}");
        let mut subscribe = json!({"type": "subscribe", "id": "a"});
        if let Some(filter) = filter {
            subscribe["filter"] = filter.into();
        }
        peer.say(&subscribe);
        peer.take_all();
        peer.publish(&peer.hub, 0..1);
        peer.turn();
        peer.publish(&peer.hub, 1..30);
        assert!(peer.session.tick(Some(peer.start), peer.start));
        let messages = peer.take_all();
        assert_eq!(types(&messages)[..2], ["events", "gap"]);
        assert_eq!(messages[1]["reason"], "slow_consumer");
        let (got, missed) = (numbers(&messages), messages[1]["missed"].as_u64().unwrap());
        assert_eq!((got.len() as u64 + missed, got[0]), (matching, 0));
        assert!(missed > 0 && got.is_sorted());
        assert_eq!(sums(&peer.hub), (got.len() as u64, 30 - matching, missed, 0));
        assert_eq!(peer.hub.accounts().cut_off.get(), 0);
    }
}

#[test]
fn a_subscription_that_is_conflated_gets_the_newest_of_each_key_and_then_goes_on() {
    let mut peer =
        Peer::new("slowConsumer: Conflate, conflateKey: event.data % 3, maxLag: {events: 6}");
    peer.say(&json!({"type": "subscribe", "id": "a"}));
    peer.take_all();
    peer.publish(&peer.hub, 0..1);
    peer.turn();
    peer.publish(&peer.hub, 1..30);
    assert!(peer.session.tick(Some(peer.start), peer.start));
    assert_eq!(numbers(&peer.take_all()), [0, 27, 28, 29]);
    peer.publish(&peer.hub, 30..33);
    assert_eq!(numbers(&peer.take_all()), [30, 31, 32]);
    assert_eq!(sums(&peer.hub), (7, 0, 0, 0));
}

#[test]
fn publishers_wait_for_a_subscription_unless_it_waits_itself() {
    let mut peer = Peer::new("slowConsumer: Block, maxLag: {events: 6}");
    peer.say(&json!({"type": "subscribe", "id": "a"}));
    peer.take_all();
    peer.publish(&peer.hub, 0..6);
    peer.turn();
    let publish = |peer: &Peer, n| peer.runtime.block_on(peer.hub.publish(vec![numbered(n)]));
    assert!(publish(&peer, 6).is_err(), "it has six events to take");
    peer.take_all();
    publish(&peer, 6).unwrap();
    peer.turn();
    // Who is dead is not waited for for ever.
    let Peer { runtime, hub, session, start, .. } = &mut peer;
    let hub = Arc::clone(hub);
    runtime.block_on(async {
        let six = (7..13).map(numbered).collect();
        let publish = hub.publish(six);
        let look = async {
            tokio::task::yield_now().await;
            assert!(session.tick(Some(*start), *start + Duration::from_secs(9)));
            assert!(!session.tick(Some(*start), *start + Duration::from_secs(10)));
        };
        assert!(tokio::join!(publish, look).0.is_err());
    });
    drop(peer);
    // The socket takes all, and the client acknowledges nothing.
    let mut peer = Peer::new("slowConsumer: Block, maxLag: {events: 6}");
    peer.say(&json!({"type": "subscribe", "id": "a", "window": 2}));
    peer.take_all();
    for n in 0..20 {
        publish(&peer, n).unwrap();
        peer.take_all();
    }
    assert!(peer.session.tick(Some(peer.start), peer.at(29.0)));
}

#[test]
fn what_was_not_sent_can_not_be_acknowledged() {
    let mut peer = Peer::new("");
    peer.say(&json!({"type": "subscribe", "id": "a", "window": 2}));
    peer.take_all();
    peer.publish(&peer.hub, 0..6);
    assert_eq!(numbers(&peer.take_all()), [0, 1]);
    let head = peer.hub.head();
    let ack = |peer: &Peer, offset| json!({"type": "ack", "id": "a", "cursor": peer.hub.cursor(offset).to_string()});
    for offset in [head - 4, head - 1, head, u64::MAX] {
        peer.say(&ack(&peer, offset));
        let told = peer.take_all();
        assert_eq!((told.len(), &told[0]["code"]), (1, &json!("query")), "{told:?}");
        assert!(told[0]["message"].as_str().unwrap().contains("not come so far"), "{told:?}");
    }
    peer.say(&ack(&peer, head - 5));
    assert_eq!(numbers(&peer.take_all()), [2, 3]);
}
