//! `weir.v1`: several pipelines on one WebSocket, with acknowledgements and publishing.
//!
//! A session does no I/O: it is told what the peer sent and what the socket took, and says what to write
//! and what to wait for. [The lane](crate::engine::Lane) drives it.
//!
//! # Laws
//!
//! - Requests are carried out in the order in which they came. While one waits for a log, those behind
//!   it wait, and beyond a few, or a mebibyte of them, nothing is read: a client is held back and not
//!   buffered.
//! - Subscriptions take turns, one message each: a backlog of one doesn't delay another by more than one
//!   [chunk](crate::hub::Chunk).
//! - Every subscription ends with a message that says so, unless the connection breaks or the client closes it, or
//!   the process ends within a large batch: then all that waits behind that, answers to requests too, is given up for
//!   the close, whose code stays what it was to be. No events of a subscription come behind its end, and its cursor
//!   is that of the last event that came before.
//! - Whoever is sent away has its pings and its close answered until it has got all; what else it says is not heard.
//! - A subscription counts as a connection of its pipeline, also where it ends. The socket itself counts as one of
//!   the pipeline in its URL while no subscription does.

#![expect(clippy::result_large_err, reason = "a failure is made once, and sent at once")]

mod access;
mod burden;
mod conversation;
mod ending;
mod outbox;
mod publishing;
mod queue;
mod reply;
mod request;
mod start;
mod subscription;
mod upkeep;

use std::{
    future::Future,
    io::IoSlice,
    mem,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

pub use access::Access;
use burden::Burden;
pub use conversation::Conversation;
use ending::Ended;
use outbox::{Delivery, Outbox, Taken, TakenEvents};
use queue::Queue;
pub(crate) use reply::encode_farewell;
use reply::{Failure, Reply};
use request::{Ack, MAX_WINDOW, Ping, Publish, Request, Subscribe, Unsubscribe};
use start::{Begun, Passing, Refusal, admit, begin};
use subscription::{Next, Subscription};

use crate::{
    auth::Lease,
    clock,
    count::{EndReason, Seat, Transport, TurnedAway},
    frame::websocket::{self, Allowance, CloseCode, Coding, Dialogue, Heard},
    hub::{HeardCall, Hub, Position, Start},
    log::Cursor,
};

/// The largest message of a client.
pub const MAX_MESSAGE: usize = 1024 * 1024;

/// The most subscriptions of a session.
const MAX_SUBSCRIPTIONS: usize = 64;

/// How many bytes of answers may wait for the client, before no more of its requests are read.
const MOST_ANSWERS: usize = 64 * 1024;

/// What a session needs of the server.
#[derive(Debug)]
pub struct Home {
    /// What it may reach.
    pub access: Access,
    /// The pipeline of the URL, which requests mean that name none.
    pub hub: Arc<Hub>,
    /// The socket's place among its connections.
    pub seat: Seat,
    /// How long the client's grant to be there holds.
    pub lease: Lease,
    /// How messages are written.
    pub coding: Coding,
    /// Which part of the accounts is the session's.
    pub part: usize,
}

/// One client's session.
pub struct Session {
    access: Access,
    /// The pipeline of the URL.
    hub: Arc<Hub>,
    /// The socket's own seat, while no subscription has it.
    spare: Option<Seat>,
    coding: Coding,
    part: usize,
    dialogue: Dialogue,
    outbox: Outbox,
    subscriptions: Vec<Subscription>,
    /// One that has ended while a batch of it was being written, and that lasts until that is whole.
    parting: Option<Subscription>,
    /// Whose turn it is.
    turn: usize,
    numbered: u64,
    waiting: Queue,
    burden: Burden,
    /// What was read of the peer and is not looked at, because too much waits.
    unheard: Vec<u8>,
    job: Option<Job>,
    /// Wakes the session when a hub has news; one for each hub that is subscribed to.
    news: Vec<(Arc<Hub>, News)>,
    leaving: bool,
    /// Why it ends, once that is known.
    ends_for: Option<EndReason>,
    allowance: Allowance,
    /// Whether the client has sent more than it may, and nothing is read until it has earned that.
    held_back: bool,
    born: Instant,
    last_heard: Instant,
    last_sent: Instant,
    pinged: bool,
    /// Which call to leave it has heard last.
    heard_call: HeardCall,
    /// When the first of what was granted ends.
    expires_at: Option<Instant>,
    /// From 90 to 110 percent, so that the signs of life of a thousand sessions don't fall on one moment.
    jitter: u32,
}

type News = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a session waits for.
type Job = Pin<Box<dyn Future<Output = Done> + Send>>;

/// What has come of a job.
enum Done {
    Started { request: Subscribe, hub: Arc<Hub>, begun: Result<Begun, Refusal> },
    Published { id: String, outcome: Result<publishing::Outcome, Failure> },
}

impl Session {
    /// A session. It writes the head of the response, and says hello.
    #[must_use]
    pub fn new(home: Home, head: &[u8]) -> Self {
        let Home { access, hub, seat, lease, coding, part } = home;
        let (now, rate) = (Instant::now(), hub.settings().max_message_rate);
        let heard_call = hub.shedding().now();
        let burden = Burden::new(access.messages.part());
        let mut session = Self {
            access,
            hub,
            spare: Some(seat),
            coding,
            part,
            dialogue: Dialogue::new(MAX_MESSAGE, coding),
            outbox: Outbox::default(),
            subscriptions: Vec::new(),
            parting: None,
            turn: 0,
            numbered: 0,
            waiting: Queue::default(),
            burden,
            unheard: Vec::new(),
            job: None,
            news: Vec::new(),
            leaving: false,
            ends_for: None,
            allowance: Allowance::new(rate, Duration::ZERO),
            held_back: false,
            born: now,
            last_heard: now,
            last_sent: now,
            pinged: false,
            heard_call,
            expires_at: lease.expires_at,
            jitter: fastrand::u32(90..=110),
        };
        session.outbox.push(head);
        let heartbeat = session.heartbeat().unwrap_or_default();
        session.say(Reply::Hello {
            heartbeat_ms: u64::try_from(heartbeat.as_millis()).unwrap_or(u64::MAX),
            max_message: MAX_MESSAGE,
            max_subscriptions: MAX_SUBSCRIPTIONS,
            max_window: MAX_WINDOW,
        });
        session
    }

    /// Whether the peer may say more.
    fn has_room(&self) -> bool {
        let has_closed = self.dialogue.is_over();
        !has_closed && self.waiting.has_room() && self.outbox.waiting() < MOST_ANSWERS
    }

    /// Looks at what was read, as far as there is room for what comes of it.
    fn hear_on(&mut self) {
        let bytes = mem::take(&mut self.unheard);
        let mut rest = &bytes[..];
        while self.has_room() && self.hear_message(&mut rest) {}
        self.unheard = if self.dialogue.is_over() { Vec::new() } else { rest.to_vec() };
    }

    /// Takes a message off `rest`; `false` where there is none that is whole.
    fn hear_message(&mut self, rest: &mut &[u8]) -> bool {
        let mut reply = Vec::new();
        let heard = self.dialogue.hear(rest, &mut reply);
        match heard {
            Heard::Nothing => {
                self.outbox.push_frames(&reply);
                return false;
            }
            Heard::Text(text) => {
                self.burden.end_message();
                self.outbox.push_frames(&reply);
                self.take(&text);
            }
            Heard::Binary(_) => {
                self.outbox.push_frames(&reply);
                self.hub.accounts().breaches.count_binary();
                self.ends_for(EndReason::Breach);
                self.close(CloseCode::UnsupportedData, "weir.v1 has text messages only");
            }
            Heard::Farewell => {
                let breach = self.dialogue.breach();
                self.ends_for(breach.map_or(EndReason::Client, |_| EndReason::Breach));
                if self.end_now(&reply) {
                    breach.into_iter().for_each(|error| self.hub.accounts().breaches.count(error));
                }
            }
        }
        true
    }

    fn take(&mut self, text: &str) {
        match Request::parse(text) {
            Ok(request) => self.waiting.push(request, text.len()),
            Err(error) => {
                let (of, id) = request::subject(text);
                let failure = Failure::new(of, &id, "malformed", &error.to_string());
                self.say(Reply::Failure(&failure));
            }
        }
    }

    /// Whether no job is under way.
    fn poll_job(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(job) = &mut self.job else { return Poll::Ready(()) };
        let Poll::Ready(done) = job.as_mut().poll(context) else { return Poll::Pending };
        self.job = None;
        match done {
            Done::Started { request, hub, begun } => self.start(request, hub, begun),
            Done::Published { id, outcome } => self.tell_published(&id, outcome),
        }
        Poll::Ready(())
    }

    fn poll_news(&mut self, context: &mut Context<'_>) {
        let subscriptions = &self.subscriptions;
        self.news.retain(|(hub, _)| {
            subscriptions.iter().any(|subscription| Arc::ptr_eq(&subscription.hub, hub))
        });
        for (hub, news) in &mut self.news {
            while news.as_mut().poll(context).is_ready() {
                *news = grown(Arc::clone(hub));
            }
        }
    }

    fn carry_out(&mut self, request: Request) {
        match request {
            Request::Subscribe(request) => {
                if let Err(failure) = self.subscribe(request) {
                    self.say(Reply::Failure(&failure));
                }
            }
            Request::Unsubscribe(request) => self.unsubscribe(&request),
            Request::Ack(request) => self.acknowledge(&request),
            Request::Publish(request) => self.publish(request),
            Request::Ping(Ping { id, .. }) => self.say(Reply::Pong { id: id.as_deref() }),
        }
    }

    fn subscribe(&mut self, request: Subscribe) -> Result<(), Failure> {
        let id = request.id.clone();
        let failure = |code, message: &str| Failure::new("subscribe", &id, code, message);
        if self.subscriptions.iter().any(|subscription| subscription.id == id) {
            return Err(failure(
                "duplicate_id",
                "there is a subscription with this id: unsubscribe it",
            ));
        }
        if self.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            let message = format!("a socket has at most {MAX_SUBSCRIPTIONS} subscriptions");
            return Err(failure("too_many_subscriptions", &message));
        }
        let (cursor, from) = (request.cursor.as_deref(), request.from.as_deref());
        let position = Position::asked(cursor, from, clock::micros())
            .map_err(|message| failure("query", message))?;
        let name = request.pipeline.as_deref().unwrap_or(self.hub.name());
        let pipeline = self.access.pipeline(name);
        let pipeline = pipeline.map_err(|error| error.failure("subscribe", &id))?;
        let hub = Arc::clone(pipeline.hub());
        if hub.settings().ping.is_none() {
            let message = format!("the pipeline {name} is not served over WebSocket");
            return Err(failure("unknown_pipeline", &message));
        }
        let told = |Passing { code, message, retry_ms }: Passing| Failure {
            retry_ms: Some(retry_ms),
            ..failure(code, &message)
        };
        admit(&self.access.memory, &hub, &position).map_err(told)?;
        let own = self.spare.is_some() && Arc::ptr_eq(&hub, &self.hub);
        let visitor = Arc::clone(&self.access.visitor);
        let client = self.access.client;
        self.job = Some(Box::pin(async move {
            let filter = request.filter.as_deref();
            let begun = begin(&pipeline, &visitor, (client, own), &position, filter).await;
            Done::Started { request, hub, begun }
        }));
        Ok(())
    }

    fn start(&mut self, request: Subscribe, hub: Arc<Hub>, begun: Result<Begun, Refusal>) {
        let Subscribe { id, window, .. } = request;
        let Begun { further, filter, start: Start { next, gap }, lease } = match begun {
            Ok(begun) => begun,
            Err(Refusal { code, message, retry_ms }) => {
                let failure =
                    Failure { retry_ms, ..Failure::new("subscribe", &id, code, &message) };
                return self.say(Reply::Failure(&failure));
            }
        };
        self.expires_at = self.expires_at.into_iter().chain(lease.expires_at).min();
        let cursor = hub.cursor(next - 1).to_string();
        self.say(Reply::Subscribed { id: &id, cursor: &cursor });
        if let Some(gap) = gap {
            hub.accounts().gaps.count(gap.reason);
            let from = gap.from.map(|cursor| cursor.to_string());
            let (from, missed, reason) = (from.as_deref(), gap.missed, gap.reason);
            self.say(Reply::Gap { id: &id, from, to: &cursor, missed, reason });
        }
        if !self.news.iter().any(|(known, _)| Arc::ptr_eq(known, &hub)) {
            self.news.push((Arc::clone(&hub), grown(Arc::clone(&hub))));
        }
        self.numbered += 1;
        let number = self.numbered;
        // The socket's own goes first, which it may have got back meanwhile; where it was asked for it is there still.
        let own = self.spare.take_if(|_| Arc::ptr_eq(&hub, &self.hub));
        let seat = own.or(further);
        let seat = seat.map(|seat| seat.with_filter(filter).occupied());
        let subscription = Subscription::new(id, number, hub, seat, self.part, next, window);
        self.subscriptions.push(subscription.under(lease.terms));
    }

    fn unsubscribe(&mut self, Unsubscribe { id, .. }: &Unsubscribe) {
        let Some(place) = self.place(id) else { return self.tell_unknown("unsubscribe", id) };
        let Ended { id, cursor } = self.end_subscription(place, EndReason::Client);
        self.say(Reply::Unsubscribed { id: &id, cursor: &cursor });
    }

    fn acknowledge(&mut self, Ack { id, cursor, .. }: &Ack) {
        let Some(place) = self.place(id) else { return self.tell_unknown("ack", id) };
        let Some(subscription) = self.subscriptions.get_mut(place) else { return };
        let known = cursor.parse::<Cursor>().ok();
        let known = known.filter(|cursor| cursor.log == subscription.hub.cursor(0).log);
        let message = match known.map(|cursor| subscription.acknowledge(cursor.offset)) {
            Some(true) => return,
            Some(false) => "cursor: the subscription has not come so far",
            None => "cursor: this is none of the subscription's",
        };
        self.say(Reply::Failure(&Failure::new("ack", id, "query", message)));
    }

    fn publish(&mut self, request: Publish) {
        let name = request.pipeline.clone().unwrap_or_else(|| self.hub.name().to_owned());
        let pipeline = self.access.pipeline(&name);
        let visitor = Arc::clone(&self.access.visitor);
        self.job = Some(Box::pin(async move {
            let id = request.id.clone();
            let outcome = publishing::publish(&name, pipeline, &visitor, request).await;
            Done::Published { id, outcome }
        }));
    }

    fn tell_published(&mut self, id: &str, outcome: Result<publishing::Outcome, Failure>) {
        match outcome {
            Ok(publishing::Outcome { accepted, duplicates, cursor }) => {
                self.say(Reply::Published { id, accepted, duplicates, cursor: &cursor });
            }
            Err(failure) => self.say(Reply::Failure(&failure)),
        }
    }

    fn tell_unknown(&mut self, of: &'static str, id: &str) {
        let message = "there is no subscription with this id";
        self.say(Reply::Failure(&Failure::new(of, id, "unknown_subscription", message)));
    }

    fn place(&self, id: &str) -> Option<usize> {
        self.subscriptions.iter().position(|subscription| subscription.id == id)
    }

    /// Takes the next message of events from the subscription whose turn it is.
    fn fill(&mut self, context: &Context<'_>) {
        let count = self.subscriptions.len();
        for _ in 0..count {
            if !self.outbox.wants_batch() || self.leaving {
                return;
            }
            let place = self.turn % count;
            self.turn = (place + 1) % count;
            let Some(subscription) = self.subscriptions.get_mut(place) else { return };
            match subscription.poll() {
                Next::Nothing => {}
                // The others have their turn, and then it goes on.
                Next::Skipped => context.waker().wake_by_ref(),
                Next::Events { chunk, events } => {
                    subscription.send(&chunk, events);
                    let delivery = Delivery { number: subscription.number, chunk, events };
                    self.outbox.push_batch(&subscription.id, delivery, self.coding);
                }
                Next::Gap { from, to, missed, reason } => {
                    let (id, from) = (subscription.id.clone(), Some(from.as_str()));
                    let missed = Some(missed);
                    self.say(Reply::Gap { id: &id, from, to: &to, missed, reason });
                    // It has the next turn again, now that it can go on.
                    self.turn = place;
                }
            }
        }
    }

    /// How many frames a second the client may send.
    fn rate(&self) -> u32 {
        self.hub.settings().max_message_rate
    }

    /// How often there is a sign of life; `None` where the pipeline of the URL is gone.
    fn heartbeat(&self) -> Option<Duration> {
        if self.hub.is_closed() { None } else { self.hub.settings().ping }
    }

    fn say(&mut self, reply: Reply<'_>) {
        if let Reply::Failure(failure) = reply
            && failure.is_of_a_request()
        {
            self.hub.accounts().refused.count(failure.code);
        }
        let mut frame = Vec::new();
        let json = reply.to_json();
        websocket::encode_text(std::str::from_utf8(&json).unwrap_or_default(), &mut frame);
        self.outbox.push(&frame);
    }
}

impl Conversation for Session {
    fn wants_input(&self) -> bool {
        !self.held_back && self.has_room() && self.unheard.is_empty() && !self.is_over()
    }

    fn hear(&mut self, bytes: &[u8], now: Instant) {
        self.last_heard = now;
        self.pinged = false;
        self.unheard.extend_from_slice(bytes);
        self.hear_on();
        self.keep_time(now);
        self.weigh();
        let (frames, spent_at) = (self.dialogue.take_frames(), now - self.born);
        if !self.allowance.spend(frames, self.rate(), spent_at) {
            self.held_back = true;
            if !self.leaving {
                let turned_away = &self.hub.accounts().turned_away;
                turned_away.count(Transport::WebSocket, TurnedAway::TooManyMessages);
            }
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) {
        self.hear_on();
        while !self.leaving && self.poll_job(context).is_ready() {
            let Some((request, size)) = self.waiting.pop() else { break };
            self.burden.carry(size);
            self.carry_out(request);
            self.hear_on();
        }
        self.weigh();
        // Asked for before the hubs are looked at, so that no news is missed.
        self.poll_news(context);
        self.fill(context);
    }

    fn slices(&self) -> [IoSlice<'_>; 4] {
        self.outbox.slices()
    }

    fn advance(&mut self, count: usize, now: Instant) {
        self.last_sent = now;
        let Taken { control, events } = self.outbox.advance(count);
        if let Some(part) = self.hub.accounts().shard(self.part) {
            part.bytes.add(control as u64);
        }
        let Some(TakenEvents { number, bytes, whole }) = events else { return };
        let mut known = self.subscriptions.iter_mut().chain(&mut self.parting);
        if let Some(subscription) = known.find(|found| found.number == number) {
            subscription.note_bytes(bytes);
            if let Some(delivery) = &whole {
                subscription.note_written(delivery, now);
            }
        }
        if whole.is_some() {
            self.parting = None;
        }
    }

    fn tick(&mut self, blocked: Option<Instant>, now: Instant) -> bool {
        self.look_after(blocked, now)
    }

    fn is_restless(&self, soon: Instant) -> bool {
        self.has_work_before(soon)
    }

    fn ends_for(&mut self, why: EndReason) {
        self.ends_for.get_or_insert(why);
    }

    fn leave(&mut self, why: EndReason) {
        if self.leaving {
            return;
        }
        self.ends_for(why);
        let retry_ms = retry();
        for Ended { id, cursor } in self.end_subscriptions() {
            self.say(Reply::Draining { id: &id, cursor: &cursor, retry_ms });
        }
        self.send_away(CloseCode::ServiceRestart, retry_ms);
    }

    fn hurry(&mut self) {
        self.outbox.hurry();
    }

    fn is_over(&self) -> bool {
        self.leaving && self.outbox.is_empty()
    }

    fn lifetime(&self) -> Option<Duration> {
        self.hub.settings().lifetime()
    }

    fn shed(&mut self) -> Option<Duration> {
        self.hub.shedding().draw(&mut self.heard_call)
    }

    fn drain_window(&self) -> Duration {
        self.hub.settings().drain
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Nothing was wrong: the client has left.
        let reason = self.ends_for.unwrap_or(EndReason::Client);
        self.spare.iter_mut().for_each(|seat| seat.ends_for(reason));
        self.subscriptions.iter_mut().for_each(|subscription| subscription.ends_for(reason));
    }
}

/// Comes when a hub has news.
fn grown(hub: Arc<Hub>) -> News {
    Box::pin(async move {
        let grown = hub.tail().grown();
        pin!(grown).await;
    })
}

/// How long a client that is sent away waits, in milliseconds: spread, so that not all come at once.
fn retry() -> u64 {
    fastrand::u64(100..2_000)
}

#[cfg(test)]
mod tests;
