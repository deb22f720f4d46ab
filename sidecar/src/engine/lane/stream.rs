//! A connection over a byte stream of tokio's, such as the inside of TLS.

use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{TaskWire, Wire};

/// A byte stream, and whom it wakes.
pub(super) struct StreamWire<S> {
    stream: S,
    waker: Waker,
    /// Nothing more is written.
    ended: bool,
}

impl<S> StreamWire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, waker: Waker::noop().clone(), ended: false }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire for StreamWire<S> {
    const SAYS_WHEN_WRITABLE: bool = false;

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        let context = &mut Context::from_waker(&self.waker);
        let read = Pin::new(&mut self.stream).poll_read(context, &mut buffer);
        now(read).map(|()| buffer.filled().len())
    }

    fn write(&mut self, slices: &[IoSlice<'_>; 2]) -> io::Result<usize> {
        let context = &mut Context::from_waker(&self.waker);
        // What lies between here and the socket, such as a record of TLS, holds one write and no more:
        // so what counts as written is at most that far from the socket.
        now(Pin::new(&mut self.stream).poll_flush(context))?;
        now(Pin::new(&mut self.stream).poll_write_vectored(context, slices))
    }

    fn end(&mut self) {
        self.ended = true;
    }

    fn may_listen(&mut self) -> bool {
        // The end of a session of TLS is said on purpose, and nobody would wake the task for a reset.
        false
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TaskWire for StreamWire<S> {
    fn attend(&mut self, context: &Context<'_>) {
        self.waker.clone_from(context.waker());
    }

    fn flush(&mut self) {
        let context = &mut Context::from_waker(&self.waker);
        let stream = Pin::new(&mut self.stream);
        // An error shows in the next read or write; and what is pending wakes the task.
        let _ = if self.ended { stream.poll_shutdown(context) } else { stream.poll_flush(context) };
    }
}

/// What is there now.
fn now<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}
