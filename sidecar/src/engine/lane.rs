//! The lane: drives from tasks the connections that no shard can, because they have no socket of their
//! own to be polled: those inside TLS, and the streams of HTTP/2; and those on which a
//! [session](crate::session) is held, which have to wait for more than one thing.
//!
//! # Laws
//!
//! - A connection is driven by one task, by the same [state machine](super::connection) as on a shard,
//!   and ends in the same ways.
//! - The task has its turn when its hub has news, when its wire can go on, and with time; in between it
//!   sleeps. It gives way after a bounded number of writes.
//! - What a connection counts goes to the lane's own part of the accounts, also where its task is
//!   dropped.
//! - No connection outlives the [stop](Lane::stop) by more than its last words.

mod http2;
mod session;
mod stream;

use std::{
    future::{pending, poll_fn},
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::SendStream;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::http2::Incoming;
use self::{http2::Http2Wire, session::Talk, stream::StreamWire};
use super::{
    Adoption, LAST_WORDS,
    connection::{Connection, Ending, Now, TICK, Tick, Turn, paced, ticks},
    wire::Wire,
};
use crate::{
    count::{EndReason, Transport},
    hub::Hub,
    session::Conversation,
};

/// How often a connection looks at the time when nothing presses: a timer costs a wake-up each.
const IDLE_TICK: Duration = Duration::from_secs(1);

/// How much is read at once, on the stack; subscribers say little.
const SCRATCH: usize = 4 * 1024;

/// The connections that are driven by tasks.
#[derive(Debug)]
pub struct Lane {
    /// Which part of the accounts is the lane's.
    part: usize,
    started: time::Instant,
    connections: AtomicUsize,
    draining: CancellationToken,
    /// How long a drain may take at most; set before it begins.
    most: OnceLock<Duration>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

/// A wire that wakes a task.
trait TaskWire: Wire + Send + 'static {
    /// From now on, whoever is told that the wire can go on.
    fn attend(&mut self, context: &Context<'_>);

    /// Sends on what was written.
    fn flush(&mut self);
}

impl Lane {
    pub(super) fn new(part: usize) -> Self {
        Self {
            part,
            started: time::Instant::now(),
            connections: AtomicUsize::new(0),
            draining: CancellationToken::new(),
            most: OnceLock::new(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Takes over a connection whose socket is inside something else, such as TLS.
    ///
    /// Must be called within a tokio runtime.
    pub fn adopt_stream<S>(self: &Arc<Self>, adoption: Adoption<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.adopt(adoption.map(StreamWire::new));
    }

    /// Takes over a stream of HTTP/2 whose response has begun. The guard is dropped at its end.
    ///
    /// Must be called within a tokio runtime.
    pub fn adopt_http2<R: Incoming, G: Send + 'static>(
        self: &Arc<Self>,
        adoption: Adoption<(SendStream<Bytes>, R, G)>,
    ) {
        let tunnel = match adoption.seat.transport() {
            Transport::Sse => false,
            Transport::WebSocket => true,
        };
        let wire = |(send, receive, guard)| Http2Wire::new(send, receive, tunnel, guard);
        self.adopt(adoption.map(wire));
    }

    /// Holds a conversation on a connection whose handshake is done, with what the peer has said already.
    ///
    /// Must be called within a tokio runtime.
    pub fn hold<S, C>(self: &Arc<Self>, socket: S, early: &[u8], conversation: C)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        C: Conversation,
    {
        let talk = Talk::new(Arc::clone(self), StreamWire::new(socket), conversation, early);
        self.tasks.spawn(talk.run());
    }

    fn adopt<W: TaskWire>(self: &Arc<Self>, mut adoption: Adoption<W>) {
        if let Some(access) = adoption.session.take() {
            self.tasks.spawn(Talk::adopt(Arc::clone(self), adoption, access).run());
            return;
        }
        let subscriber = Subscriber::new(Arc::clone(self), adoption);
        self.tasks.spawn(subscriber.run());
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(super) fn drain(&self, most: Duration) {
        self.most.get_or_init(|| most);
        self.draining.cancel();
    }

    /// The time over which the connections of a pipeline leave that would have them leave over `window`.
    fn window(&self, window: Duration) -> Duration {
        self.most.get().map_or(window, |most| window.min(*most))
    }

    /// Closes every connection now.
    pub fn stop(&self) {
        self.stopping.cancel();
        self.tasks.close();
    }

    /// Comes when every connection is closed after a [stop](Self::stop).
    pub async fn stopped(&self) {
        self.tasks.wait().await;
    }

    fn tick(&self) -> Tick {
        ticks(self.started.elapsed())
    }

    fn now<'a>(&self, hub: &'a Arc<Hub>) -> Now<'a> {
        Now { shard: self.part, tick: self.tick(), hub }
    }
}

/// A connection, and what its task keeps count of.
struct Subscriber<W: TaskWire> {
    lane: Arc<Lane>,
    hub: Arc<Hub>,
    connection: Connection<W>,
    ending: Ending,
}

impl<W: TaskWire> Subscriber<W> {
    fn new(lane: Arc<Lane>, adoption: Adoption<W>) -> Self {
        lane.connections.fetch_add(1, Ordering::Relaxed);
        let hub = Arc::clone(&adoption.hub);
        hub.accounts().arrive(lane.part, hub.tail(), adoption.next);
        let connection = Connection::adopt(adoption, lane.tick());
        Self { lane, hub, connection, ending: Ending::Departed }
    }

    async fn run(mut self) {
        let (lane, hub) = (Arc::clone(&self.lane), Arc::clone(&self.hub));
        let mut news = pin!(hub.tail().grown());
        let (mut draining, mut stopping) =
            (pin!(lane.draining.cancelled()), pin!(lane.stopping.cancelled()));
        let (mut drained, mut last) = (false, None);
        let mut next_tick = pin!(time::sleep(IDLE_TICK));
        loop {
            // Asked for before the hub is looked at, so that no news is missed.
            news.as_mut().enable();
            tokio::select! {
                biased;
                ending = self.turns() => return self.end(ending),
                () = &mut news => news.set(hub.tail().grown()),
                () = &mut draining, if !drained => {
                    drained = true;
                    self.plan_leave();
                    next_tick.set(time::sleep(TICK));
                }
                () = &mut stopping, if last.is_none() => {
                    last = Some(time::Instant::now() + LAST_WORDS);
                    self.connection.send_away_now(self.lane.now(&hub));
                }
                () = at(last) => return,
                () = &mut next_tick => {
                    if let Turn::Over(ending) = self.connection.tick(self.lane.now(&hub)) {
                        return self.end(ending);
                    }
                    let restless = self.connection.is_restless(self.lane.tick() + ticks(IDLE_TICK));
                    next_tick.set(time::sleep(if restless { TICK } else { IDLE_TICK }));
                }
            }
        }
    }

    /// Takes turns until the connection is over.
    async fn turns(&mut self) -> Ending {
        poll_fn(|context| self.poll_turn(context)).await
    }

    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<Ending> {
        self.connection.wire().attend(context);
        // Whether there is something to read only the wire knows.
        self.connection.can_read();
        let mut scratch = [0; SCRATCH];
        let turn = self.connection.take_turn(self.lane.now(&self.hub), &mut scratch);
        self.connection.wire().flush();
        match turn {
            Turn::Waiting => Poll::Pending,
            Turn::More => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Turn::Over(ending) => Poll::Ready(ending),
        }
    }

    /// Chooses when the connection leaves: at random within its pipeline's drain window, or a shorter one where
    /// the process has less time.
    fn plan_leave(&mut self) {
        let window = self.lane.window(self.hub.settings().drain);
        self.connection.leave_at(paced(self.lane.tick(), window), EndReason::Drain);
    }

    fn end(mut self, ending: Ending) {
        self.ending = ending;
    }
}

impl<W: TaskWire> Drop for Subscriber<W> {
    fn drop(&mut self) {
        self.connection.leave(self.lane.now(&self.hub), self.ending);
        self.lane.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Comes at a moment; never, where there is none.
async fn at(moment: Option<time::Instant>) {
    match moment {
        Some(moment) => time::sleep_until(moment).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests;
