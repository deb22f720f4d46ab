//! The accept loop: sockets in, requests to warp, streams to the engine.
//!
//! # Laws
//!
//! - A connection has a bounded time for its first byte and for each request's head, and there is a
//!   bounded number of connections: one that says nothing costs a socket, and not for long.
//! - A stream's socket leaves hyper with every byte that the peer has sent so far.
//! - When the process ends, requests that have begun are answered.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use http::{Request, Response, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_service::Service as _;
use warp::{Reply as _, filters::BoxedFilter};

use super::{
    problem::problem,
    takeover::{Handover, Takeover},
};
use crate::engine::{Adoption, Engine};

/// How long a connection may take for its first byte, and then for the head of its first request.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection that has made a request may take for the head of the next. Longer than the
/// minute for which load balancers and clients keep an idle connection: whoever closes first must not
/// be the server, or a request that is on its way is lost.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long requests that have begun may take when the process ends.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// The most that hyper buffers of one connection. A request's head must fit; a body is passed on in
/// pieces.
const BUFFER: usize = 64 * 1024;

/// How much the kernel buffers for one subscriber: what a stalled one costs, and what one that is far
/// away can have in flight.
const SEND_BUFFER: usize = 128 * 1024;

/// How long written data may stay unacknowledged: then the peer is gone, though it never said so.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait after the system refused to accept, most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What answers the requests of a listener.
pub type Routes = BoxedFilter<(Response<Vec<u8>>,)>;

/// What every accept loop needs.
#[derive(Debug, Clone)]
pub struct Acceptor {
    /// Where streams go.
    pub engine: Arc<Engine>,
    /// Bounds the connections that are not with the engine.
    pub slots: Arc<Semaphore>,
    /// The connections that are being served.
    pub tasks: TaskTracker,
    /// Ends the loop and its connections.
    pub stopping: CancellationToken,
}

impl Acceptor {
    /// Serves TCP connections, whose streams go to the engine.
    pub async fn serve_tcp(self, listener: TcpListener, routes: Routes) {
        while let Some((socket, peer, slot)) = self.next(|| listener.accept()).await {
            let (acceptor, routes) = (self.clone(), routes.clone());
            self.tasks.spawn(async move {
                if let Err(error) = prepare(&socket) {
                    tracing::debug!(%error, "can't set up a connection");
                }
                let first = time::timeout(PATIENCE, socket.readable());
                let spoke = tokio::select! {
                    first = first => matches!(first, Ok(Ok(()))),
                    () = acceptor.stopping.cancelled() => false,
                };
                if spoke && let Some(stream) = acceptor.drive(socket, Peer(peer.ip()), routes).await
                {
                    acceptor.hand_to_engine(stream);
                }
                drop(slot);
            });
        }
    }

    /// Serves connections on a Unix socket, over which there are no streams.
    pub async fn serve_unix(self, listener: UnixListener, routes: Routes) {
        while let Some((socket, _, slot)) = self.next(|| listener.accept()).await {
            let (acceptor, routes) = (self.clone(), routes.clone());
            self.tasks.spawn(async move {
                // The routes of the application's door take no connection over.
                let _ = acceptor.drive(socket, Peer(Ipv4Addr::LOCALHOST.into()), routes).await;
                drop(slot);
            });
        }
    }

    /// The next connection and its slot; `None` when the loop is to end.
    async fn next<S, A, F>(&self, accept: impl Fn() -> F) -> Option<(S, A, OwnedSemaphorePermit)>
    where
        F: Future<Output = io::Result<(S, A)>>,
    {
        loop {
            let accepted = async {
                let slot = Arc::clone(&self.slots).acquire_owned().await.ok()?;
                Some((accept().await, slot))
            };
            let accepted = tokio::select! {
                accepted = accepted => accepted,
                () = self.stopping.cancelled() => None,
            };
            match accepted? {
                (Ok((socket, peer)), slot) => return Some((socket, peer, slot)),
                (Err(error), _) => {
                    tracing::warn!(%error, "can't accept a connection");
                    time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Answers a connection's requests, until one of them becomes a stream.
    async fn drive<I>(&self, io: I, peer: Peer, routes: Routes) -> Option<Stream<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (takeover, mut handover) = Takeover::channel();
        let asked = CancellationToken::new();
        let impatience = out_of_patience(asked.clone());
        let service = service_fn(move |request| {
            asked.cancel();
            answer(routes.clone(), takeover.clone(), peer, request)
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(KEEP_ALIVE)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(io), service);
        let handover = tokio::select! {
            biased;
            handover = &mut handover => handover.ok()?,
            // What goes wrong here is the peer's doing: it left, or spoke no HTTP and was told so.
            _ = &mut connection => return None,
            () = impatience => return None,
            () = self.stopping.cancelled() => {
                std::pin::Pin::new(&mut connection).graceful_shutdown();
                let _ = time::timeout(LAST_REQUESTS, connection).await;
                return None;
            }
        };
        let parts = connection.into_parts();
        Some(Stream { io: parts.io.into_inner(), early: parts.read_buf, handover })
    }

    fn hand_to_engine(&self, stream: Stream<TcpStream>) {
        let Stream { io, early, handover } = stream;
        let Handover { head, opening, hub, seat, format, framing, next } = handover;
        match io.into_std() {
            Ok(socket) => self.engine.adopt(Adoption {
                socket,
                head,
                opening,
                early,
                hub,
                seat,
                format,
                framing,
                next,
            }),
            Err(error) => tracing::warn!(%error, "can't hand a connection to the engine"),
        }
    }
}

/// Ends when a connection has had [`PATIENCE`] and has not asked for anything.
async fn out_of_patience(asked: CancellationToken) {
    tokio::select! {
        () = asked.cancelled() => std::future::pending().await,
        () = time::sleep(PATIENCE) => {}
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

/// A connection that a route has taken over.
struct Stream<I> {
    io: I,
    /// What the peer sent behind its request.
    early: bytes::Bytes,
    handover: Handover,
}

async fn answer(
    routes: Routes,
    takeover: Takeover,
    peer: Peer,
    mut request: Request<Incoming>,
) -> Result<warp::reply::Response, Infallible> {
    // What is asked of a proxy (RFC 9112, section 3.2.3) has no path for warp to look at.
    if request.uri().path_and_query().is_none() {
        let detail = "this is no proxy: ask for a path";
        return Ok(problem("method", StatusCode::BAD_REQUEST, detail).into_response());
    }
    let takeover = takeover.with_version(request.version());
    request.extensions_mut().insert(takeover);
    request.extensions_mut().insert(peer);
    warp::service(routes).call(request).await
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = socket2::SockRef::from(socket);
    socket.set_send_buffer_size(SEND_BUFFER)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}

/// The slots that a process has for connections that are not with the engine.
#[must_use]
pub fn slots() -> Arc<Semaphore> {
    /// Handshakes take milliseconds; this many at once are a storm of reconnections.
    const SLOTS: usize = 4_096;
    Arc::new(Semaphore::new(SLOTS))
}
