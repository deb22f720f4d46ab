//! Answers the requests of a connection over HTTP/1, until one of them becomes a stream.

use std::{convert::Infallible, future, pin::Pin, task::Poll};

use bytes::Bytes;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time,
};
use tokio_util::sync::CancellationToken;

use super::{
    accept::{Acceptor, Caller, KEEP_ALIVE, LAST_REQUESTS, PATIENCE, Routes, answer},
    arrivals::Fault,
    takeover::{Handover, Manner, Taken, Takeover},
    unsent::{Flushes, Unsent},
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

/// Serves a connection. Returns it where one of its requests became a stream.
pub(super) async fn serve<I>(
    acceptor: &Acceptor,
    io: I,
    caller: Caller,
    routes: Routes,
) -> Option<Stream<I>>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (takeover, mut taken) = Takeover::channel();
    let asked = CancellationToken::new();
    let impatience = out_of_patience(asked.clone());
    let service = service_fn(move |request| {
        asked.cancel();
        let (routes, takeover) = (routes.clone(), takeover.clone());
        async move {
            let Caller { peer, secure } = caller;
            let version = request.version();
            let manner = Manner { version, tunnel: false, secure, address: peer.0 };
            Ok::<_, Infallible>(answer(routes, takeover.with_manner(manner), caller, request).await)
        }
    });
    let (io, flushes) = Unsent::new(io);
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
            let fault = ended.err().and_then(|error| Fault::of_http1(&error));
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
        sent = flushed(&mut connection, &flushes) => sent,
        () = acceptor.stopping.cancelled() => false,
    };
    if !sent {
        return None;
    }
    let parts = connection.into_parts();
    let io = parts.io.into_inner().into_inner();
    match taken {
        Taken::Stream(handover) => Some(Stream { io, early: parts.read_buf, handover: *handover }),
        Taken::Farewell(farewell) => {
            farewell.say(io).await;
            None
        }
    }
}

/// Drives a connection until nothing that was written to it waits to be sent; `false` where it ended before.
async fn flushed(connection: &mut (impl Future + Unpin), flushes: &Flushes) -> bool {
    future::poll_fn(|context| {
        if flushes.is_flushed() {
            return Poll::Ready(true);
        }
        match Pin::new(&mut *connection).poll(context) {
            Poll::Ready(_) => Poll::Ready(false),
            Poll::Pending if flushes.is_flushed() => Poll::Ready(true),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Ends when a connection has had [`PATIENCE`] and has not asked for anything.
async fn out_of_patience(asked: CancellationToken) {
    tokio::select! {
        () = asked.cancelled() => future::pending().await,
        () = time::sleep(PATIENCE) => {}
    }
}
