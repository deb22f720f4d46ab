//! What is known of a connection while requests are answered on it: whether it is idle, and since when.
//!
//! Law: a connection is idle while none of its requests is answered, and nothing of an answer waits to be sent.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

/// Stands among the extensions of an answer that has an end: when it is over, whatever was read of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Until(pub(super) Instant);

/// One connection.
#[derive(Debug)]
pub(super) struct Line {
    opened: Instant,
    /// How many requests are being answered.
    answering: AtomicUsize,
    /// Whether something that was written waits to be sent.
    unsent: AtomicBool,
    /// Since when it is idle, in milliseconds since it was opened.
    idle_since: AtomicU64,
    /// When the answer that is sent is to be over.
    until: Mutex<Option<Instant>>,
    /// Whether its peer didn't take an answer in time.
    unread: AtomicBool,
    called_off: AtomicBool,
    call: Notify,
}

impl Line {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            answering: AtomicUsize::new(0),
            unsent: AtomicBool::new(false),
            idle_since: AtomicU64::new(0),
            until: Mutex::new(None),
            unread: AtomicBool::new(false),
            called_off: AtomicBool::new(false),
            call: Notify::new(),
        }
    }

    /// How long it has been idle; `None` while it isn't.
    pub(super) fn idle(&self, now: Instant) -> Option<Duration> {
        let busy = self.answering.load(Ordering::Relaxed) > 0 || self.is_unsent();
        let since = Duration::from_millis(self.idle_since.load(Ordering::Relaxed));
        (!busy).then(|| now.saturating_duration_since(self.opened + since))
    }

    fn rest(&self) {
        let since = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.idle_since.store(since, Ordering::Relaxed);
    }

    /// Takes note that something was written.
    pub(super) fn written(&self) {
        self.unsent.store(true, Ordering::Relaxed);
    }

    /// Takes note that all that was written is sent.
    pub(super) fn sent(&self) {
        if self.unsent.swap(false, Ordering::Relaxed) {
            self.rest();
        }
    }

    pub(super) fn is_unsent(&self) -> bool {
        self.unsent.load(Ordering::Relaxed)
    }

    /// When the answer that is sent is to be over, where that is known.
    pub(super) fn until(&self) -> Option<Instant> {
        *self.until.lock()
    }

    /// Takes note that the peer didn't take an answer in time.
    pub(super) fn give_up(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// Has the connection closed, because somebody else needs its place.
    pub(super) fn call_off(&self) {
        self.called_off.store(true, Ordering::Relaxed);
        self.call.notify_one();
    }

    pub(super) fn is_called_off(&self) -> bool {
        self.called_off.load(Ordering::Relaxed)
    }

    /// Comes when the connection is to be closed.
    pub(super) async fn called_off(&self) {
        self.call.notified().await;
    }
}

/// A request that is being answered, until this is dropped.
#[derive(Debug)]
pub(super) struct Answering(Arc<Line>);

impl Answering {
    pub(super) fn begin(line: &Arc<Line>) -> Self {
        line.answering.fetch_add(1, Ordering::Relaxed);
        *line.until.lock() = None;
        Self(Arc::clone(line))
    }

    /// Says when the answer is to be over.
    pub(super) fn until(&self, Until(moment): Until) {
        *self.0.until.lock() = Some(moment);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.rest();
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer, and what lasts until it is over.
#[derive(Debug)]
pub(super) struct With<B, T> {
    body: B,
    _beside: T,
}

impl<B, T> With<B, T> {
    pub(super) const fn new(body: B, beside: T) -> Self {
        Self { body, _beside: beside }
    }
}

impl<B: Body<Data = Bytes> + Unpin, T: Unpin> Body for With<B, T> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_is_idle_while_nothing_is_answered_or_sent() {
        let line = Arc::new(Line::new());
        let idle = || line.idle(Instant::now()).map(|time| time.as_secs());
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(idle(), Some(3));
        let answering = Answering::begin(&line);
        assert_eq!(idle(), None);
        line.written();
        drop(answering);
        assert_eq!(idle(), None, "the answer is not sent");
        tokio::time::advance(Duration::from_secs(3)).await;
        line.sent();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(idle(), Some(1));
    }
}
