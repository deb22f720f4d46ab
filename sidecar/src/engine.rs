//! The engine: once the handshake is done, it drives the subscribers' sockets.
//!
//! General HTTP stacks spend a task, a wake-up and 10 to 20 KiB on each connection. Here a shard (one
//! thread, one epoll) owns its sockets and writes them in a loop, so that one wake-up serves all. What
//! has no socket of its own, inside TLS or HTTP/2, goes to [the lane](Lane).
//!
//! # Laws
//!
//! - A socket belongs to one shard until it is closed. Only that shard's thread touches it.
//! - Nothing on a shard's thread blocks but waiting for its sockets, or runs for longer than a bounded
//!   number of writes to each: no subscriber waits for another's backlog.
//! - A write either takes bytes now or is retried when the kernel says that there is room: a stalled
//!   subscriber costs no time, and pins one [chunk](crate::hub::Chunk).
//! - Between two frames, controls go before events.

mod connection;
mod lane;
mod outlet;
mod reader;
mod shard;
mod wire;

use std::{
    io, mem,
    net::TcpStream,
    panic::{self, AssertUnwindSafe},
    process,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use mio::{Poll, Token, Waker};
use parking_lot::Mutex;

pub use lane::{Incoming, Lane};

use crate::{
    auth::Lease,
    count::Seat,
    frame::Format,
    hub::{Framing, Hub},
    log::Offset,
    session::Access,
};

/// A connection whose handshake is done, on its way to a shard or to the lane.
#[derive(Debug)]
pub struct Adoption<S = TcpStream> {
    /// The socket. Nothing of the answer has been written to it yet.
    pub socket: S,
    /// What to write first, unframed: the head of the response.
    pub head: Vec<u8>,
    /// What to write next, in the connection's framing: the opening frames.
    pub opening: Vec<u8>,
    /// What the peer sent behind its request.
    pub early: Bytes,
    /// The pipeline.
    pub hub: Arc<Hub>,
    /// The place among the pipeline's connections.
    pub seat: Seat,
    /// The wire format.
    pub format: Format,
    /// How the stream is delimited.
    pub framing: Framing,
    /// The offset of the first event to write.
    pub next: Offset,
    /// How long the subscriber's grant holds.
    pub lease: Lease,
    /// What a session may reach; none where the connection is one stream.
    pub session: Option<Access>,
}

impl<S> Adoption<S> {
    /// The same connection over another socket, which `map` makes of this one.
    fn map<T>(self, map: impl FnOnce(S) -> T) -> Adoption<T> {
        let Self { socket, head, opening, early, hub, seat, format, framing, next, lease, session } =
            self;
        let socket = map(socket);
        Adoption { socket, head, opening, early, hub, seat, format, framing, next, lease, session }
    }
}

/// Wakes the shards when a hub has news.
#[derive(Debug, Clone)]
pub struct Wakers(Arc<[Arc<Handle>]>);

/// The shards and the lane.
#[derive(Debug)]
pub struct Engine {
    handles: Arc<[Arc<Handle>]>,
    lane: Arc<Lane>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// How the rest of the process reaches a shard.
#[derive(Debug)]
struct Handle {
    waker: Waker,
    /// Whether a wake-up is under way, so that a burst of publishes costs one.
    pending: AtomicBool,
    /// Connections on their way. Bounded by the seats that they hold.
    inbox: Mutex<Vec<Adoption>>,
    /// Connections owned or on their way.
    connections: AtomicUsize,
    /// Set once: close every connection, spread over its pipeline's drain window, or over this where that is
    /// shorter.
    draining: OnceLock<Duration>,
    /// Set once: close every connection now, and end.
    stopping: AtomicBool,
}

/// How long leaving connections may write their last bytes when the engine stops.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The token of a shard's waker; connections have the keys of a slab, which grow from 0.
const WAKER: Token = Token(usize::MAX);

impl Engine {
    /// Starts shards, one thread each.
    ///
    /// # Errors
    ///
    /// Fails when the system grants no epoll instance or no thread.
    pub fn start(shards: usize) -> io::Result<Self> {
        let polls = (0..shards.max(1)).map(|_| Poll::new()).collect::<io::Result<Vec<_>>>()?;
        let handles = polls.iter().map(Handle::new).collect::<io::Result<Arc<[_]>>>()?;
        let mut threads = Vec::new();
        for (index, (poll, handle)) in polls.into_iter().zip(handles.iter()).enumerate() {
            let shard = shard::Shard::new(index, poll, Arc::clone(handle));
            let name = format!("weir-shard-{index}");
            let guarded = move || {
                // A shard that is gone would leave its subscribers waiting for ever. The state that a
                // panic leaves behind is never looked at.
                if panic::catch_unwind(AssertUnwindSafe(|| shard.run())).is_err() {
                    tracing::error!(shard = index, "a shard panicked");
                    process::abort();
                }
            };
            threads.push(thread::Builder::new().name(name).spawn(guarded)?);
        }
        let lane = Arc::new(Lane::new(handles.len()));
        Ok(Self { handles, lane, threads: Mutex::new(threads) })
    }

    /// The handle by which hubs wake the shards.
    #[must_use]
    pub fn wakers(&self) -> Wakers {
        Wakers(Arc::clone(&self.handles))
    }

    /// Where the connections go that no shard can drive.
    #[must_use]
    pub const fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// Hands a connection to the shard that has the fewest.
    pub fn adopt(&self, adoption: Adoption) {
        let load = |handle: &&Arc<Handle>| handle.connections.load(Ordering::Relaxed);
        let Some(handle) = self.handles.iter().min_by_key(load) else { return };
        handle.connections.fetch_add(1, Ordering::Relaxed);
        handle.inbox.lock().push(adoption);
        handle.wake();
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        let load = |handle: &Arc<Handle>| handle.connections.load(Ordering::Relaxed);
        self.handles.iter().map(load).sum::<usize>() + self.lane.connections()
    }

    /// Starts to close every connection, each with its cursor and a hint when to come back, spread
    /// over its pipeline's drain window, and over no more than `most`. Only the first time counts.
    pub fn drain(&self, most: Duration) {
        for handle in self.handles.iter() {
            handle.draining.get_or_init(|| most);
            handle.wake();
        }
        self.lane.drain(most);
    }

    /// Closes every connection now, and waits for the shards to end.
    pub fn stop(&self) {
        for handle in self.handles.iter() {
            handle.stopping.store(true, Ordering::Release);
            handle.wake();
        }
        self.lane.stop();
        for thread in mem::take(&mut *self.threads.lock()) {
            if thread.join().is_err() {
                tracing::error!("a shard ended by a panic");
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Wakers {
    /// Wakes nobody: for a log without shards.
    #[must_use]
    pub fn none() -> Self {
        Self(Arc::new([]))
    }

    /// How many shards there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no shard; there always is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes every shard that has connections look for news.
    pub fn wake(&self) {
        // Against the fence of a shard that adopts: either it sees the news, or this sees that it is
        // busy.
        fence(Ordering::SeqCst);
        let busy = |handle: &&Arc<Handle>| handle.connections.load(Ordering::Relaxed) > 0;
        self.0.iter().filter(busy).for_each(|handle| handle.wake());
    }
}

impl Handle {
    fn new(poll: &Poll) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            waker: Waker::new(poll.registry(), WAKER)?,
            pending: AtomicBool::new(false),
            inbox: Mutex::default(),
            connections: AtomicUsize::new(0),
            draining: OnceLock::new(),
            stopping: AtomicBool::new(false),
        }))
    }

    fn wake(&self) {
        if !self.pending.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "can't wake a shard");
        }
    }
}
