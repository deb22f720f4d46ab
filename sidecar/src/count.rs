//! Counts what becomes of every event and of every delivery, exactly.
//!
//! # Laws
//!
//! - A delivery is one event that is due to one subscriber. It ends in exactly one of: written (its
//!   last byte was taken by the socket), filtered (the subscriber's filter doesn't match it), conflated (a
//!   newer event of the same key stands for it), dropped (given up while the subscriber stayed) or
//!   departed (given up because the subscriber left). Until then it is lagging.
//! - What is due comes from who is there and how far the log is ([`roll`]), and not from what ended. Of a
//!   delivery that has ended, whoever then asks sees that it was due: so a [`Cut`], for which what ended is
//!   read first and the head last, gives to each delivery that is due exactly one place, and
//!   due = written + filtered + conflated + dropped + departed + lagging at any instant.
//! - A subscriber arrives and leaves in one step, its last deliveries included.
//! - A delivery is due from the event's acceptance on, or from the subscriber's arrival where that is
//!   later: nobody waits before being there. Its latency is the time from then until it is written.
//! - A counter on the delivery path belongs to one shard, or to [the lane](crate::engine::Lane), whose
//!   tasks share a part of their own, and is merged when it is read. So counting takes no lock, and on a
//!   shard no contended cache line.
//! - `total` is stored before `good` and read after it: whoever reads sees good ≤ total.

mod addresses;
mod breaches;
mod crowd;
mod endings;
mod exemplars;
mod histogram;
mod log;
mod meter;
mod reasons;
mod refusals;
mod roll;
mod turned_away;
mod waiter;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, futures::Notified};
use weir_slo::{Deliveries, Subscribers};

use addresses::Addresses;
pub use addresses::Network;
pub use breaches::Breaches;
pub use endings::{EndReason, Endings};
pub use exemplars::Exemplar;
use exemplars::Exemplars;
use histogram::BUCKETS;
pub use histogram::{BOUNDS_MICROS, Histogram, HistogramReading};
pub use log::{Eviction, LogCounts, SIZES, Sizes};
pub use meter::{Judge, Meter, MeterName};
pub use reasons::{FiltersRefused, Gaps};
pub use refusals::Refusals;
use roll::Roll;
pub use turned_away::{TurnedAway, Turnings, retry_soon_ms};
pub use waiter::Waiter;

use crate::{
    clock,
    event::TraceId,
    filter::Failure,
    hub::{Filter, OwnFilter, Passed},
    log::{Offset, Tail},
};

/// How a subscriber is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Server-Sent Events.
    Sse,
    /// WebSocket.
    WebSocket,
}

impl Transport {
    /// Every transport.
    pub const ALL: [Self; 2] = [Self::Sse, Self::WebSocket];

    /// The value of the metrics' label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Sse => "sse",
            Self::WebSocket => "websocket",
        }
    }
}

/// A counter that many threads may add to.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The sum so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counter on the delivery path: one part's, so that adding to it is hardly ever contended.
#[derive(Debug, Default)]
pub struct Tally(AtomicU64);

impl Tally {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Release);
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Everything that is counted for one pipeline.
#[derive(Debug)]
pub struct Accounts {
    /// Events taken into the log.
    pub accepted: Counter,
    /// Gaps that subscribers were told about.
    pub gaps: Gaps,
    /// Pages that were read from the log.
    pub reads: Counter,
    /// Events in these.
    pub read_events: Counter,
    /// Requests that were refused.
    pub refused: Refusals,
    /// Subscribers that were asked to come back.
    pub turned_away: Turnings,
    /// Connections of subscribers that have ended.
    pub ended: Endings,
    /// Clients of WebSockets that broke the protocol.
    pub breaches: Breaches,
    /// Connections refused because the filter can't be used, or one more is too many.
    pub filters_refused: FiltersRefused,
    /// Evaluations of filters.
    pub evaluations: Counter,
    /// Evaluations that failed, by the failure.
    pub failures: [Counter; Failure::ALL.len()],
    /// Of the deliveries dropped, those of which it isn't known whether the filter matches the event.
    pub unjudged: Counter,
    /// Publishes refused because a subscriber didn't keep up.
    pub held_up: Counter,
    /// Connections cut off because the subscriber didn't keep up.
    pub cut_off: Counter,
    /// Connections ended because the subscriber's token had expired.
    pub expired: Counter,
    /// Event streams of browsers that have six connections to the port.
    pub browsers_over_http1: Counter,
    /// What the log does.
    pub log: LogCounts,
    connected: [AtomicU64; Transport::ALL.len()],
    /// Whoever waits by a request.
    waiting: AtomicU64,
    /// How many places are taken among the pipeline's connections.
    taken: AtomicU64,
    addresses: Addresses,
    vacated: Notify,
    shards: Box<[ShardAccounts]>,
    meters: ArcSwap<Vec<Arc<Meter>>>,
}

/// What one shard counts for one pipeline. Aligned, so that no two shards share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardAccounts {
    /// Deliveries written, by transport.
    pub written: [Tally; Transport::ALL.len()],
    /// Deliveries that the subscriber's filter doesn't match.
    pub filtered: Tally,
    /// Deliveries for which a newer event of the same key stands.
    pub conflated: Tally,
    /// Deliveries given up while the subscriber stayed.
    pub dropped: Tally,
    /// Deliveries given up because the subscriber left.
    pub departed: Tally,
    /// Bytes that sockets took.
    pub bytes: Tally,
    /// The time from acceptance to the socket.
    pub latency: Histogram,
    exemplars: Exemplars,
    /// To whom deliveries are due. Locked when a subscriber comes or goes, and for a cut.
    roll: Mutex<Roll>,
}

/// What became of all deliveries up to one instant. Each is in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The sums.
    pub deliveries: Deliveries,
    /// Those written, by transport.
    pub written: [u64; Transport::ALL.len()],
}

impl Accounts {
    /// Accounts for as many shards as the engine has, and for the lane.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self {
            accepted: Counter::default(),
            gaps: Gaps::default(),
            reads: Counter::default(),
            read_events: Counter::default(),
            refused: Refusals::default(),
            turned_away: Turnings::default(),
            ended: Endings::default(),
            breaches: Breaches::default(),
            filters_refused: FiltersRefused::default(),
            evaluations: Counter::default(),
            failures: Default::default(),
            unjudged: Counter::default(),
            held_up: Counter::default(),
            cut_off: Counter::default(),
            expired: Counter::default(),
            browsers_over_http1: Counter::default(),
            log: LogCounts::default(),
            connected: Default::default(),
            waiting: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            addresses: Addresses::default(),
            vacated: Notify::new(),
            shards: (0..=shards).map(|_| ShardAccounts::default()).collect(),
            meters: ArcSwap::default(),
        }
    }

    /// The part of a shard; the one after the last shard's is the lane's.
    #[must_use]
    pub fn shard(&self, shard: usize) -> Option<&ShardAccounts> {
        self.shards.get(shard)
    }

    /// Every shard's part, and the lane's.
    #[must_use]
    pub fn shards(&self) -> &[ShardAccounts] {
        &self.shards
    }

    /// The meters of the objectives.
    #[must_use]
    pub fn meters(&self) -> Arc<Vec<Arc<Meter>>> {
        self.meters.load_full()
    }

    /// Replaces the meters. One that is kept goes on counting.
    pub fn set_meters(&self, meters: Vec<Arc<Meter>>) {
        self.meters.store(Arc::new(meters));
    }

    /// Enters a subscriber of a part, to which events are due from `start` on: an offset up to the head.
    pub fn arrive(&self, part: usize, tail: &Arc<Tail>, start: Offset) {
        if let Some(part) = self.shard(part) {
            part.roll.lock().enter(tail, start);
        }
    }

    /// Lets a subscriber of a part go, after `settle` has counted what it didn't get up to before the head.
    pub fn leave(&self, part: usize, tail: &Arc<Tail>, settle: impl FnOnce(Offset)) {
        let Some(part) = self.shard(part) else { return };
        let mut roll = part.roll.lock();
        let head = tail.head();
        settle(head);
        roll.strike(tail, head);
    }

    /// Counts deliveries as given up by a part because the subscriber left.
    pub fn departed(&self, part: usize, count: u64) {
        if let Some(part) = self.shard(part) {
            part.departed.add(count);
        }
    }

    /// Counts events as written by a shard, at `now`, to a subscriber that is there since `arrived`.
    pub fn written(
        &self,
        shard: usize,
        transport: Transport,
        accepted_at: impl Iterator<Item = Instant>,
        arrived: Instant,
        now: Instant,
    ) {
        let Some(part) = self.shard(shard) else { return };
        let meters = self.meters.load();
        let mut count = 0;
        for accepted_at in accepted_at {
            let latency = now.saturating_duration_since(accepted_at.max(arrived));
            part.latency.record(latency);
            meters.iter().for_each(|meter| meter.written(shard, latency));
            count += 1;
        }
        if let Some(written) = part.written.get(transport as usize) {
            written.add(count);
        }
    }

    /// Lets a delivery stand for others like it, where its event, accepted at that moment, belongs to a trace.
    pub fn traced(
        &self,
        part: usize,
        traced: Option<(Instant, TraceId)>,
        arrived: Instant,
        now: Instant,
    ) {
        let (Some((accepted_at, trace)), Some(part)) = (traced, self.shard(part)) else { return };
        let latency = now.saturating_duration_since(accepted_at.max(arrived));
        part.exemplars.keep(Exemplar { trace, latency, at: clock::micros() });
    }

    /// The newest exemplar of each bucket of the latency.
    #[must_use]
    pub fn exemplars(&self) -> [Option<Exemplar>; BUCKETS] {
        let mut newest = [None; BUCKETS];
        self.shards.iter().for_each(|part| part.exemplars.merge_into(&mut newest));
        newest
    }

    /// Counts deliveries as given up by a shard while the subscriber stayed.
    pub fn dropped(&self, shard: usize, count: u64) {
        if let Some(part) = self.shard(shard) {
            part.dropped.add(count);
            self.meters.load().iter().for_each(|meter| meter.dropped(shard, count));
        }
    }

    /// Counts an evaluation of a filter.
    pub fn evaluated(&self, failure: Option<Failure>) {
        self.evaluations.add(1);
        let failed = failure.and_then(|failure| self.failures.get(failure as usize));
        if let Some(failed) = failed {
            failed.add(1);
        }
    }

    /// Counts events that a subscriber of a shard is past without having got them.
    pub fn passed(&self, shard: usize, passed: Passed) {
        let Passed { filtered, conflated } = passed;
        if let Some(part) = self.shard(shard) {
            part.filtered.add(filtered);
            part.conflated.add(conflated);
        }
    }

    /// Connected subscribers.
    #[must_use]
    pub fn subscribers(&self) -> Subscribers {
        let [sse, websocket] = self.connected.each_ref().map(|count| count.load(Ordering::Relaxed));
        Subscribers { sse, websocket }
    }

    /// Whoever waits by a request for what is not there yet.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Comes when a place is given back.
    pub fn vacated(&self) -> Notified<'_> {
        self.vacated.notified()
    }

    /// Takes one of `limit` places, and one of so many of a client's.
    fn take_place(&self, limit: u64, of_network: Option<(Network, u64)>) -> Result<(), NoSeat> {
        let full = NoSeat::Full { limit };
        if self.taken.load(Ordering::Relaxed) >= limit {
            return Err(full);
        }
        if let Some((network, limit)) = of_network
            && !self.addresses.enter(network, limit)
        {
            return Err(NoSeat::Crowded { limit });
        }
        let one_more = |taken| (taken < limit).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        // Somebody else has just taken the last.
        taken.map(|_| ()).map_err(|_| {
            of_network.into_iter().for_each(|(network, _)| self.addresses.leave(network));
            full
        })
    }

    fn give_back(&self, network: Option<Network>) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
        network.into_iter().for_each(|network| self.addresses.leave(network));
        // Of those who wait one may be at a bound that another is not at: so it is not told to the first alone.
        self.vacated.notify_waiters();
    }

    /// What became of all deliveries up to now, where the newest events are in `tail`.
    #[must_use]
    pub fn cut(&self, tail: &Tail) -> Cut {
        // Nobody comes or goes meanwhile.
        let rolls: Vec<_> = self.shards.iter().map(|part| part.roll.lock()).collect();
        let (mut sum, mut by_transport) = (Deliveries::default(), [0; Transport::ALL.len()]);
        for part in &self.shards {
            let ShardAccounts {
                written,
                filtered,
                conflated,
                dropped,
                departed,
                bytes: _,
                latency: _,
                exemplars: _,
                roll: _,
            } = part;
            for (sum, written) in by_transport.iter_mut().zip(written) {
                *sum += written.get();
            }
            sum.filtered += filtered.get();
            sum.conflated += conflated.get();
            sum.dropped += dropped.get();
            sum.departed += departed.get();
        }
        sum.written = by_transport.iter().sum();
        // Both move inside the ring's lock. After what ended, as the laws say.
        let (accepted, head) = tail.look(|ring| (self.accepted.get(), ring.head()));
        sum.accepted = accepted;
        sum.due = rolls.iter().map(|roll| roll.due(tail, head)).sum();
        let ended = sum.written + sum.filtered + sum.conflated + sum.dropped + sum.departed;
        debug_assert!(ended <= sum.due, "{ended} ended of {sum:?}");
        sum.lagging = sum.due.saturating_sub(ended);
        Cut { deliveries: sum, written: by_transport }
    }
}

/// A connection's place among `maxConnections`, and who sits there; given back when dropped.
///
/// Law: whoever has sat there has ended when it is given back, for one reason. So of those who have come each is
/// connected or has ended.
#[derive(Debug)]
pub struct Seat {
    accounts: Arc<Accounts>,
    transport: Transport,
    filter: Option<OwnFilter>,
    /// Among whose connections it counts, where these are bounded.
    network: Option<Network>,
    /// What the one who sits there ends for, as far as that is known; none as long as nobody does.
    ends_for: Option<EndReason>,
}

/// There is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSeat {
    /// The pipeline has none.
    #[error("the pipeline's limit of {limit} connections is reached")]
    Full {
        /// `spec.delivery.maxConnections`.
        limit: u64,
    },
    /// There is none for this client.
    #[error("your address has {limit} connections to the pipeline already: close one")]
    Crowded {
        /// `spec.delivery.maxConnectionsPerAddress`.
        limit: u64,
    },
}

impl NoSeat {
    /// What is counted.
    #[must_use]
    pub const fn reason(self) -> TurnedAway {
        match self {
            Self::Full { limit: _ } => TurnedAway::TooManyConnections,
            Self::Crowded { limit: _ } => TurnedAway::TooManyFromAddress,
        }
    }
}

impl Seat {
    /// Takes a seat, unless `limit` are taken.
    ///
    /// # Errors
    ///
    /// Fails where there is none.
    pub fn take(
        accounts: &Arc<Accounts>,
        transport: Transport,
        limit: u64,
    ) -> Result<Self, NoSeat> {
        Self::take_of(accounts, transport, limit, None)
    }

    /// The same, as one of at most so many of a client's.
    ///
    /// # Errors
    ///
    /// Fails where there is none, or the client has as many.
    pub fn take_of(
        accounts: &Arc<Accounts>,
        transport: Transport,
        limit: u64,
        of_network: Option<(Network, u64)>,
    ) -> Result<Self, NoSeat> {
        accounts.take_place(limit, of_network)?;
        if let Some(count) = accounts.connected.get(transport as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let network = of_network.map(|(network, _)| network);
        let accounts = Arc::clone(accounts);
        Ok(Self { accounts, transport, filter: None, network, ends_for: None })
    }

    /// Counts among its client's connections from now on, where the other did, which goes on without.
    pub const fn inherit(&mut self, other: &mut Self) {
        if self.network.is_none() {
            std::mem::swap(&mut self.network, &mut other.network);
        }
    }

    /// The same seat, in which a subscriber sits from now on. Unless something else is known by its end, it broke.
    #[must_use]
    pub fn occupied(mut self) -> Self {
        self.ends_for.get_or_insert(EndReason::Broken);
        self
    }

    /// Takes note what the one who sits there ends for.
    pub const fn ends_for(&mut self, reason: EndReason) {
        self.ends_for = Some(reason);
    }

    /// The same seat, for a subscriber that gets only what a filter matches.
    #[must_use]
    pub fn with_filter(mut self, filter: Option<OwnFilter>) -> Self {
        self.filter = filter;
        self
    }

    /// What the subscriber's events must match; `None` where it gets all.
    #[must_use]
    pub fn filter(&self) -> Option<&Arc<Filter>> {
        self.filter.as_ref().map(OwnFilter::shared)
    }

    /// The transport of the connection.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        self.transport
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(reason) = self.ends_for {
            self.accounts.ended.count(self.transport, reason);
        }
        if let Some(count) = self.accounts.connected.get(self.transport as usize) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
        self.accounts.give_back(self.network);
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, thread, time::Duration};

    use super::*;
    use crate::{
        engine::Wakers,
        log::{Retention, tests::posted},
    };

    #[test]
    fn a_seat_is_given_back_when_it_is_dropped() {
        let accounts = Arc::new(Accounts::new(1));
        let seat = Seat::take(&accounts, Transport::Sse, 1).unwrap();
        let none = Seat::take(&accounts, Transport::WebSocket, 1).unwrap_err();
        assert_eq!(none, NoSeat::Full { limit: 1 });
        assert_eq!(accounts.subscribers().sse, 1);
        drop(seat);
        assert!(Seat::take(&accounts, Transport::WebSocket, 1).is_ok());
    }

    #[test]
    fn whoever_has_sat_somewhere_has_ended_when_the_seat_is_given_back() {
        let accounts = Arc::new(Accounts::new(1));
        let take = || Seat::take(&accounts, Transport::Sse, 10).unwrap();
        let ended = |reason| accounts.ended.get(Transport::Sse, reason);
        drop(take());
        assert!(EndReason::ALL.into_iter().all(|reason| ended(reason) == 0), "nobody has");
        drop(take().occupied());
        let mut seat = take().occupied();
        seat.ends_for(EndReason::Age);
        assert_eq!((ended(EndReason::Broken), ended(EndReason::Age)), (1, 0));
        drop(seat.with_filter(None));
        assert_eq!((ended(EndReason::Broken), ended(EndReason::Age)), (1, 1));
        assert_eq!(accounts.subscribers().sse, 0);
    }

    #[test]
    fn a_client_is_refused_a_seat_too_many_and_no_other_is() {
        let accounts = Arc::new(Accounts::new(1));
        let network = |last| Network::from(IpAddr::from([192, 0, 2, last]));
        let take = |last| Seat::take_of(&accounts, Transport::Sse, 10, Some((network(last), 1)));
        let first = take(1).unwrap();
        assert_eq!(take(1).unwrap_err(), NoSeat::Crowded { limit: 1 });
        assert!(take(2).is_ok());
        assert_eq!(accounts.subscribers().sse, 1, "who is refused leaves nothing behind");
        drop(first);
        assert!(take(1).is_ok());
    }

    #[test]
    fn of_those_who_come_at_once_as_many_get_a_seat_as_there_are() {
        let accounts = Arc::new(Accounts::new(1));
        for _ in 0..1_000 {
            let come = || Seat::take(&accounts, Transport::Sse, 5);
            let crowd = || (0..3).map(|_| come()).collect::<Vec<_>>();
            let all: Vec<_> = thread::scope(|scope| {
                let crowds = [(); 4].map(|()| scope.spawn(crowd));
                crowds.into_iter().flat_map(|crowd| crowd.join().unwrap()).collect()
            });
            assert_eq!(all.iter().filter(|seat| seat.is_ok()).count(), 5);
        }
    }

    #[test]
    fn a_seat_may_count_among_a_clients_connections_for_another() {
        let accounts = Arc::new(Accounts::new(1));
        let network = Network::from(IpAddr::from([192, 0, 2, 1]));
        let take = || Seat::take_of(&accounts, Transport::Sse, 10, Some((network, 1)));
        let mut first = take().unwrap();
        let mut further = Seat::take(&accounts, Transport::Sse, 10).unwrap();
        further.inherit(&mut first);
        drop(first);
        assert_eq!(take().unwrap_err(), NoSeat::Crowded { limit: 1 });
        drop(further);
        assert!(take().is_ok());
    }

    #[test]
    fn shards_are_summed() {
        let accounts = Arc::new(Accounts::new(2));
        let bounds = Retention { max_age: Duration::MAX, max_events: 100, max_bytes: u64::MAX };
        let tail = Arc::new(Tail::new(bounds, Arc::clone(&accounts), Wakers::none()));
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        (0..2).for_each(|part| accounts.arrive(part, &tail, 1));
        tail.append((0..7).map(|n| posted(&n.to_string(), b"{}")));
        accounts.written(0, Transport::Sse, [now, now].into_iter(), now, now);
        accounts.written(1, Transport::WebSocket, [now].into_iter(), now, later);
        accounts.dropped(1, 4);
        let Cut { deliveries, written } = accounts.cut(&tail);
        assert_eq!((deliveries.accepted, deliveries.due, written), (7, 14, [2, 1]));
        assert_eq!((deliveries.written, deliveries.dropped, deliveries.lagging), (3, 4, 7));
        accounts.leave(0, &tail, |head| accounts.departed(0, head - 3));
        tail.append([posted("8", b"{}")].into_iter());
        let Cut { deliveries, .. } = accounts.cut(&tail);
        assert_eq!((deliveries.due, deliveries.departed, deliveries.lagging), (15, 5, 3));
    }

    #[test]
    fn a_subscriber_does_not_wait_for_an_event_before_it_is_there() {
        let accounts = Accounts::new(1);
        let name = MeterName {
            namespace: "shop".to_owned(),
            slo: "feed".to_owned(),
            objective: "fast".to_owned(),
        };
        let judge = Judge::Latency(Duration::from_millis(50));
        let meter = Meter::new(name, judge, 1, weir_slo::Timestamp::from_millis(0));
        accounts.set_meters(vec![Arc::new(meter)]);
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        // The arrival is 50 ms before the first write, however old the events are.
        let accepted = [at(0), at(1_000)].into_iter();
        accounts.written(0, Transport::Sse, accepted, at(1_010), at(1_060));
        let accepted = [at(1_020)].into_iter();
        accounts.written(0, Transport::Sse, accepted, at(1_010), at(1_080));
        let counts = accounts.meters()[0].counts();
        assert_eq!((counts.good, counts.total), (2, 3));
    }
}
