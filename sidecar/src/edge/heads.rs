//! Counts what a connection over HTTP/1 keeps of requests' heads, and keeps the end of what a client sends from
//! hyper while that client listens to a stream.
//!
//! # Laws
//!
//! - Beyond a few KiB, a head is a part of a budget, from its first bytes until its request is answered. Where there
//!   is no room for it, the connection is over.
//! - What hyper reads ahead, behind a head or between pieces of a body, is no more than that.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, ReadBuf};

use super::forward::{poll_read_at_most, write_through};
use crate::memory::Part;

/// What each connection may have besides, and how much is read at once: as much as hyper's first buffer.
const FREE: usize = 8 * 1024;

/// A byte stream of which it is counted what is read of heads.
#[derive(Debug)]
pub(super) struct Counted<I> {
    io: I,
    heads: Heads,
}

/// What a connection has of heads.
#[derive(Debug, Clone)]
pub(super) struct Heads(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    state: Mutex<State>,
    /// Whether there was no room.
    refused: AtomicBool,
}

#[derive(Debug)]
struct State {
    part: Part,
    /// What was read of the head, and whether it is whole.
    bytes: usize,
    whole: bool,
    /// What was announced of a body and not read.
    body: u64,
    /// Whether the client has asked for a stream, to which it may listen without sending anything more.
    listens: bool,
    /// Whether the client has sent all it sends.
    ended: bool,
    /// Whom to tell of that when it doesn't listen any more.
    told: Option<Waker>,
}

impl Heads {
    pub(super) fn new(part: Part) -> Self {
        let (bytes, whole, body) = (0, false, 0);
        let (listens, ended, told) = (false, false, None);
        let state = State { part, bytes, whole, body, listens, ended, told };
        Self(Arc::new(Kept { state: Mutex::new(state), refused: AtomicBool::new(false) }))
    }

    /// Takes note that a head is whole, that it announced such a body, and whether it asked for a stream.
    pub(super) fn asked(&self, body: u64, listens: bool) {
        let mut state = self.0.state.lock();
        state.whole = true;
        (state.body, state.listens) = (body, listens);
    }

    /// Takes note that a request is answered.
    pub(super) fn answered(&self) {
        let mut state = self.0.state.lock();
        state.part.fit(0);
        (state.bytes, state.whole, state.body, state.listens) = (0, false, 0, false);
        state.told.take().into_iter().for_each(Waker::wake);
    }

    /// What is said of the end of what the client sends: nothing yet, where it still listens.
    fn end(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.state.lock();
        state.ended = true;
        if !state.listens {
            return Poll::Ready(Ok(()));
        }
        state.told = Some(context.waker().clone());
        Poll::Pending
    }

    fn is_ended(&self) -> bool {
        self.0.state.lock().ended
    }

    /// Whether the connection is over because there was no room.
    pub(super) fn is_refused(&self) -> bool {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// How much may be read at once.
    fn most(&self) -> usize {
        usize::try_from(self.0.state.lock().body).unwrap_or(usize::MAX).max(FREE)
    }

    /// Counts what was read; `false` where there is no room for it.
    fn read(&self, count: usize) -> bool {
        let mut state = self.0.state.lock();
        if state.whole {
            state.body = state.body.saturating_sub(count as u64);
            return true;
        }
        state.bytes += count;
        let bytes = state.bytes;
        let fits = bytes <= FREE || state.part.fit(bytes);
        if !fits {
            self.0.refused.store(true, Ordering::Relaxed);
        }
        fits
    }
}

impl<I> Counted<I> {
    pub(super) const fn new(io: I, heads: Heads) -> Self {
        Self { io, heads }
    }

    pub(super) fn into_inner(self) -> I {
        self.io
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Counted<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { io, heads } = self.get_mut();
        if heads.is_ended() {
            return heads.end(context);
        }
        let (before, most) = (buffer.filled().len(), heads.most());
        ready!(poll_read_at_most(io, context, buffer, most))?;
        let count = buffer.filled().len() - before;
        if count == 0 && buffer.remaining() > 0 {
            return heads.end(context);
        }
        let fits = heads.read(count);
        Poll::Ready(if fits { Ok(()) } else { Err(ErrorKind::OutOfMemory.into()) })
    }
}

write_through!(Counted);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;
    use crate::memory::Budgets;

    #[tokio::test]
    async fn a_head_counts_until_its_request_is_answered_and_a_body_does_not() {
        let budget = Budgets::of(Some(16 * 32 * 1_024)).heads;
        let heads = Heads::new(budget.part());
        let (mut peer, io) = duplex(1 << 20);
        let mut io = Counted::new(io, heads.clone());
        let mut buffer = [0; 64 * 1_024];
        peer.write_all(&[b'a'; 200 * 1_024]).await.unwrap();
        for _ in 0..3 {
            assert_eq!(io.read(&mut buffer).await.unwrap(), FREE);
        }
        let mut other = budget.part();
        assert!(!other.grow(9 * 1_024) && other.grow(8 * 1_024), "a head of 24 KiB is there");
        heads.asked(100 * 1_024, false);
        assert_eq!(
            io.read(&mut buffer).await.unwrap(),
            64 * 1_024,
            "a body is read in large pieces"
        );
        assert_eq!(io.read(&mut buffer).await.unwrap(), 36 * 1_024);
        assert_eq!(io.read(&mut buffer).await.unwrap(), FREE, "and what is behind it isn't");
        heads.answered();
        assert!(other.grow(32 * 1_024), "it is given back");
        assert_eq!(io.read(&mut buffer).await.unwrap(), FREE, "a little is free");
        assert!(!heads.is_refused());
        assert_eq!(io.read(&mut buffer).await.unwrap_err().kind(), ErrorKind::OutOfMemory);
        assert!(heads.is_refused());
    }
    #[tokio::test]
    async fn who_listens_to_a_stream_may_have_sent_all_it_sends() {
        let heads = Heads::new(Budgets::of(None).heads.part());
        let (mut peer, io) = duplex(1_024);
        let mut io = Counted::new(io, heads.clone());
        peer.write_all(b"GET").await.unwrap();
        peer.shutdown().await.unwrap();
        let mut buffer = [0; 16];
        assert_eq!(io.read(&mut buffer).await.unwrap(), 3);
        heads.asked(0, true);
        let read = tokio::spawn(async move { io.read(&mut buffer).await });
        tokio::task::yield_now().await;
        assert!(!read.is_finished());
        heads.answered();
        assert_eq!(read.await.unwrap().unwrap(), 0, "it gets an answer instead, and is told");
    }
}
