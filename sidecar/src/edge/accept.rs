//! The accept loop: sockets in, requests to warp, streams to the engine.
//!
//! # Laws
//!
//! - A connection has a bounded time for its first byte and for each request's head, and there is a
//!   bounded number of connections: one that says nothing costs a socket, and not for long, and gives way to
//!   whoever comes.
//! - A client that comes more often than it may is closed before anything is done for it.
//! - A stream's socket leaves hyper with every byte that the peer has sent so far.
//! - When the process ends, requests that have begun are answered.

use std::{
    error::Error,
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use http::{Request, StatusCode};
use hyper::body::Body;
use tokio::{
    io::AsyncRead,
    net::{TcpListener, TcpStream, UnixListener},
    sync::Semaphore,
    time,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_service::Service as _;
use warp::{Reply as _, filters::BoxedFilter};

use super::{
    arrivals::{Arrivals, Fault},
    greeting::{self, Protocol, Rewound},
    http1::{self, Stream},
    http2,
    line::Line,
    problem::problem,
    slots::{SLOTS, Slot, Slots},
    takeover::Takeover,
    tls::Tls,
};
use crate::{count::Refusals, engine::Engine, memory::Budget, seldom::Seldom};

/// How long a connection may take for its first byte, and then for the head of its first request.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection that has made a request may take for the head of the next. Longer than the
/// minute for which load balancers and clients keep an idle connection: whoever closes first must not
/// be the server, or a request that is on its way is lost.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long requests that have begun may take when the process ends.
pub(super) const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// How much the kernel buffers for one subscriber: what a stalled one costs, and what one that is far
/// away can have in flight.
const SEND_BUFFER: usize = 128 * 1024;

/// How much of that may wait to be sent at all. What is beyond it stays with us, where it can still be
/// conflated or skipped when the subscriber doesn't keep up, and is shared by all.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 32 * 1024;

/// How much of what a session sends waits to be read, as the kernel counts it twice over. Nothing is read of one that
/// sends more than it may or waits for a log, and where the kernel has seen it read fast, it would take some mebibytes
/// by then (`net.ipv4.tcp_rmem`). What else becomes a stream is always read.
const RECEIVE_BUFFER: usize = 512 * 1024;

/// How long written data may stay unacknowledged: then the peer is gone, though it never said so.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait after the system refused to accept, most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whoever opens enough connections can make it happen.
static NOT_ACCEPTED: Seldom = Seldom::new();

/// What answers the requests of a listener.
pub type Routes = BoxedFilter<(warp::reply::Response,)>;

/// What every accept loop needs.
#[derive(Debug, Clone)]
pub struct Acceptor {
    /// Where streams go.
    pub engine: Arc<Engine>,
    /// Bounds the connections that are not with the engine.
    pub slots: Slots,
    /// Bounds what they keep of requests' heads.
    pub heads: Budget,
    /// The connections that are being served.
    pub tasks: TaskTracker,
    /// Cancelled when subscribers are sent away: connections of HTTP/2 then take no new streams.
    pub draining: CancellationToken,
    /// Bounds how fast one client may come.
    pub arrivals: Arrivals,
    /// Counts the requests that are refused before it is known what they are for.
    pub unrouted: Arc<Refusals>,
    /// What does the handshakes of TLS; absent where it is not spoken.
    pub tls: Option<Tls>,
    /// Ends the loop and its connections.
    pub stopping: CancellationToken,
}

impl Acceptor {
    /// Serves TCP connections, whose streams go to the engine.
    pub async fn serve_tcp(self, listener: TcpListener, routes: Routes) {
        while let Some((socket, peer)) = self.next(|| listener.accept()).await {
            if !self.arrivals.admit(peer.ip()) {
                continue;
            }
            let Some(slot) = self.place(peer.ip()).await else { continue };
            let caller = Caller { peer: Peer(peer.ip()), secure: false };
            let line = Arc::clone(slot.line());
            let serving = self.clone().serve(socket, caller, routes.clone(), slot);
            self.tasks.spawn(unless_called_off(serving, line, self.arrivals.clone()));
        }
    }

    /// Serves connections on a Unix socket, over which there are no streams.
    pub async fn serve_unix(self, listener: UnixListener, routes: Routes) {
        let here = IpAddr::from(Ipv4Addr::LOCALHOST);
        while let Some((socket, _)) = self.next(|| listener.accept()).await {
            let Some(slot) = self.place(here).await else { continue };
            let (acceptor, routes) = (self.clone(), routes.clone());
            let line = Arc::clone(slot.line());
            let serving = async move {
                // The routes of the application's door take no connection over.
                let caller = Caller { peer: Peer(here), secure: false };
                let _ = http1::serve(&acceptor, socket, caller, routes, slot.line()).await;
            };
            self.tasks.spawn(unless_called_off(serving, line, self.arrivals.clone()));
        }
    }

    /// The next connection; `None` when the loop is to end.
    async fn next<S, A, F>(&self, accept: impl Fn() -> F) -> Option<(S, A)>
    where
        F: Future<Output = io::Result<(S, A)>>,
    {
        loop {
            let accepted = tokio::select! {
                accepted = accept() => accepted,
                () = self.stopping.cancelled() => return None,
            };
            match accepted {
                Ok(accepted) => return Some(accepted),
                Err(error) => {
                    if NOT_ACCEPTED.is_due() {
                        tracing::warn!(%error, "can't accept connections");
                    }
                    time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// A slot for a connection from this address; `None` where it is not to be served.
    async fn place(&self, address: IpAddr) -> Option<Slot> {
        let slot = tokio::select! {
            slot = self.slots.take(address.into()) => slot,
            () = self.stopping.cancelled() => return None,
        };
        if slot.is_none() {
            self.arrivals.note(Fault::TooManyOfAddress);
        }
        slot
    }

    /// Serves one TCP connection. What drives a protocol is boxed: in a storm most connections wait for their
    /// first bytes, and such a one costs no more memory than that takes.
    async fn serve(self, socket: TcpStream, caller: Caller, routes: Routes, slot: Slot) {
        if let Err(error) = prepare(&socket) {
            tracing::debug!(%error, "can't set up a connection");
        }
        let Some((protocol, io)) = self.greet(socket).await else { return };
        match protocol {
            Protocol::Tls if self.speaks_tls() => {
                Box::pin(self.serve_tls(io, caller, routes, slot)).await;
            }
            // Whoever speaks TLS where there is none is told so by HTTP/1, as all who speak no HTTP.
            Protocol::Http1 | Protocol::Tls => {
                let line = slot.line();
                let stream = Box::pin(http1::serve(&self, io, caller, routes, line)).await;
                drop(slot);
                if let Some(stream) = stream {
                    self.hand_to_engine(stream);
                }
            }
            Protocol::Http2 => Box::pin(http2::serve(&self, io, caller, routes, slot)).await,
        }
    }

    #[cfg(feature = "tls")]
    fn speaks_tls(&self) -> bool {
        self.tls.as_ref().is_some_and(Tls::is_wanted)
    }

    #[cfg(not(feature = "tls"))]
    fn speaks_tls(&self) -> bool {
        false
    }

    /// Does the handshake, and serves what is inside.
    #[cfg(feature = "tls")]
    async fn serve_tls(&self, io: Rewound<TcpStream>, caller: Caller, routes: Routes, slot: Slot) {
        let Some(tls) = &self.tls else { return };
        let stream = tokio::select! {
            stream = time::timeout(PATIENCE, tls.accept(io)) => stream,
            () = self.stopping.cancelled() => return,
        };
        let Some(stream) = tls.note(stream) else { return };
        let caller = Caller { secure: true, ..caller };
        if super::tls::speaks_http2(&stream) {
            return http2::serve(self, stream, caller, routes, slot).await;
        }
        let stream = http1::serve(self, stream, caller, routes, slot.line()).await;
        drop(slot);
        if let Some(Stream { io, early, handover }) = stream {
            if handover.session.is_some() {
                bound_unread(io.get_ref().0.get_ref());
            }
            self.engine.lane().adopt_stream(handover.adopt(io, early));
        }
    }

    #[cfg(not(feature = "tls"))]
    async fn serve_tls(&self, _: Rewound<TcpStream>, _: Caller, _: Routes, _: Slot) {}

    /// Waits for a connection's first bytes; `None` where they don't come in time.
    async fn greet<I>(&self, io: I) -> Option<(Protocol, Rewound<I>)>
    where
        I: AsyncRead + Unpin,
    {
        let greeted = time::timeout(PATIENCE, greeting::greet(io));
        tokio::select! {
            greeted = greeted => match greeted {
                Ok(greeted) => greeted.ok(),
                Err(_) => {
                    self.arrivals.note(Fault::Silent);
                    None
                }
            },
            () = self.stopping.cancelled() => None,
        }
    }

    fn hand_to_engine(&self, stream: Stream<Rewound<TcpStream>>) {
        let Stream { io, early, handover } = stream;
        let (unread, io) = io.into_parts();
        // hyper has read the beginning long ago.
        debug_assert!(unread.is_empty());
        if handover.session.is_some() {
            bound_unread(&io);
            return self.engine.lane().adopt_stream(handover.adopt(io, early));
        }
        match io.into_std() {
            Ok(socket) => self.engine.adopt(handover.adopt(socket, early)),
            Err(error) => tracing::warn!(%error, "can't hand a connection to the engine"),
        }
    }
}

/// Whoever is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

impl Peer {
    /// Whether it is on this machine, or in this pod.
    #[must_use]
    pub const fn is_local(self) -> bool {
        self.0.to_canonical().is_loopback()
    }
}

/// Whoever asks, and by what kind of connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) peer: Peer,
    /// Whether nobody on the way can read it.
    pub(super) secure: bool,
}

/// Stands among a request's extensions when it came over TLS.
#[derive(Debug, Clone, Copy)]
pub struct Secure;

/// Answers one request, of whatever version of HTTP.
pub(super) async fn answer<B>(
    routes: Routes,
    takeover: Takeover,
    caller: Caller,
    mut request: Request<B>,
) -> warp::reply::Response
where
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Sync + 'static,
{
    // What is asked of a proxy (RFC 9112, section 3.2.3) has no path for warp to look at.
    if request.uri().path_and_query().is_none() {
        let detail = "this is no proxy: ask for a path";
        return problem("method", StatusCode::BAD_REQUEST, detail).into_response();
    }
    request.extensions_mut().insert(takeover);
    request.extensions_mut().insert(caller.peer);
    if caller.secure {
        request.extensions_mut().insert(Secure);
    }
    match warp::service(routes).call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = socket2::SockRef::from(socket);
    socket.set_send_buffer_size(SEND_BUFFER)?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_notsent_lowat(UNSENT)?;
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    }
    Ok(())
}

/// Bounds what the kernel keeps of what isn't read.
fn bound_unread(socket: &TcpStream) {
    if let Err(error) = socket2::SockRef::from(socket).set_recv_buffer_size(RECEIVE_BUFFER) {
        tracing::debug!(%error, "can't bound what waits to be read");
    }
}

/// Serves a connection, unless it is idle and its place is needed.
async fn unless_called_off(serving: impl Future<Output = ()>, line: Arc<Line>, arrivals: Arrivals) {
    tokio::select! {
        biased;
        () = serving => {}
        () = line.called_off() => arrivals.note(Fault::Idle),
    }
}

/// The places for requests that wait for something to come: half of the slots, so that however many wait,
/// others are let in.
#[must_use]
pub fn waiting() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(SLOTS / 2))
}

#[cfg(test)]
mod tests {
    use warp::Filter as _;

    use super::*;
    use crate::memory::Budgets;

    #[tokio::test]
    async fn a_connection_that_waits_for_its_first_bytes_is_small() {
        let acceptor = Acceptor {
            engine: Arc::new(Engine::start(1).unwrap()),
            slots: Slots::default(),
            heads: Budgets::of(None).heads,
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            arrivals: Arrivals::default(),
            unrouted: Arc::default(),
            tls: None,
            stopping: CancellationToken::new(),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let slot = acceptor.place(Ipv4Addr::LOCALHOST.into()).await.unwrap();
        let caller = Caller { peer: Peer(Ipv4Addr::LOCALHOST.into()), secure: false };
        let routes = warp::any().map(|| StatusCode::OK.into_response()).boxed();
        let serving = acceptor.clone().serve(socket, caller, routes, slot);
        assert!(size_of_val(&serving) <= 1_024, "{} bytes", size_of_val(&serving));
        acceptor.engine.stop();
    }
}
