//! Tells whether something that was written to a connection has not left yet, and bounds for how long.
//!
//! hyper keeps what a socket doesn't take, and gives it to nobody; so a connection is taken out of its hands
//! only when there is nothing of that. A client finds out that sends its next request before it has read the
//! answer to the one before.
//!
//! Law: an answer is taken in a minute, or soon after the moment at which it was to be over; a peer that lets it
//! trickle is given up.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{self, Instant, Sleep},
};

use super::line::Line;

/// How long an answer may take from its first byte to its last; one in pieces, each piece.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How long after the moment at which it was to be over.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// A byte stream that notes when it is written to, and when its writer has flushed it.
#[derive(Debug)]
pub(super) struct Unsent<I> {
    io: I,
    line: Arc<Line>,
    /// When the first of what waits was written.
    since: Instant,
    /// Comes when it has waited for too long; there once it waits at all.
    late: Option<Pin<Box<Sleep>>>,
}

impl<I> Unsent<I> {
    pub(super) fn new(io: I, line: Arc<Line>) -> Self {
        Self { io, line, since: Instant::now(), late: None }
    }

    pub(super) fn into_inner(self) -> I {
        self.io
    }

    fn written(&mut self) {
        if !self.line.is_unsent() {
            self.since = Instant::now();
            self.line.written();
        }
    }

    /// What comes of a write: of one that has to wait, an error once that takes too long.
    fn bounded(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            return written;
        }
        let end = self.since + PATIENCE;
        let end = self.line.until().map_or(end, |until| end.min(until + GRACE));
        let late = self.late.get_or_insert_with(|| Box::pin(time::sleep_until(end)));
        if late.deadline() != end {
            late.as_mut().reset(end);
        }
        ready!(late.as_mut().poll(context));
        self.line.give_up();
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
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
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.bounded(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.written();
        let written = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.bounded(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(context);
        if let Poll::Ready(Ok(())) = flushed {
            // hyper flushes when it has written everything.
            self.line.sent();
            self.late = None;
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::edge::line::{Answering, Until};

    /// What comes of writing to a peer that reads a little now and then, and after how long.
    async fn trickled(line: &Arc<Line>) -> (io::Result<()>, Duration) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (peer, io) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut peer, mut io) = (peer.unwrap(), Unsent::new(io.unwrap().0, Arc::clone(line)));
        let began = Instant::now();
        let reading = tokio::spawn(async move {
            let mut some = [0; 4 * 1_024];
            loop {
                time::sleep(Duration::from_secs(1)).await;
                peer.read_exact(&mut some).await.unwrap();
            }
        });
        let written = async {
            io.write_all(&vec![0; 64 << 20]).await?;
            io.flush().await
        };
        let written = written.await;
        reading.abort();
        (written, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn who_lets_an_answer_trickle_is_given_up_after_a_minute() {
        let line = Arc::new(Line::new());
        let (written, took) = trickled(&line).await;
        assert_eq!(written.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(line.is_given_up() && took >= PATIENCE, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_to_be_over_is_over_soon() {
        let line = Arc::new(Line::new());
        let answering = Answering::begin(&line);
        answering.until(Until(Instant::now() + Duration::from_secs(10)));
        let (written, took) = trickled(&line).await;
        assert_eq!(written.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!((15..30).contains(&took.as_secs()), "{took:?}");
    }
}
