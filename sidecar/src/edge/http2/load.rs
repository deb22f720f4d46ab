//! Counts what a connection over HTTP/2 takes for requests that are not answered: their heads, and what answers them.
//!
//! # Laws
//!
//! - Beyond a few KiB, that is a part of a budget: of a request from its head until it is answered or is a
//!   subscriber's stream; of a head that comes in several frames from the first. A request for which there is no room
//!   is refused before anything is done for it, and may be sent again; a connection with such a head is over.
//! - No more is read than a little before the requests that came of it are looked at: a byte may stand for a whole
//!   field (RFC 7541), and all that was read is turned into heads at once.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Request;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, ReadBuf};

use super::{
    super::forward::{poll_read_at_most, write_through},
    MOST_HEADERS,
    scan::Scan,
};
use crate::memory::{Budget, Part};

/// What each connection may have besides: one or two requests, as most have them.
const FREE: usize = 16 * 1024;

/// What a request takes besides its head: a task, and the state of a stream.
const REQUEST: usize = 4 * 1024;

/// What a field takes besides its name and value: its place in a map, of which up to half are free.
const FIELD: usize = 160;

/// The least size of a field in a list of them, which bounds their number (RFC 9113, section 6.5.2).
const LEAST_FIELD: usize = 33;

/// What a head may take that isn't whole.
const PARTIAL: usize = MOST_HEADERS as usize / LEAST_FIELD * FIELD;

/// How much is read before what came of it is looked at.
const READ_AHEAD: usize = 16 * 1024;

/// A byte stream of which it is counted what is read of heads.
#[derive(Debug)]
pub(super) struct Metered<I> {
    io: I,
    load: Load,
}

/// What a connection takes.
#[derive(Debug, Clone)]
pub(super) struct Load(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    part: Part,
    /// What all connections may have together.
    most: usize,
    /// How many requests there are, and what they take.
    count: usize,
    requests: usize,
    scan: Scan,
    /// How much may be read.
    left: usize,
    /// Whether more would have been read.
    wanted: bool,
    /// Whether there was no room for a head that isn't whole.
    refused: bool,
}

/// A request that there is room for, until this is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    load: Load,
    weight: usize,
}

impl Load {
    pub(super) fn new(budget: &Budget) -> Self {
        let (part, most, scan) = (budget.part(), budget.bytes(), Scan::default());
        let (count, requests, left) = (0, 0, READ_AHEAD);
        let (wanted, refused) = (false, false);
        let state = State { part, most, count, requests, scan, left, wanted, refused };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Makes room for a request, where there is some.
    pub(super) fn admit<B>(&self, request: &Request<B>) -> Option<Admitted> {
        let weight = weight(request);
        let mut state = self.0.lock();
        state.requests += weight;
        state.count += 1;
        if !state.fit() {
            state.leave(weight);
            return None;
        }
        Some(Admitted { load: self.clone(), weight })
    }

    /// Takes note that all that came of what was read is looked at. Says whether there is more to read.
    pub(super) fn look_on(&self) -> bool {
        let mut state = self.0.lock();
        state.left = READ_AHEAD;
        std::mem::take(&mut state.wanted)
    }

    /// Whether the connection is over because there was no room.
    pub(super) fn is_refused(&self) -> bool {
        self.0.lock().refused
    }

    /// How much may be read now.
    fn most(&self) -> usize {
        let mut state = self.0.lock();
        state.wanted |= state.left == 0;
        state.left
    }

    /// Counts what was read; `false` where there is no room for it.
    fn read(&self, bytes: &[u8]) -> bool {
        let mut state = self.0.lock();
        state.left = state.left.saturating_sub(bytes.len());
        let before = state.scan.is_within_head();
        state.scan.read(bytes);
        if before != state.scan.is_within_head() && !state.fit() {
            state.refused = true;
        }
        !state.refused
    }
}

impl State {
    /// Makes the part that of all there is; `false` where there is no room. A head that is larger than the whole
    /// budget has its turn when there is no other.
    fn fit(&mut self) -> bool {
        let (partial, more) = if self.scan.is_within_head() { (PARTIAL, 1) } else { (0, 0) };
        let bytes = (self.requests + partial).saturating_sub(FREE);
        (bytes <= self.most || self.count + more == 1) && self.part.fit(bytes)
    }

    /// A request is gone.
    fn leave(&mut self, weight: usize) {
        self.requests -= weight;
        self.count -= 1;
        self.fit();
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.load.0.lock().leave(self.weight);
    }
}

fn weight<B>(request: &Request<B>) -> usize {
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + FIELD);
    let path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    REQUEST + path + fields.sum::<usize>()
}

impl<I> Metered<I> {
    pub(super) const fn new(io: I, load: Load) -> Self {
        Self { io, load }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Metered<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { io, load } = self.get_mut();
        let (before, most) = (buffer.filled().len(), load.most());
        if most == 0 {
            // Whoever drives the connection looks on first, and then lets it read again.
            return Poll::Pending;
        }
        ready!(poll_read_at_most(io, context, buffer, most))?;
        let fits = load.read(buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(if fits { Ok(()) } else { Err(ErrorKind::OutOfMemory.into()) })
    }
}

write_through!(Metered);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;
    use crate::memory::Budgets;

    fn request(fields: usize) -> Request<()> {
        let names = (0..fields).map(|n| format!("x-{n}"));
        names.fold(Request::get("/"), |head, name| head.header(name, "")).body(()).unwrap()
    }

    #[test]
    fn what_is_not_answered_counts_beyond_a_little() {
        // 64 KiB for all.
        let budget = Budgets::of(Some(1024 * 1024)).heads;
        let (load, other) = (Load::new(&budget), Load::new(&budget));
        let few: Vec<_> = (0..3).map(|_| load.admit(&request(5)).unwrap()).collect();
        let mut all = budget.part();
        assert!(all.grow(64 * 1024), "a few requests are free");
        assert!(load.admit(&request(100)).is_none() && load.admit(&request(5)).is_none());
        assert!(other.admit(&request(20)).is_some(), "others have their own");
        drop(all);
        assert!(load.admit(&request(1_000)).is_none(), "it isn't alone");
        let large = (load.admit(&request(100)).unwrap(), other.admit(&request(200)).unwrap());
        assert!(load.admit(&request(500)).is_none());
        drop((few, large));
        assert!(budget.part().grow(64 * 1024), "all is given back");
    }

    #[tokio::test]
    async fn no_more_is_read_until_what_was_read_is_looked_at() {
        let load = Load::new(&Budgets::of(None).heads);
        let (mut peer, io) = duplex(1 << 20);
        let mut io = Metered::new(io, load.clone());
        peer.write_all(&vec![0; 40_000]).await.unwrap();
        let mut buffer = vec![0; 30_000];
        for (expected, more) in [(READ_AHEAD, true), (READ_AHEAD, true), (7_232, false)] {
            assert_eq!(io.read(&mut buffer).await.unwrap(), expected);
            assert_eq!(read_now(&mut io, &mut buffer), None);
            assert_eq!(load.look_on(), more);
        }
    }

    /// What a read gives now.
    fn read_now<I: AsyncRead + Unpin>(io: &mut I, buffer: &mut [u8]) -> Option<usize> {
        let mut buffer = ReadBuf::new(buffer);
        let mut context = Context::from_waker(std::task::Waker::noop());
        match Pin::new(io).poll_read(&mut context, &mut buffer) {
            Poll::Ready(read) => read.ok().map(|()| buffer.filled().len()),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn a_head_that_is_not_whole_counts_as_the_largest() {
        let budget = Budgets::of(Some(1024 * 1024)).heads;
        let load = Load::new(&budget);
        let (mut peer, io) = duplex(1 << 20);
        let mut io = Metered::new(io, load.clone());
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        // HEADERS (1) of one byte, and it goes on.
        peer.write_all(&[&preface[..], &[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82]].concat()).await.unwrap();
        let mut buffer = [0; 100];
        assert_eq!(io.read(&mut buffer).await.unwrap(), preface.len() + 10);
        assert!(!budget.part().grow(1024), "it has all there is");
        // CONTINUATION (9), the last.
        peer.write_all(&[0, 0, 1, 9, 4, 0, 0, 0, 1, 0x84]).await.unwrap();
        assert_eq!(io.read(&mut buffer).await.unwrap(), 10);
        let mut all = budget.part();
        assert!(all.grow(64 * 1024) && !load.is_refused());
        peer.write_all(&[0, 0, 1, 1, 0, 0, 0, 0, 3, 0x82]).await.unwrap();
        assert_eq!(io.read(&mut buffer).await.unwrap_err().kind(), ErrorKind::OutOfMemory);
        assert!(load.is_refused());
    }
}
