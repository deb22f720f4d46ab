//! Tells whether something that was written to a connection has not left yet.
//!
//! hyper keeps what a socket doesn't take, and gives it to nobody; so a connection is taken out of its hands
//! only when there is nothing of that. A client finds out that sends its next request before it has read the
//! answer to the one before.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A byte stream that notes when it is written to, and when its writer has flushed it.
#[derive(Debug)]
pub(super) struct Unsent<I> {
    io: I,
    waits: Arc<AtomicBool>,
}

/// Knows whether something waits to be sent.
#[derive(Debug, Clone)]
pub(super) struct Flushes(Arc<AtomicBool>);

impl Flushes {
    pub(super) fn is_flushed(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

impl<I> Unsent<I> {
    pub(super) fn new(io: I) -> (Self, Flushes) {
        let waits = Arc::new(AtomicBool::new(false));
        (Self { io, waits: Arc::clone(&waits) }, Flushes(waits))
    }

    pub(super) fn into_inner(self) -> I {
        self.io
    }

    fn written(&self) {
        self.waits.store(true, Ordering::Relaxed);
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Unsent<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Unsent<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written();
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.written();
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(context);
        if let Poll::Ready(Ok(())) = flushed {
            // hyper flushes when it has written everything.
            self.waits.store(false, Ordering::Relaxed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
