//! A connection over one stream of HTTP/2.
//!
//! Law: nothing is given to HTTP/2 for which the peer's window has no room. So what counts as written is
//! what the peer has allowed, and a peer that stops reading holds a window's worth and no more.

use std::{
    io::{self, ErrorKind, IoSlice},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use h2::SendStream;

use super::{TaskWire, Wire};

/// The most that is given to HTTP/2 at once: two frames of the usual size. A copy is made, because
/// HTTP/2 keeps it until the connection's socket has taken it.
const MOST_AT_ONCE: usize = 32 * 1024;

/// What comes in a stream of HTTP/2.
pub trait Incoming: Send + 'static {
    /// Waits for the next bytes, after which the peer may send as many; `None` at the end of its side.
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>>;
}

/// A stream, and whom it wakes.
pub(super) struct Http2Wire<R, G> {
    send: SendStream<Bytes>,
    receive: R,
    /// What was received and is not read yet.
    rest: Bytes,
    waker: Waker,
    /// Whether the peer's end of the stream ends it all, as in a tunnel (RFC 8441, section 5). The end of
    /// a request does not: whoever has asked, listens.
    tunnel: bool,
    ended: bool,
    _guard: G,
}

impl<R: Incoming, G> Http2Wire<R, G> {
    pub(super) fn new(send: SendStream<Bytes>, receive: R, tunnel: bool, guard: G) -> Self {
        let (rest, waker) = (Bytes::new(), Waker::noop().clone());
        Self { send, receive, rest, waker, tunnel, ended: false, _guard: guard }
    }

    /// Waits for something to read; `false` at the end of the peer's side.
    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.rest.is_empty() {
            match ready!(self.receive.poll_data(context)) {
                None => return Poll::Ready(Ok(false)),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                Some(Ok(bytes)) => self.rest = bytes,
            }
        }
        Poll::Ready(Ok(true))
    }

    /// Waits for room in the peer's window, for `wanted` bytes or fewer.
    fn poll_room(&mut self, context: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        self.send.reserve_capacity(wanted);
        let room = match self.send.capacity() {
            0 => match ready!(self.send.poll_capacity(context)) {
                Some(Ok(room)) => room,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
            },
            room => room,
        };
        Poll::Ready(Ok(room.min(wanted)))
    }
}

impl<R: Incoming, G> Wire for Http2Wire<R, G> {
    const SAYS_WHEN_WRITABLE: bool = false;

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            // The connection goes on without the stream, so there is nothing to wait for.
            return Ok(0);
        }
        let waker = self.waker.clone();
        let context = &mut Context::from_waker(&waker);
        if self.send.poll_reset(context).is_ready() {
            return Err(ErrorKind::ConnectionReset.into());
        }
        match self.poll_rest(context) {
            Poll::Ready(Ok(true)) => {
                let count = self.rest.len().min(buffer.len());
                if let Some(place) = buffer.get_mut(..count) {
                    self.rest.copy_to_slice(place);
                }
                Ok(count)
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(false)) if self.tunnel => Ok(0),
            Poll::Ready(Ok(false)) | Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn write(&mut self, slices: &[IoSlice<'_>; 2]) -> io::Result<usize> {
        let wanted = slices.iter().map(|slice| slice.len()).sum::<usize>().min(MOST_AT_ONCE);
        let waker = self.waker.clone();
        let room = match self.poll_room(&mut Context::from_waker(&waker), wanted) {
            Poll::Ready(room) => room?,
            Poll::Pending => return Err(ErrorKind::WouldBlock.into()),
        };
        let mut bytes = BytesMut::with_capacity(room);
        for slice in slices {
            let count = slice.len().min(room - bytes.len());
            bytes.extend_from_slice(slice.get(..count).unwrap_or_default());
        }
        self.send.send_data(bytes.freeze(), false).map_err(io::Error::other)?;
        Ok(room)
    }

    fn end(&mut self) {
        self.ended = true;
        // It can only fail where the peer is gone already.
        let _ = self.send.send_data(Bytes::new(), true);
    }

    fn may_listen(&mut self) -> bool {
        // Where the end of a request ends nothing, it isn't shown.
        false
    }
}

impl<R: Incoming, G: Send + 'static> TaskWire for Http2Wire<R, G> {
    fn attend(&mut self, context: &Context<'_>) {
        self.waker.clone_from(context.waker());
    }

    fn flush(&mut self) {}
}
