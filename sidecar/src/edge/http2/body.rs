//! Bodies over HTTP/2: a request's as a route reads it, and an answer's as the peer's window takes it.
//!
//! # Laws
//!
//! - What comes of a request that no route reads, or reads any more, is thrown away as it comes, for as long as its
//!   answer takes: it would count nowhere.
//! - Nobody reads trailers, so they are thrown away, and count until then.

use std::{
    convert::Infallible,
    future::poll_fn,
    io::{self, ErrorKind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use parking_lot::Mutex;
use tokio::time::{self, Instant};

use super::{
    super::unsent::{GRACE, PATIENCE},
    load::Trailers,
};
use crate::engine::Incoming;

/// What comes in a stream.
#[derive(Debug)]
pub(super) struct Received {
    receive: RecvStream,
    trailers: Trailers,
    ended: bool,
}

impl Received {
    pub(super) const fn new(receive: RecvStream, trailers: Trailers) -> Self {
        Self { receive, trailers, ended: false }
    }
}

impl Incoming for Received {
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let data = ready!(self.receive.poll_data(context));
        match &data {
            Some(Ok(data)) => {
                // It can only fail where the stream is over, and then the next poll says so.
                let _ = self.receive.flow_control().release_capacity(data.len());
            }
            Some(Err(_)) => {}
            None => {
                self.ended = true;
                // Else they would stay as long as the stream.
                let _ = self.receive.poll_trailers(context);
                self.trailers.taken();
            }
        }
        Poll::Ready(data)
    }
}

/// The body of a request that is lent to a route, unless the stream is taken over: then whoever has lent it takes
/// it back.
#[derive(Debug)]
pub(super) struct Lent(Arc<Mutex<Lending>>);

/// The same body, of whoever answers the request.
#[derive(Debug)]
pub(super) struct Leftover(Arc<Mutex<Lending>>);

#[derive(Debug)]
struct Lending {
    received: Option<Received>,
    /// Whether a route reads it, or may still.
    is_lent: bool,
    /// Whom to tell when none does.
    told: Option<Waker>,
}

/// Lends the body of a request.
pub(super) fn lend(request: Request<Received>) -> (Request<Lent>, Leftover) {
    // What these have for a body means nothing (RFC 9110, section 9.3), and their routes may wait for long.
    let is_lent = !matches!(*request.method(), Method::GET | Method::HEAD | Method::DELETE);
    let (head, received) = request.into_parts();
    let lending = Lending { received: Some(received), is_lent, told: None };
    let lending = Arc::new(Mutex::new(lending));
    (Request::from_parts(head, Lent(Arc::clone(&lending))), Leftover(lending))
}

impl Leftover {
    /// Takes the stream back.
    pub(super) fn take(&self) -> Option<Received> {
        self.0.lock().received.take()
    }

    /// Throws away what comes and nobody reads, for as long as this is polled.
    pub(super) async fn discard(&self) -> Infallible {
        poll_fn(|context| self.poll_discard(context)).await
    }

    fn poll_discard(&self, context: &mut Context<'_>) -> Poll<Infallible> {
        let Lending { received, is_lent, told } = &mut *self.0.lock();
        if *is_lent {
            *told = Some(context.waker().clone());
        } else if let Some(received) = received {
            while let Poll::Ready(Some(Ok(_))) = received.poll_data(context) {}
        }
        Poll::Pending
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut lending = self.0.lock();
        lending.is_lent = false;
        lending.told.take().into_iter().for_each(Waker::wake);
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let Lending { received, is_lent, told: _ } = &mut *self.0.lock();
        let Some(received) = received.as_mut().filter(|_| *is_lent) else {
            return Poll::Ready(None);
        };
        let data = ready!(received.poll_data(context));
        Poll::Ready(data.map(|data| data.map(Frame::data)))
    }
}

/// Sends an answer's body, as fast as the peer's window allows; `false` where it doesn't read that in time. It is
/// to be over at `until`, where that is given.
pub(super) async fn send<B>(
    mut body: B,
    stream: &mut SendStream<Bytes>,
    until: Option<Instant>,
) -> bool
where
    B: Body<Data = Bytes> + Unpin,
{
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            stream.send_reset(Reason::INTERNAL_ERROR);
            return true;
        };
        let Ok(data) = frame.into_data() else { continue };
        let end = Instant::now() + PATIENCE;
        let end = until.map_or(end, |until| end.min(until + GRACE));
        match time::timeout_at(end, send_piece(data, stream)).await {
            Ok(Ok(())) => {}
            // The peer has left.
            Ok(Err(_)) => return true,
            Err(_) => return false,
        }
    }
    let _ = stream.send_data(Bytes::new(), true);
    true
}

async fn send_piece(mut data: Bytes, stream: &mut SendStream<Bytes>) -> io::Result<()> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = poll_fn(|context| poll_room(stream, context)).await?;
        let part = data.split_to(room.min(data.len()));
        stream.send_data(part, false).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Waits for room in the peer's window, of which some has been asked for.
fn poll_room(stream: &mut SendStream<Bytes>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
    match stream.capacity() {
        0 => match ready!(stream.poll_capacity(context)) {
            Some(room) => Poll::Ready(room.map_err(io::Error::other)),
            None => Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
        },
        room => Poll::Ready(Ok(room)),
    }
}
