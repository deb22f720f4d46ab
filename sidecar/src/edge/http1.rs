//! Answers the requests of a connection over HTTP/1, until one of them becomes a stream.

use std::{convert::Infallible, future, pin::Pin, sync::Arc, task::Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, header, uri::Authority};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time,
};
use tokio_util::sync::CancellationToken;
use warp::Reply as _;

use super::{
    accept::{Acceptor, Caller, KEEP_ALIVE, LAST_REQUESTS, PATIENCE, Routes, answer},
    arrivals::{Arrivals, Fault},
    form,
    heads::{Counted, Heads},
    leftover::{self, Lent},
    line::{Answering, Line, Until, With},
    problem::problem,
    takeover::{Handover, Manner, Taken, Takeover},
    unsent::Unsent,
};

/// The most that hyper buffers of one connection. A request's head must fit; a body is passed on in
/// pieces.
const BUFFER: usize = 64 * 1024;

/// A connection that a route has taken over.
pub(super) struct Stream<I> {
    pub(super) io: I,
    /// What the peer sent behind its request.
    pub(super) early: Bytes,
    pub(super) handover: Handover,
}

/// What lasts until a request is answered.
struct Asked {
    heads: Heads,
    answering: Answering,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.heads.answered();
    }
}

/// Serves a connection. Returns it where one of its requests became a stream.
pub(super) async fn serve<I>(
    acceptor: &Acceptor,
    io: I,
    caller: Caller,
    routes: Routes,
    line: &Arc<Line>,
) -> Option<Stream<I>>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (takeover, mut taken) = Takeover::channel();
    let asked = CancellationToken::new();
    let impatience = out_of_patience(asked.clone());
    let desk = Desk::new(acceptor, routes, takeover, caller);
    let heads = Heads::new(acceptor.heads.part());
    let (kept, known) = (heads.clone(), Arc::clone(line));
    let service = service_fn(move |request| {
        asked.cancel();
        kept.asked(announced(&request), listens(&request));
        let asked = Asked { heads: kept.clone(), answering: Answering::begin(&known) };
        let desk = desk.clone();
        async move {
            let response = desk.answer(request).await;
            let until = response.extensions().get::<Until>();
            until.into_iter().for_each(|until| asked.answering.until(*until));
            Ok::<_, Infallible>(response.map(|body| With::new(body, asked)))
        }
    });
    let io = Unsent::new(Counted::new(io, heads.clone()), Arc::clone(line));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(KEEP_ALIVE)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(io), service);
    let taken = tokio::select! {
        // The connection first: what one of its requests hands over is then taken in the same turn, and not
        // when all other connections of a storm have had theirs and hold their buffers, too.
        biased;
        // What goes wrong here is the peer's doing: it left, or spoke no HTTP and was told so.
        ended = &mut connection => {
            let fault = fault(ended.err().as_ref(), &heads, line);
            fault.into_iter().for_each(|fault| acceptor.arrivals.note(fault));
            return None;
        }
        taken = &mut taken => taken.ok()?,
        () = impatience => {
            acceptor.arrivals.note(Fault::Slow);
            return None;
        }
        () = acceptor.stopping.cancelled() => {
            Pin::new(&mut connection).graceful_shutdown();
            let _ = time::timeout(LAST_REQUESTS, connection).await;
            return None;
        }
    };
    // The answers to earlier requests go out first.
    let sent = tokio::select! {
        sent = flushed(&mut connection, line) => sent,
        () = acceptor.stopping.cancelled() => false,
    };
    if !sent {
        return None;
    }
    let parts = connection.into_parts();
    let io = parts.io.into_inner().into_inner().into_inner();
    match taken {
        Taken::Stream(handover) => Some(Stream { io, early: parts.read_buf, handover: *handover }),
        Taken::Farewell(farewell) => {
            farewell.say(io).await;
            None
        }
    }
}

/// What was wrong with a connection that has ended.
fn fault(error: Option<&hyper::Error>, heads: &Heads, line: &Line) -> Option<Fault> {
    match (heads.is_refused(), line.is_given_up()) {
        (true, _) => Some(Fault::Busy),
        (false, true) => Some(Fault::Unread),
        (false, false) => error.and_then(Fault::of_http1),
    }
}

/// Drives a connection until nothing that was written to it waits to be sent; `false` where it ended before.
async fn flushed(connection: &mut (impl Future + Unpin), line: &Line) -> bool {
    future::poll_fn(|context| {
        if !line.is_unsent() {
            return Poll::Ready(true);
        }
        match Pin::new(&mut *connection).poll(context) {
            Poll::Ready(_) => Poll::Ready(false),
            Poll::Pending if !line.is_unsent() => Poll::Ready(true),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// How many bytes of a body a request announces.
fn announced(request: &Request<Incoming>) -> u64 {
    let length = request.headers().get(header::CONTENT_LENGTH);
    length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0)
}

/// Whether a request asks for Server-Sent Events, for which a client need send nothing more. Any other that ends is
/// given up: nobody waits for its answer.
fn listens(request: &Request<Incoming>) -> bool {
    let path = request.uri().path();
    let pipeline = path.strip_suffix("/sse").and_then(|path| path.strip_prefix('/'));
    let method = request.method();
    let asks = *method == Method::GET || form::has_body(method);
    asks && pipeline.is_some_and(|name| !name.contains('/'))
}

/// Where the requests of a connection are answered.
#[derive(Clone)]
struct Desk {
    arrivals: Arrivals,
    stopping: CancellationToken,
    routes: Routes,
    takeover: Takeover,
    caller: Caller,
}

impl Desk {
    fn new(acceptor: &Acceptor, routes: Routes, takeover: Takeover, caller: Caller) -> Self {
        let (arrivals, stopping) = (acceptor.arrivals.clone(), acceptor.stopping.clone());
        Self { arrivals, stopping, routes, takeover, caller }
    }

    /// Answers one request, and lets go of what it has left.
    async fn answer(self, request: Request<Incoming>) -> warp::reply::Response {
        let stopping = self.stopping.clone();
        let (request, leftover) = leftover::lend(request);
        let response = self.respond(request).await;
        leftover.discard(&stopping).await;
        response
    }

    async fn respond(self, request: Request<Lent>) -> warp::reply::Response {
        let Self { arrivals, stopping: _, routes, takeover, caller } = self;
        let version = request.version();
        if let Err(detail) = check_host(version, request.headers()) {
            arrivals.note(Fault::Malformed);
            return refuse_host(detail);
        }
        let Caller { peer, secure } = caller;
        let manner = Manner { version, tunnel: false, secure, address: peer.0 };
        answer(routes, takeover.with_manner(manner), caller, request).await
    }
}

/// Holds a request to RFC 9112, section 3.2: it says once which host it is for, whatever that is.
fn check_host(version: Version, headers: &HeaderMap) -> Result<(), &'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version < Version::HTTP_11 => Ok(()),
        (None, _) => Err("the header host is missing: a request of HTTP/1.1 must have it"),
        (Some(_), Some(_)) => Err("the header host is given twice: send it once"),
        // For a target that has no host.
        (Some(host), None) if host.is_empty() || is_host(host) => Ok(()),
        (Some(_), None) => {
            Err("the header host must be a name or an address, and a port where there is one")
        }
    }
}

fn is_host(host: &HeaderValue) -> bool {
    let is_plain = !host.as_bytes().contains(&b'@');
    is_plain && Authority::try_from(host.as_bytes()).is_ok()
}

/// Whoever sends such a head may mean another end of it than we do, so nothing more is read from it.
fn refuse_host(detail: &str) -> warp::reply::Response {
    let mut response = problem("host", StatusCode::BAD_REQUEST, detail).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Ends when a connection has had [`PATIENCE`] and has not asked for anything.
async fn out_of_patience(asked: CancellationToken) {
    tokio::select! {
        () = asked.cancelled() => future::pending().await,
        () = time::sleep(PATIENCE) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(version: Version, hosts: &[&str]) -> bool {
        let hosts = hosts.iter().map(|host| (header::HOST, HeaderValue::from_str(host).unwrap()));
        check_host(version, &hosts.collect()).is_ok()
    }

    #[test]
    fn a_request_says_once_which_host_it_is_for() {
        for host in ["a", "a.example:7070", "127.0.0.1", "[::1]:80", ""] {
            assert!(checked(Version::HTTP_11, &[host]), "{host}");
        }
        for host in ["a b", "a/b", "u@a", "a?b", "[::1"] {
            assert!(!checked(Version::HTTP_11, &[host]), "{host}");
        }
        assert!(!checked(Version::HTTP_11, &[]) && checked(Version::HTTP_10, &[]));
        assert!(!checked(Version::HTTP_11, &["a", "a"]) && !checked(Version::HTTP_10, &["a", "b"]));
    }
}
