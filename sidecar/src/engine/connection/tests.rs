//! Connections over a wire that takes what it is told to: at every step, each delivery is in one place.

#![cfg(feature = "cel")]

mod leaving;
mod peer;

use peer::{Pipe, Word};
use proptest::{collection::vec, prelude::*};
use tokio::runtime::{self, Runtime};
use weir_crds::v1alpha1::SlowConsumer;

use super::*;
use crate::{
    count::Cut,
    engine::Wakers,
    frame::websocket::Coding,
    hub::{Demand, Framing, Settings},
    log::{MemoryLog, tests::posted},
};

#[derive(Debug, Clone, Copy)]
enum Step {
    Publish(usize),
    /// An event of two frames of a WebSocket.
    PublishLarge,
    /// One subscriber's wire takes so many bytes more, and it has a turn.
    Take(usize, usize),
    /// All have a turn, and then time goes on.
    Tick(u32),
    Join {
        filtered: bool,
        /// Whether it replays the log.
        replays: bool,
        web_socket: bool,
    },
    /// The peer of a WebSocket says something.
    Hear(usize, Word),
    SendAway(usize, Why),
    Leave(usize),
}

/// Why a subscriber is sent away.
#[derive(Debug, Clone, Copy)]
enum Why {
    Drain,
    TokenExpired,
    /// The process ends.
    End,
}

impl Step {
    const fn join(filtered: bool, replays: bool) -> Self {
        Self::Join { filtered, replays, web_socket: false }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_usize..12).prop_map(Step::Publish),
        1 => Just(Step::PublishLarge),
        8 => (0_usize..8, 0_usize..400).prop_map(|(who, bytes)| Step::Take(who, bytes)),
        4 => (0_usize..8, 0_usize..140_000).prop_map(|(who, bytes)| Step::Take(who, bytes)),
        3 => (1_u32..8).prop_map(Step::Tick),
        3 => any::<[bool; 3]>().prop_map(|[filtered, replays, web_socket]| {
            Step::Join { filtered, replays, web_socket }
        }),
        4 => (0_usize..8, word()).prop_map(|(who, word)| Step::Hear(who, word)),
        1 => (0_usize..8, why()).prop_map(|(who, why)| Step::SendAway(who, why)),
        1 => (0_usize..8).prop_map(Step::Leave),
    ]
}

fn word() -> impl Strategy<Value = Word> {
    // The model numbers the pings.
    prop_oneof![8 => Just(Word::Ping(0)), 1 => Just(Word::Close), 1 => Just(Word::Breach)]
}

fn why() -> impl Strategy<Value = Why> {
    prop_oneof![Just(Why::Drain), Just(Why::TokenExpired), Just(Why::End)]
}

/// The size of a payload that takes two frames.
const LARGE: usize = 70_000;

/// The subscribers of a hub, and what they are owed by a count of its own.
struct Model {
    runtime: Runtime,
    hub: Arc<Hub>,
    members: Vec<(Connection<Pipe>, Offset)>,
    tick: Tick,
    published: u64,
    pings: u32,
    /// What was due to those who are gone, and how many events they got, by transport.
    past: (u64, [u64; 2]),
}

impl Model {
    fn new(policy: SlowConsumer) -> Self {
        let spec = "{placement: {gateway: {}}, sources: [{name: app, http: {}}], \
                    endpoints: {sse: {}, websocket: {}}, log: {retention: {maxEvents: 30}}}";
        let settings = Settings::from(&serde_yaml::from_str(spec).unwrap());
        let settings = Settings { slow_consumer: policy, max_lag_events: 6, ..settings };
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let hub = runtime.block_on(async {
            let hub = Arc::new(Hub::new("orders", settings, Wakers::none()));
            hub.open(Arc::new(MemoryLog::new(Arc::clone(hub.tail()))));
            hub
        });
        let (tick, published, pings, past) = Default::default();
        Self { runtime, hub, members: Vec::new(), tick, published, pings, past }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Publish(count) => (0..count).for_each(|_| self.publish(0)),
            Step::PublishLarge => self.publish(LARGE),
            Step::Take(who, bytes) => {
                if let Some((connection, _)) = self.members.get_mut(who) {
                    connection.wire().room += bytes;
                    self.turn(who);
                }
            }
            Step::Tick(ticks) => {
                self.tick += ticks;
                for who in (0..self.members.len()).rev() {
                    let now = Now { shard: 0, tick: self.tick, hub: &self.hub };
                    let turn = self.members[who].0.tick(now);
                    self.settle(who, turn);
                }
            }
            Step::Join { filtered, replays, web_socket } if self.members.len() < 8 => {
                let filter = filtered.then_some("event.data % 3 == 0");
                self.join_with(filter, replays, web_socket);
            }
            Step::Join { .. } => {}
            Step::Hear(who, word) => self.hear(who, word),
            Step::SendAway(who, why) => self.send_away(who, why),
            Step::Leave(who) if who < self.members.len() => {
                self.settle(who, Turn::Over(Ending::Departed));
            }
            Step::Leave(_) => {}
        }
    }

    /// Publishes the next number, in at least so many bytes.
    fn publish(&mut self, size: usize) {
        let mut posted = posted(&self.published.to_string(), b"");
        let mut data = self.published.to_string().into_bytes();
        data.resize(data.len().max(size), b' ');
        posted.event.data = data.into();
        // Where publishers wait for subscribers, they would wait for ever.
        let log = Arc::clone(self.hub.log().unwrap());
        self.runtime.block_on(log.append(vec![posted])).unwrap();
        self.published += 1;
    }

    fn join_with(&mut self, filter: Option<&str>, replays: bool, web_socket: bool) {
        let wished =
            filter.map(|filter| self.runtime.block_on(self.hub.expression(filter)).unwrap());
        let filter = self.hub.filter(Demand { wished, ..Demand::default() }).unwrap();
        let (transport, format) = if web_socket {
            (Transport::WebSocket, Format::WsJson(Coding::Plain))
        } else {
            (Transport::Sse, Format::SseData)
        };
        let hub = Arc::clone(&self.hub);
        let is_told_all = filter.is_none() && !hub.deals_by(SlowConsumer::Conflate);
        let seat = hub.take_seat(transport, None).unwrap().with_filter(filter);
        let next = if replays { hub.tail().first() } else { hub.head() };
        hub.accounts().arrive(0, hub.tail(), next);
        let adoption = Adoption {
            socket: Pipe::new(web_socket, next - 1, is_told_all),
            head: Vec::new(),
            opening: Vec::new(),
            early: bytes::Bytes::new(),
            hub,
            seat,
            format,
            framing: Framing::Bare,
            next,
            lease: Lease::default(),
            session: None,
        };
        self.members.push((Connection::adopt(adoption, self.tick), next));
    }

    fn hear(&mut self, who: usize, word: Word) {
        let Some((connection, _)) = self.members.get_mut(who) else { return };
        if connection.wire().is_web_socket() {
            self.pings += 1;
            let word = if let Word::Ping(_) = word { Word::Ping(self.pings) } else { word };
            connection.wire().say(word);
            connection.can_read();
            self.turn(who);
        }
    }

    fn send_away(&mut self, who: usize, why: Why) {
        let Some((connection, _)) = self.members.get_mut(who) else { return };
        let now = Now { shard: 0, tick: self.tick, hub: &self.hub };
        match why {
            Why::Drain => connection.send_away(now, EndReason::Drain),
            Why::TokenExpired if connection.phase == Phase::Streaming => connection.expire(now),
            Why::TokenExpired => {}
            Why::End => connection.send_away_now(now),
        }
        self.turn(who);
    }

    fn turn(&mut self, who: usize) {
        let now = Now { shard: 0, tick: self.tick, hub: &self.hub };
        let turn = self.members[who].0.take_turn(now, &mut [0; 64]);
        self.settle(who, turn);
    }

    /// Lets all wires take all there is. Then who was sent away has been told, and all others have all.
    fn finish(&mut self) {
        let head = self.hub.head();
        for who in (0..self.members.len()).rev() {
            self.members[who].0.wire().room = usize::MAX / 2;
            let turn = loop {
                let (tick, hub) = (self.tick, &self.hub);
                let now = Now { shard: 0, tick, hub };
                match self.members[who].0.take_turn(now, &mut [0; 64]) {
                    Turn::More => {}
                    turn @ (Turn::Waiting | Turn::Over(_)) => break turn,
                }
            };
            let connection = &mut self.members[who].0;
            let (phase, lag) = (connection.phase, connection.lag(head));
            let wire = connection.wire();
            if turn == Turn::Waiting {
                let is_open = wire.is_web_socket() && wire.peer.closed.is_none();
                assert!(if phase == Phase::Streaming { lag == 0 } else { !is_open });
            }
            self.settle(who, turn);
        }
    }

    fn settle(&mut self, who: usize, turn: Turn) {
        let Turn::Over(ending) = turn else { return };
        let (mut connection, start) = self.members.swap_remove(who);
        let now = Now { shard: 0, tick: self.tick, hub: &self.hub };
        connection.leave(now, ending);
        self.past.0 += self.hub.head() - start;
        let wire = connection.wire();
        self.past.1[usize::from(wire.is_web_socket())] += wire.peer.events;
    }

    /// Every delivery is in one place, and those that lag are those that lag.
    fn check(&mut self) {
        let head = self.hub.head();
        let Cut { deliveries, written } = self.hub.cut();
        let (mut due, mut got_all) = self.past;
        let mut lagging = 0;
        for (connection, start) in &mut self.members {
            due += head - *start;
            lagging += connection.lag(head);
            let wire = connection.wire();
            got_all[usize::from(wire.is_web_socket())] += wire.peer.events;
        }
        assert_eq!(deliveries.accepted, self.published);
        assert_eq!((deliveries.due, deliveries.lagging), (due, lagging), "{deliveries:?}");
        assert_eq!(written, got_all, "{deliveries:?}");
        let weir_slo::Deliveries { written, filtered, conflated, dropped, departed, .. } =
            deliveries;
        assert_eq!(due, written + filtered + conflated + dropped + departed + lagging);
    }
}

fn policies() -> impl Strategy<Value = SlowConsumer> {
    prop_oneof![
        Just(SlowConsumer::Disconnect),
        Just(SlowConsumer::Conflate),
        Just(SlowConsumer::DropOldest),
        Just(SlowConsumer::Block),
    ]
}

proptest! {
    #[test]
    fn at_every_step_each_delivery_is_in_one_place(policy in policies(), steps in vec(step(), 1..120)) {
        let mut model = Model::new(policy);
        for step in steps {
            model.take(step);
            model.check();
        }
        model.finish();
        model.check();
    }
}

#[test]
fn the_model_reaches_every_place() {
    let mut reached = weir_slo::Deliveries::default();
    for policy in [SlowConsumer::Disconnect, SlowConsumer::Conflate, SlowConsumer::DropOldest] {
        let mut model = Model::new(policy);
        model.take(Step::join(true, false));
        model.take(Step::join(false, false));
        model.take(Step::Take(0, 0));
        model.take(Step::Take(1, 0));
        for _ in 0..8 {
            model.take(Step::Publish(5));
            model.take(Step::Tick(1));
            model.take(Step::Take(0, 2_000));
            model.take(Step::Take(1, 30));
        }
        model.take(Step::Publish(1));
        model.take(Step::Leave(0));
        model.check();
        let found = model.hub.cut().deliveries;
        reached.written += found.written;
        reached.filtered += found.filtered;
        reached.conflated += found.conflated;
        reached.dropped += found.dropped;
        reached.departed += found.departed;
    }
    let weir_slo::Deliveries { written, filtered, conflated, dropped, departed, .. } = reached;
    assert!(
        [written, filtered, conflated, dropped, departed].iter().all(|n| *n > 0),
        "{reached:?}"
    );
}

/// What becomes of a subscriber with this filter while its socket takes nothing and events leave the log, which
/// holds 30: how many are dropped, of how many nobody knows whether they match, how many are filtered, and
/// what it is sent in the end. Event 0 waits in its outlet.
fn blocked(filter: &str, meanwhile: &[Step]) -> (u64, u64, u64, String) {
    let mut model = Model::new(SlowConsumer::Block);
    model.join_with(Some(filter), false, false);
    model.take(Step::Publish(1));
    model.take(Step::Take(0, 0));
    for step in meanwhile {
        model.take(*step);
        model.check();
    }
    model.take(Step::Take(0, 100_000));
    model.check();
    let Cut { deliveries, .. } = model.hub.cut();
    assert_eq!(deliveries.lagging, 0);
    let sent = String::from_utf8(model.members[0].0.wire().taken.clone()).unwrap();
    (deliveries.dropped, model.hub.accounts().unjudged.get(), deliveries.filtered, sent)
}

#[test]
fn an_evicted_event_is_lost_only_to_those_whose_filter_matches_it() {
    let steps = [Step::Publish(29), Step::Tick(1), Step::Publish(1), Step::Tick(1)];
    // Events 1 to 30 leave the log; 31 to 60 are read as ever.
    let meanwhile = [&steps[..], &[Step::Publish(30)]].concat();
    let (dropped, unjudged, filtered, sent) = blocked("event.data % 3 == 0", &meanwhile);
    assert_eq!((dropped, unjudged, filtered), (10, 0, 20 + 20), "{sent}");
    assert!(sent.contains("\"missed\":10"), "{sent}");
    let (dropped, unjudged, filtered, sent) = blocked("event.data % 60 == 0", &meanwhile);
    assert_eq!((dropped, unjudged, filtered), (0, 0, 30 + 29), "{sent}");
    assert!(!sent.contains("gap") && sent.ends_with("data: 60\n\n"), "{sent}");
}

#[test]
fn an_evicted_event_on_which_the_filter_was_not_evaluated_counts_as_lost_and_as_unjudged() {
    let meanwhile = [Step::Publish(29), Step::Tick(1), Step::Publish(31)];
    let (dropped, unjudged, filtered, sent) = blocked("event.data % 60 == 0", &meanwhile);
    assert_eq!((dropped, unjudged, filtered), (1, 1, 29 + 29), "{sent}");
    assert!(sent.contains("\"missed\":1,"), "{sent}");
    let (dropped, unjudged, filtered, sent) = blocked("event.data % 3 == 0", &[Step::Publish(60)]);
    assert_eq!((dropped, unjudged, filtered), (30, 30, 20), "{sent}");
}

#[test]
fn one_that_was_sent_away_and_takes_nothing_has_departed_and_was_not_cut_off() {
    for policy in [SlowConsumer::Disconnect, SlowConsumer::Block] {
        let mut model = Model::new(policy);
        model.take(Step::join(false, false));
        model.take(Step::Take(0, 1));
        model.take(Step::Publish(2));
        model.take(Step::Take(0, 3));
        let now = Now { shard: 0, tick: model.tick, hub: &model.hub };
        model.members[0].0.send_away(now, EndReason::Drain);
        // More waits than it may be behind by, and it takes nothing of it, nor of its farewell.
        model.take(Step::Publish(20));
        model.take(Step::Take(0, 0));
        model.take(Step::Tick(ticks(Duration::from_secs(29))));
        assert_eq!(model.members.len(), 1, "it has time for its farewell");
        model.take(Step::Tick(ticks(Duration::from_secs(2))));
        assert!(model.members.is_empty());
        model.check();
        let found = model.hub.cut().deliveries;
        assert_eq!((found.dropped, found.departed), (0, 22));
        assert_eq!(model.hub.accounts().cut_off.get(), 0);
    }
}

#[test]
fn one_whose_filter_costs_too_much_is_sent_away_with_its_cursor() {
    let mut model = Model::new(SlowConsumer::Block);
    model.join_with(Some("event.data < 2"), false, false);
    model.take(Step::Publish(4));
    model.take(Step::Take(0, 100_000));
    model.members[0].0.seat.filter().unwrap().charge(1_000_000_000);
    model.hub.expire();
    model.take(Step::Tick(1));
    model.take(Step::Publish(1));
    model.take(Step::Take(0, 100_000));
    let sent = String::from_utf8(model.members[0].0.wire().taken.clone()).unwrap();
    let cursor = model.hub.cursor(4);
    for part in ["\"code\":\"filter_too_costly\"", &format!("\"cursor\":\"{cursor}\"")] {
        assert!(sent.contains(part), "{part} in {sent}");
    }
    let turned_away = &model.hub.accounts().turned_away;
    assert_eq!(turned_away.get(Transport::Sse, TurnedAway::FilterTooCostly), 1);
    model.take(Step::Leave(0));
    model.check();
    let found = model.hub.cut().deliveries;
    assert_eq!((found.dropped, found.departed), (0, 1));
}

#[test]
fn those_who_leave_are_spread_evenly_over_the_window_but_its_beginning() {
    fastrand::seed(7);
    let (now, window) = (1_000, Duration::from_secs(20));
    let leaves: Vec<_> = (0..10_000).map(|_| paced(now, window)).collect();
    assert_eq!((leaves.iter().min(), leaves.iter().max()), (Some(&1_008), Some(&1_080)));
    for quarter in 0..4 {
        let within = now + 8 + quarter * 18..now + 8 + (quarter + 1) * 18;
        let count = leaves.iter().filter(|tick| within.contains(tick)).count();
        assert!((2_250..2_750).contains(&count), "{count} in {within:?}");
    }
    let short: Vec<_> = (0..1_000).map(|_| paced(now, Duration::from_secs(5))).collect();
    assert_eq!((short.iter().min(), short.iter().max()), (Some(&1_002), Some(&1_020)));
    assert_eq!(paced(now, Duration::ZERO), now, "without a window all leave at once");
    assert_eq!(paced(Tick::MAX, window), Tick::MAX);
}

#[test]
fn a_ping_goes_within_an_event_that_the_socket_is_still_taking() {
    let mut model = Model::new(SlowConsumer::Block);
    model.take(Step::Join { filtered: false, replays: false, web_socket: true });
    // More than it gets in a turn.
    model.publish(400_000);
    model.take(Step::Take(0, 1_000_000));
    assert_eq!(model.members[0].0.wire().peer.events, 0);
    model.take(Step::Tick(ticks(Duration::from_secs(30))));
    model.finish();
    let peer = &model.members[0].0.wire().peer;
    assert_eq!((&peer.pings[..], peer.events), (&[true][..], 1));
    model.check();
}
