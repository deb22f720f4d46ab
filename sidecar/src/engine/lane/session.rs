//! Holds a [conversation](crate::session::Conversation), such as a session of `weir.v1`, over one wire.
//!
//! Laws: nothing is read while the session wants no input; a turn is bounded; what is counted as written is
//! what the wire took.

use std::{
    future::poll_fn,
    io::{self, ErrorKind, IoSlice},
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::time;

use super::{Adoption, IDLE_TICK, LAST_WORDS, Lane, SCRATCH, TaskWire, at};
use crate::{
    count::EndReason,
    session::{Access, Conversation, Home, Session},
};

/// How often a session looks at the time while something presses.
const LOOK: Duration = Duration::from_millis(500);

/// How many reads and writes a session gets before others have their turn.
const STEPS_PER_TURN: usize = 8;

/// How long a session that has said its last waits for the peer to close its side. To close at once would
/// answer late bytes with a reset, and that discards what the peer has not read yet (RFC 9112, 9.6).
const LINGER: Duration = Duration::from_secs(2);

/// A session, its wire, and its place among the lane's connections.
pub(super) struct Talk<W: TaskWire, C: Conversation> {
    lane: Arc<Lane>,
    wire: W,
    session: C,
    /// Since when the wire takes nothing.
    blocked: Option<Instant>,
}

/// Why a session is over.
enum Ending {
    /// All is said.
    Said,
    /// The peer is gone.
    Gone,
}

impl<W: TaskWire> Talk<W, Session> {
    /// Takes a connection over that a session of `weir.v1` is held on.
    pub(super) fn adopt(lane: Arc<Lane>, adoption: Adoption<W>, access: Access) -> Self {
        let Adoption {
            socket,
            head,
            opening: _,
            early,
            hub,
            seat,
            format,
            framing: _,
            next: _,
            lease,
            session: _,
        } = adoption;
        let part = lane.part;
        let home = Home { access, hub, seat, lease, coding: format.coding(), part };
        Self::new(lane, socket, Session::new(home, &head), &early)
    }
}

impl<W: TaskWire, C: Conversation> Talk<W, C> {
    /// Takes a connection over, with what the peer has said already.
    pub(super) fn new(lane: Arc<Lane>, wire: W, mut session: C, early: &[u8]) -> Self {
        lane.connections.fetch_add(1, Ordering::Relaxed);
        session.hear(early, Instant::now());
        Self { lane, wire, session, blocked: None }
    }

    /// Holds the session until it is over.
    pub(super) async fn run(mut self) {
        let lane = Arc::clone(&self.lane);
        let (mut draining, mut stopping) =
            (pin!(lane.draining.cancelled()), pin!(lane.stopping.cancelled()));
        let (mut drained, mut last) = (false, None);
        let lifetime = self.session.lifetime();
        let mut leaves = lifetime.map(|life| (time::Instant::now() + life, EndReason::Age));
        let mut look = pin!(time::sleep(IDLE_TICK));
        loop {
            tokio::select! {
                biased;
                ending = poll_fn(|context| self.turn(context)) => {
                    return match ending {
                        Ending::Said => self.linger().await,
                        Ending::Gone => {}
                    };
                }
                () = &mut draining, if !drained => {
                    drained = true;
                    let window = self.lane.window(self.session.drain_window());
                    let window = window.mul_f64(fastrand::f64());
                    leaves = sooner(leaves, (time::Instant::now() + window, EndReason::Drain));
                }
                () = at(leaves.map(|(at, _)| at)) => {
                    let why = leaves.take().map_or(EndReason::Drain, |(_, why)| why);
                    self.session.leave(why);
                }
                () = &mut stopping, if last.is_none() => {
                    last = Some(time::Instant::now() + LAST_WORDS);
                    self.session.leave(EndReason::Drain);
                    self.session.hurry();
                }
                () = at(last) => return,
                () = &mut look => {
                    if !self.session.tick(self.blocked, Instant::now()) {
                        return;
                    }
                    if let Some(after) = self.session.shed() {
                        leaves = sooner(leaves, (time::Instant::now() + after, EndReason::Share));
                    }
                    let soon = Instant::now() + IDLE_TICK;
                    let restless = self.blocked.is_some() || self.session.is_restless(soon);
                    look.set(time::sleep(if restless { LOOK } else { IDLE_TICK }));
                }
            }
        }
    }

    /// Reads and writes what can be, within the bounds of a turn.
    fn turn(&mut self, context: &mut Context<'_>) -> Poll<Ending> {
        self.wire.attend(context);
        for _ in 0..STEPS_PER_TURN {
            let read = self.read();
            self.session.poll(context);
            match (read, self.write()) {
                (Err(_), _) | (_, Err(_)) => {
                    self.session.ends_for(EndReason::Broken);
                    return Poll::Ready(Ending::Gone);
                }
                (Ok(false), Ok(false)) => {
                    self.wire.flush();
                    let over = self.session.is_over();
                    return if over { Poll::Ready(Ending::Said) } else { Poll::Pending };
                }
                (Ok(_), Ok(_)) => {}
            }
        }
        self.wire.flush();
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once; `false` where there is nothing to read, or nothing is wanted.
    fn read(&mut self) -> io::Result<bool> {
        if !self.session.wants_input() {
            return Ok(false);
        }
        let mut scratch = [0; SCRATCH];
        match self.wire.read(&mut scratch) {
            Ok(0) => {
                self.session.ends_for(EndReason::Client);
                Err(ErrorKind::UnexpectedEof.into())
            }
            Ok(count) => {
                self.session.hear(scratch.get(..count).unwrap_or_default(), Instant::now());
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes once; `false` where there is nothing to write, or no room.
    fn write(&mut self) -> io::Result<bool> {
        let taken = {
            let slices = self.session.slices();
            let mut full = slices.iter().filter(|slice| !slice.is_empty());
            let none = IoSlice::new(&[]);
            match (full.next(), full.next()) {
                (None, _) => None,
                (Some(only), None) => Some(self.wire.write(&[*only, none])),
                (Some(first), Some(second)) => Some(self.wire.write(&[*first, *second])),
            }
        };
        match taken {
            None => {
                self.blocked = None;
                Ok(false)
            }
            Some(Ok(count)) => {
                self.blocked = None;
                self.session.advance(count, Instant::now());
                Ok(true)
            }
            Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => {
                self.blocked.get_or_insert_with(Instant::now);
                Ok(false)
            }
            Some(Err(error)) => Err(error),
        }
    }

    /// Ends the stream, and waits for the peer to end it, too.
    async fn linger(mut self) {
        self.wire.end();
        let gone = poll_fn(|context| {
            self.wire.attend(context);
            self.wire.flush();
            let mut scratch = [0; SCRATCH];
            loop {
                match self.wire.read(&mut scratch) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
                    Ok(0) | Err(_) => return Poll::Ready(()),
                    Ok(_) => {}
                }
            }
        });
        // Whatever comes of it, the connection is over.
        let _ = time::timeout(LINGER, gone).await;
    }
}

/// When a session leaves, and why.
type Leaves = (time::Instant, EndReason);

/// The earlier of the two.
fn sooner(planned: Option<Leaves>, other: Leaves) -> Option<Leaves> {
    planned.filter(|(at, _)| *at <= other.0).or(Some(other))
}

impl<W: TaskWire, C: Conversation> Drop for Talk<W, C> {
    fn drop(&mut self) {
        self.lane.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
