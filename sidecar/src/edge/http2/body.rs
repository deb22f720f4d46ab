//! Bodies over HTTP/2: a request's as a route reads it, and an answer's as the peer's window takes it.

use std::{
    future::poll_fn,
    io::{self, ErrorKind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use parking_lot::Mutex;
use tokio::time::{self, Instant};

use super::super::unsent::{GRACE, PATIENCE};

/// The body of a request. A route reads it, unless the stream is taken over: then whoever has the other
/// handle takes it back.
#[derive(Debug, Clone)]
pub(super) struct RequestBody(Arc<Mutex<Option<RecvStream>>>);

impl RequestBody {
    pub(super) fn new(receive: RecvStream) -> Self {
        Self(Arc::new(Mutex::new(Some(receive))))
    }

    pub(super) fn take(&self) -> Option<RecvStream> {
        self.0.lock().take()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let mut receive = self.0.lock();
        let Some(receive) = &mut *receive else { return Poll::Ready(None) };
        let data = ready!(receive.poll_data(context));
        if let Some(Ok(data)) = &data {
            // It can only fail where the stream is over, and then the next poll says so.
            let _ = receive.flow_control().release_capacity(data.len());
        }
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
