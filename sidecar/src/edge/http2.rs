//! Answers the requests of a connection over HTTP/2, each by the same routes as over HTTP/1, and gives
//! those that become streams to [the lane](crate::engine::Lane).
//!
//! # Laws
//!
//! - What a peer can have at once is bounded: streams, what is buffered of each, and with all other connections
//!   their heads. One that opens streams only to reset them is told to calm down, and gone.
//! - A connection that has no stream of a subscriber holds a slot, as one over HTTP/1 does.
//! - When subscribers are sent away, the connection takes no new streams: whoever comes back opens
//!   another one, and so reaches another replica.

mod body;
mod exchange;
mod load;
mod scan;

use std::{
    future::{Future, pending, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Ping, PingPong, Reason, RecvStream,
    server::{Builder, Connection, SendResponse},
};
use http::Request;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{self, Instant},
};
use tokio_util::task::TaskTracker;

pub use self::scan::{Block, Scan};
use self::{
    body::Received,
    exchange::Exchange,
    load::{Load, Metered},
};
use super::{
    accept::{Acceptor, Caller, KEEP_ALIVE, LAST_REQUESTS, PATIENCE, Routes},
    arrivals::Fault,
    line::Line,
    slots::Slot,
};
use crate::count::Network;

/// The most streams of one connection: all the tabs of a browser, or what a proxy puts onto one
/// connection before it opens the next.
const MOST_STREAMS: u32 = 1_024;

/// The largest list of headers of a request.
const MOST_HEADERS: u32 = 32 * 1024;

/// How much of a stream's answer is buffered until the socket takes it.
const SEND_BUFFER: usize = 32 * 1024;

/// How much a publisher may have in flight in one stream, and in all streams of a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// How many streams may be reset before they were looked at: more is an attack (CVE-2023-44487).
const MOST_RESETS: usize = 64;

/// How many streams may be reset because the peer broke the protocol in them.
const MOST_ERRORS: usize = 256;

/// How often a connection is pinged, and how long the answer may take. Less than the minute after which
/// load balancers close an idle connection.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(20);

/// Why a request is refused for which there is no room.
const BUSY: &str = "busy";

/// A connection's place among those that are not with the engine; empty while it has a subscriber.
type Place = Arc<Mutex<Option<Slot>>>;

/// What the exchanges of a connection share.
#[derive(Debug, Clone)]
struct Shared {
    acceptor: Acceptor,
    routes: Routes,
    caller: Caller,
    slot: Place,
    line: Arc<Line>,
    network: Network,
    /// What its requests take.
    load: Load,
    /// Has a token for each stream that is with the lane.
    subscribers: TaskTracker,
}

/// Serves a connection to its end.
pub(super) async fn serve<I>(acceptor: &Acceptor, io: I, caller: Caller, routes: Routes, slot: Slot)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let load = Load::new(&acceptor.heads);
    let io = Metered::new(io, load.clone());
    let connection = match time::timeout(PATIENCE, builder().handshake(io)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return note(acceptor, &error),
        Err(_) => return acceptor.arrivals.note(Fault::Slow),
    };
    let subscribers = TaskTracker::new();
    // Closed from the start, so that it can be waited for whenever it is empty.
    subscribers.close();
    let (line, network) = (Arc::clone(slot.line()), slot.network());
    let slot = Arc::new(Mutex::new(Some(slot)));
    let acceptor = acceptor.clone();
    let shared = Shared { acceptor, routes, caller, slot, line, network, load, subscribers };
    drive(connection, &shared).await;
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(MOST_HEADERS)
        .max_send_buffer_size(SEND_BUFFER)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(MOST_RESETS)
        .max_local_error_reset_streams(Some(MOST_ERRORS))
        .enable_connect_protocol();
    builder
}

async fn drive<I>(mut connection: Connection<Metered<I>, Bytes>, shared: &Shared)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Acceptor { draining, stopping, .. } = &shared.acceptor;
    let mut alive = pin!(keep_alive(connection.ping_pong()));
    let mut idle = pin!(time::sleep(PATIENCE));
    let (mut leaving, mut deadline) = (false, None);
    loop {
        tokio::select! {
            biased;
            accepted = poll_fn(|context| accept(&mut connection, shared, context)) => match accepted {
                Some(Ok((request, respond))) => {
                    idle.as_mut().reset(Instant::now() + KEEP_ALIVE);
                    shared.begin(request, respond);
                }
                Some(Err(error)) => return shared.note(&error),
                None => return,
            },
            () = &mut alive => return,
            () = stopping.cancelled(), if deadline.is_none() => {
                leaving = true;
                deadline = Some(Instant::now() + LAST_REQUESTS);
                connection.graceful_shutdown();
            }
            () = draining.cancelled(), if !leaving => {
                leaving = true;
                connection.graceful_shutdown();
            }
            () = shared.deserted(), if shared.has_no_slot() => {
                if !shared.take_slot() {
                    return;
                }
            }
            () = &mut idle => {
                idle.as_mut().reset(Instant::now() + KEEP_ALIVE);
                if !connection.has_streams() && !leaving {
                    leaving = true;
                    deadline = Some(Instant::now() + LAST_REQUESTS);
                    connection.graceful_shutdown();
                }
            }
            () = at(deadline) => return,
        }
    }
}

type Accepted = Result<(Request<RecvStream>, SendResponse<Bytes>), h2::Error>;

/// The next request. Reads on when all that came of what was read is looked at.
fn accept<I>(
    connection: &mut Connection<Metered<I>, Bytes>,
    shared: &Shared,
    context: &mut Context<'_>,
) -> Poll<Option<Accepted>>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match connection.poll_accept(context) {
            Poll::Pending if shared.load.look_on() => {}
            accepted @ (Poll::Ready(_) | Poll::Pending) => return accepted,
        }
    }
}

fn note(acceptor: &Acceptor, error: &h2::Error) {
    if let Some(fault) = Fault::of_http2(error) {
        acceptor.arrivals.note(fault);
    }
}

impl Shared {
    /// Begins to answer a request, where there is room for it. One for which there is none is not looked at, and so
    /// may be sent again.
    fn begin(&self, mut request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let trailers = self.load.follow(respond.stream_id().as_u32());
        if let Some(admitted) = self.load.admit(&request) {
            load::copy(&mut request);
            let request = request.map(|receive| Received::new(receive, trailers));
            self.acceptor.tasks.spawn(Exchange::new(self, respond, admitted).run(request));
        } else {
            self.acceptor.unrouted.count(BUSY);
            respond.send_reset(Reason::REFUSED_STREAM);
        }
    }

    /// Takes note why the connection broke.
    fn note(&self, error: &h2::Error) {
        tracing::debug!(%error, "a connection over HTTP/2 broke");
        match self.load.fault() {
            Some(fault) => self.acceptor.arrivals.note(fault),
            None => note(&self.acceptor, error),
        }
    }

    /// Comes when no stream is with the lane.
    fn deserted(&self) -> impl Future<Output = ()> {
        let subscribers = self.subscribers.clone();
        async move { subscribers.wait().await }
    }

    fn has_no_slot(&self) -> bool {
        self.slot.lock().is_none()
    }

    /// Takes a slot again, unless there is none.
    fn take_slot(&self) -> bool {
        let taken = self.acceptor.slots.try_take(self.network, &self.line);
        let mut slot = self.slot.lock();
        *slot = taken;
        slot.is_some()
    }
}

/// Ends when the peer leaves a ping unanswered.
async fn keep_alive(ping_pong: Option<PingPong>) {
    let Some(mut ping_pong) = ping_pong else { return pending().await };
    loop {
        time::sleep(PING).await;
        match time::timeout(PONG, ping_pong.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// Comes at a moment; never, where there is none.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => time::sleep_until(moment).await,
        None => pending().await,
    }
}
