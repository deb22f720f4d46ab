//! Counts what a connection over HTTP/2 takes for requests that are not answered: their heads, and what answers them;
//! and for heads that are not whole, and trailers.
//!
//! # Laws
//!
//! - Beyond a few KiB, a request is a part of a budget from its head until it is answered or is a subscriber's stream.
//!   One for which there is no room is refused before anything is done for it, and may be sent again. It keeps nothing
//!   else of what was read.
//! - Of a head that comes in several frames, and of trailers, nothing is read before there is room for the most that
//!   it may be made into. The connection waits its turn for that, and is over where it takes too long, or the head.
//! - Trailers count until whoever has their stream has thrown them away, or the stream is over. Of a stream that
//!   HTTP/2 itself has refused nothing counts once all that was read is looked at.
//! - No more is read than a little before the requests that came of it are looked at: a byte may stand for a whole
//!   field (RFC 7541), and all that was read is turned into heads at once.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, ErrorKind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use h2::ext::Protocol;
use http::{
    Request, Uri,
    uri::{Authority, PathAndQuery},
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{self, Sleep},
};

use super::{
    super::{
        accept::PATIENCE,
        arrivals::Fault,
        forward::{poll_read_at_most, write_through},
    },
    MOST_HEADERS,
    scan::Scan,
};
use crate::memory::{Budget, Part, detached};

/// What each connection may have besides: one or two requests, as most have them.
const FREE: usize = 16 * 1024;

/// What a request takes besides its head: a task, and the state of a stream.
const REQUEST: usize = 4 * 1024;

/// What a field takes besides its name and value: its place in a map, of which up to half are free.
const FIELD: usize = 160;

/// The least size of a field in a list of them, which bounds their number (RFC 9113, section 6.5.2).
const LEAST_FIELD: usize = 33;

/// The most fields of a head, each of which may come as one byte.
const MOST_FIELDS: usize = MOST_HEADERS as usize / LEAST_FIELD;

/// What the table holds that such a byte refers to (RFC 9113, section 6.5.2).
const TABLE: usize = 4 * 1024;

/// How many trailers of a stream are kept: one, and what looks like another and is its head.
const MOST_TRAILERS: u8 = 2;

/// How much is read before what came of it is looked at.
const READ_AHEAD: usize = 16 * 1024;

/// A byte stream of which it is counted what is read of heads.
#[derive(Debug)]
pub(super) struct Metered<I> {
    io: I,
    load: Load,
    scan: Scan,
    /// What the head takes that is counted and not whole.
    partial: Option<Partial>,
}

/// The part of a head that isn't whole.
struct Partial {
    part: Part,
    /// Comes with room for what is read of it next.
    room: Option<Pin<Box<dyn Future<Output = Part> + Send>>>,
    /// Comes when it has taken too long.
    late: Pin<Box<Sleep>>,
}

/// What a connection takes.
#[derive(Debug, Clone)]
pub(super) struct Load(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    budget: Budget,
    part: Part,
    /// How many requests there are, and what they take.
    count: usize,
    requests: usize,
    /// The streams that somebody has, each with what its trailers take, and those that nobody has yet and have some.
    trailers: BTreeMap<u32, Kept>,
    /// The last stream that was given to somebody.
    newest: u32,
    /// How much may be read.
    left: usize,
    /// Whether more would have been read.
    wanted: bool,
    /// Whether all that was read has been asked for, and more.
    dry: bool,
    /// Why the connection is over, where its heads are the cause.
    fault: Option<Fault>,
}

/// What the trailers of a stream take.
#[derive(Debug, Default)]
struct Kept {
    part: Option<Part>,
    count: u8,
}

/// A request that there is room for, until this is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    load: Load,
    weight: usize,
}

/// What the trailers of a stream take, until this is dropped.
#[derive(Debug)]
pub(super) struct Trailers {
    load: Load,
    stream: u32,
}

impl Load {
    pub(super) fn new(budget: &Budget) -> Self {
        let (budget, part, left) = (budget.clone(), budget.part(), READ_AHEAD);
        let (count, requests, trailers, newest) = (0, 0, BTreeMap::new(), 0);
        let (wanted, dry, fault) = (false, false, None);
        Self(Arc::new(Mutex::new(State {
            budget,
            part,
            count,
            requests,
            trailers,
            newest,
            left,
            wanted,
            dry,
            fault,
        })))
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

    /// Has the trailers of a stream, which is newer than all before, count for as long as somebody has it.
    pub(super) fn follow(&self, stream: u32) -> Trailers {
        self.0.lock().follow(stream);
        Trailers { load: self.clone(), stream }
    }

    /// Takes note that all that came of what was read is looked at. Says whether there is more to read.
    pub(super) fn look_on(&self) -> bool {
        let mut state = self.0.lock();
        state.left = READ_AHEAD;
        if std::mem::take(&mut state.dry) {
            state.forget_refused();
        }
        std::mem::take(&mut state.wanted)
    }

    /// Why the connection is over, where its heads are the cause.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.0.lock().fault
    }

    /// The error that ends the connection.
    fn end(&self, fault: Fault) -> io::Error {
        self.0.lock().fault = Some(fault);
        ErrorKind::TimedOut.into()
    }

    /// How much may be read now.
    fn most(&self) -> usize {
        let mut state = self.0.lock();
        state.wanted |= state.left == 0;
        state.left
    }

    /// Counts what was read.
    fn read(&self, count: usize) {
        let mut state = self.0.lock();
        state.left = state.left.saturating_sub(count);
        state.dry = false;
    }

    /// Takes note that more is asked for than was read.
    fn run_dry(&self) {
        self.0.lock().dry = true;
    }

    /// Nothing of a head yet.
    fn partial(&self) -> Partial {
        let part = self.0.lock().budget.part();
        Partial { part, room: None, late: Box::pin(time::sleep(PATIENCE)) }
    }
}

impl State {
    /// Makes the part that of all there is; `false` where there is no room. A head that is larger than the whole
    /// budget has its turn when there is no other.
    fn fit(&mut self) -> bool {
        let bytes = self.requests.saturating_sub(FREE);
        (bytes <= self.budget.bytes() || self.count == 1) && self.part.fit(bytes)
    }

    /// A request is gone.
    fn leave(&mut self, weight: usize) {
        self.requests -= weight;
        self.count -= 1;
        self.fit();
    }

    fn follow(&mut self, stream: u32) {
        let early = self.trailers.remove(&stream).unwrap_or_default();
        // Nobody gets the streams in between any more: HTTP/2 itself has refused them.
        while let Some((&other, _)) = self.trailers.range(..stream).next_back()
            && other > self.newest
        {
            self.trailers.remove(&other);
        }
        self.newest = self.newest.max(stream);
        self.trailers.insert(stream, early);
    }

    /// A stream has trailers, which take this part.
    fn trailed(&mut self, stream: u32, part: Part) {
        if stream > self.newest {
            self.trailers.entry(stream).or_default().add(part);
        } else if let Some(kept) = self.trailers.get_mut(&stream) {
            kept.add(part);
        }
        // Of a stream that is over nothing is kept.
    }

    /// Nobody gets the streams any more that nobody has: HTTP/2 itself has refused them, and keeps nothing of what
    /// comes in them.
    fn forget_refused(&mut self) {
        let first = self.newest.saturating_add(1);
        drop(self.trailers.split_off(&first));
    }
}

impl Kept {
    /// Behind a head that is malformed, what opens an older stream looks as if it had one.
    fn add(&mut self, part: Part) {
        if self.count == MOST_TRAILERS {
            // HTTP/2 itself keeps nothing of a third.
            return;
        }
        self.count += 1;
        match &mut self.part {
            Some(its) => its.join(part),
            its @ None => *its = Some(part),
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.load.0.lock().leave(self.weight);
    }
}

impl Trailers {
    /// Takes note that those that there were are thrown away, and that there come no others.
    pub(super) fn taken(&self) {
        self.load.0.lock().trailers.insert(self.stream, Kept::default());
    }
}

impl Drop for Trailers {
    fn drop(&mut self) {
        self.load.0.lock().trailers.remove(&self.stream);
    }
}

fn weight<B>(request: &Request<B>) -> usize {
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + FIELD);
    let uri = request.uri();
    let protocol = request.extensions().get::<Protocol>();
    let words = [
        Some(request.method().as_str()),
        uri.scheme_str(),
        uri.authority().map(Authority::as_str),
        uri.path_and_query().map(PathAndQuery::as_str),
        protocol.map(Protocol::as_str),
    ];
    REQUEST + words.into_iter().flatten().map(str::len).sum::<usize>() + fields.sum::<usize>()
}

/// Copies what of a head is a part of what was read, for a part keeps all of that.
pub(super) fn copy<B>(request: &mut Request<B>) {
    for value in request.headers_mut().values_mut() {
        *value = detached(value);
    }
    if let Some(protocol) = request.extensions_mut().get_mut::<Protocol>() {
        *protocol = Protocol::from(protocol.as_str());
    }
    let mut parts = request.uri().clone().into_parts();
    parts.authority = parts.authority.map(|whole| whole.as_str().parse().unwrap_or(whole));
    parts.path_and_query =
        parts.path_and_query.map(|whole| whole.as_str().parse().unwrap_or(whole));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

/// What a head takes at most that is whole with so many bytes: these, the fields that they may stand for, and what
/// those share.
const fn most_of(bytes: usize) -> usize {
    let fields = if bytes < MOST_FIELDS { bytes } else { MOST_FIELDS };
    bytes + fields * FIELD + TABLE
}

impl<I: AsyncRead + Unpin> Metered<I> {
    pub(super) fn new(io: I, load: Load) -> Self {
        Self { io, load, scan: Scan::default(), partial: None }
    }

    /// Waits for room for what is read next.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io: _, load, scan, partial } = self;
        let Some(block) = scan.block() else { return Poll::Ready(Ok(())) };
        let partial = partial.get_or_insert_with(|| load.partial());
        if partial.poll_grow(most_of(block.bytes), context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        ready!(partial.late.as_mut().poll(context));
        Poll::Ready(Err(load.end(Fault::Busy)))
    }

    /// Waits for more of a head, no longer than it may take.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(partial) = &mut self.partial else { return Poll::Pending };
        ready!(partial.late.as_mut().poll(context));
        Poll::Ready(Err(self.load.end(Fault::Slow)))
    }

    /// Reads what there is room for, and counts it.
    fn poll_count(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_room(context))?;
        let before = buffer.filled().len();
        let most = self.load.most().min(self.scan.ahead());
        if most == 0 {
            // Whoever drives the connection looks on first, and then lets it read again.
            return Poll::Pending;
        }
        match poll_read_at_most(&mut self.io, context, buffer, most)? {
            Poll::Ready(()) => {}
            Poll::Pending => return self.poll_more(context),
        }
        self.count(buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }

    /// Counts what was read.
    fn count(&mut self, bytes: &[u8]) {
        self.load.read(bytes.len());
        let whole = self.scan.read(bytes);
        if whole.is_none() && self.scan.block().is_some() {
            return;
        }
        // It is whole, or over.
        let Some(Partial { part, room: _, late: _ }) = self.partial.take() else { return };
        if let Some(block) = whole.filter(|block| block.trailers) {
            self.load.0.lock().trailed(block.stream, part);
        }
    }
}

impl Partial {
    fn poll_grow(&mut self, bytes: usize, context: &mut Context<'_>) -> Poll<()> {
        let Self { part, room, late: _ } = self;
        if room.is_none() && part.grow(bytes) {
            return Poll::Ready(());
        }
        let waiting = room.get_or_insert_with(|| Box::pin(part.lacking(bytes)));
        part.join(ready!(waiting.as_mut().poll(context)));
        *room = None;
        Poll::Ready(())
    }
}

impl fmt::Debug for Partial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, room, late: _ } = self;
        let waits = room.is_some();
        formatter.debug_struct("Partial").field("part", part).field("waits", &waits).finish()
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Metered<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let metered = self.get_mut();
        let read = metered.poll_count(context, buffer);
        if read.is_pending() {
            metered.load.run_dry();
        }
        read
    }
}

write_through!(Metered);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        time::Instant,
    };

    use http::HeaderValue;

    use super::*;
    use crate::memory::Budgets;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    const HEADERS: u8 = 1;
    const CONTINUATION: u8 = 9;

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

    #[test]
    fn all_of_a_head_counts() {
        let small = weight(&request(0));
        let long = "a".repeat(30_000);
        for head in [
            Request::get(format!("/{long}")),
            Request::get(format!("http://{long}/")),
            Request::builder().method(&*long),
            Request::get("/").header("x", &long),
            Request::get("/").header(&long, ""),
            Request::get("/").extension(Protocol::from(long.as_str())),
        ] {
            let more = weight(&head.body(()).unwrap()) - small;
            assert!((29_990..31_000).contains(&more), "{more}");
        }
    }

    #[test]
    fn a_head_is_the_same_when_it_is_copied() {
        let mut request = Request::get("https://test:1/a/b?c=%20d").body(()).unwrap();
        let secret = HeaderValue::from_bytes(b"Bearer \xff").unwrap();
        for value in [&secret, &HeaderValue::from_static("two")] {
            request.headers_mut().append("authorization", value.clone());
        }
        request.headers_mut().iter_mut().for_each(|(_, value)| value.set_sensitive(true));
        request.extensions_mut().insert(Protocol::from("websocket"));
        let mut copied = request.clone();
        copy(&mut copied);
        assert_eq!((copied.uri(), copied.headers()), (request.uri(), request.headers()));
        assert!(copied.headers().values().all(HeaderValue::is_sensitive));
        assert_eq!(copied.extensions().get::<Protocol>().unwrap().as_str(), "websocket");
        let at = |request: &Request<()>| {
            let value = request.headers().get("authorization").unwrap().as_bytes().as_ptr();
            (value, request.uri().path().as_ptr(), request.uri().host().unwrap().as_ptr())
        };
        let (before, after) = (at(&request), at(&copied));
        assert!(before.0 != after.0 && before.1 != after.1 && before.2 != after.2);
    }

    /// A peer, and what is read of it, of whose budget there are 64 KiB.
    fn connection() -> (DuplexStream, Metered<DuplexStream>, Load, Budget) {
        let budget = Budgets::of(Some(1024 * 1024)).heads;
        let load = Load::new(&budget);
        let (peer, io) = duplex(1 << 20);
        (peer, Metered::new(io, load.clone()), load, budget)
    }

    /// A frame whose payload has so many bytes of which these come.
    fn frame((kind, flags, stream): (u8, u8, u8), size: u16, payload: &[u8]) -> Vec<u8> {
        let [a, b] = size.to_be_bytes();
        [&[0, a, b, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    /// Reads all that there is for it now, or says why the connection is over.
    fn read_now<I: AsyncRead + Unpin>(io: &mut I) -> io::Result<usize> {
        let (mut all, mut buffer) = (0, vec![0; 30_000]);
        loop {
            let mut buffer = ReadBuf::new(&mut buffer);
            let mut context = Context::from_waker(std::task::Waker::noop());
            match Pin::new(&mut *io).poll_read(&mut context, &mut buffer)? {
                Poll::Ready(()) => all += buffer.filled().len(),
                Poll::Pending => return Ok(all),
            }
        }
    }

    #[tokio::test]
    async fn no_more_is_read_until_what_was_read_is_looked_at() {
        let (mut peer, mut io, load, _) = connection();
        let large = vec![0; 16_000];
        let data = [PREFACE, &frame((0, 0, 1), 16_000, &large).repeat(3)].concat();
        peer.write_all(&data).await.unwrap();
        for (expected, more) in
            [(READ_AHEAD, true), (READ_AHEAD, true), (data.len() - 2 * READ_AHEAD, false)]
        {
            assert_eq!(read_now(&mut io).unwrap(), expected);
            assert_eq!(load.look_on(), more);
        }
    }

    #[tokio::test]
    async fn a_head_that_is_not_whole_counts_as_the_largest_of_its_bytes() {
        let (mut peer, mut io, load, budget) = connection();
        let begun = frame((HEADERS, 0, 1), 100, &[0x82; 100]);
        peer.write_all(&[PREFACE, &begun].concat()).await.unwrap();
        assert_eq!(read_now(&mut io).unwrap(), PREFACE.len() + begun.len());
        let (most, lacks) = (most_of(100).div_ceil(1024) * 1024, |part: usize| 64 * 1024 - part);
        assert!(!budget.part().grow(lacks(most) + 1) && budget.part().grow(lacks(most)));
        let last = frame((CONTINUATION, 4, 1), 1, &[0x84]);
        peer.write_all(&last[..9]).await.unwrap();
        assert_eq!(read_now(&mut io).unwrap(), 9);
        assert!(!budget.part().grow(64 * 1024), "it isn't whole");
        peer.write_all(&last[9..]).await.unwrap();
        assert_eq!(read_now(&mut io).unwrap(), 1);
        assert!(budget.part().grow(64 * 1024) && load.fault().is_none());
    }

    #[tokio::test]
    async fn nothing_is_read_of_a_head_before_there_is_room_for_it() {
        let (mut peer, mut io, load, budget) = connection();
        let mut all = budget.part();
        assert!(all.grow(64 * 1024));
        let begun = frame((HEADERS, 0, 1), 1_000, &[0x82; 1_000]);
        peer.write_all(&[PREFACE, &begun].concat()).await.unwrap();
        assert_eq!(read_now(&mut io).unwrap(), PREFACE.len() + 9);
        let reading = tokio::spawn(async move { io.read(&mut [0; 2_000]).await });
        tokio::task::yield_now().await;
        assert!(!reading.is_finished());
        drop(all);
        assert_eq!(reading.await.unwrap().unwrap(), 1_000, "it is woken");
        assert!(load.fault().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_for_which_there_is_no_room_in_time_ends_the_connection() {
        let (mut peer, mut io, load, budget) = connection();
        let mut all = budget.part();
        assert!(all.grow(64 * 1024));
        let begun = frame((HEADERS, 0, 1), 1_000, &[0x82; 1_000]);
        peer.write_all(&[PREFACE, &begun].concat()).await.unwrap();
        let begun = Instant::now();
        let mut everything = Vec::new();
        assert!(io.read_to_end(&mut everything).await.is_err());
        assert_eq!((begun.elapsed().as_secs(), load.fault()), (10, Some(Fault::Busy)));
        drop(io);
        drop(all);
        assert!(budget.part().grow(64 * 1024), "nobody waits any more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_is_not_whole_in_time_ends_the_connection() {
        let (mut peer, mut io, load, budget) = connection();
        let begun = Instant::now();
        let trickle = async {
            peer.write_all(PREFACE).await.unwrap();
            // Each of its frames comes in time.
            peer.write_all(&frame((HEADERS, 0, 1), 1, &[0x82])).await.unwrap();
            while peer.write_all(&frame((CONTINUATION, 0, 1), 1, &[0x82])).await.is_ok() {
                time::sleep(Duration::from_secs(3)).await;
            }
        };
        let reading = async move {
            let mut everything = Vec::new();
            assert!(io.read_to_end(&mut everything).await.is_err());
        };
        tokio::join!(trickle, reading);
        assert_eq!(load.fault(), Some(Fault::Slow));
        assert!((10..=13).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
        assert!(budget.part().grow(64 * 1024));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_is_over_before_it_is_whole_counts_no_longer() {
        let (mut peer, mut io, load, budget) = connection();
        let begun = frame((HEADERS, 0, 1), 100, &[0x82; 100]);
        peer.write_all(&[PREFACE, &begun].concat()).await.unwrap();
        read_now(&mut io).unwrap();
        assert!(!is_free(&budget));
        // HTTP/2 goes on, where it was malformed.
        peer.write_all(&frame((6, 0, 0), 8, &[0; 8])).await.unwrap();
        read_now(&mut io).unwrap();
        assert!(is_free(&budget));
        time::sleep(2 * PATIENCE).await;
        assert_eq!(read_now(&mut io).unwrap(), 0);
        assert!(load.fault().is_none());
    }

    /// Whether nothing of the 64 KiB is taken.
    fn is_free(budget: &Budget) -> bool {
        budget.part().grow(64 * 1024)
    }

    #[tokio::test]
    async fn trailers_count_until_they_are_thrown_away_or_their_stream_is_over() {
        let (mut peer, mut io, load, budget) = connection();
        let whole = |stream| frame((HEADERS, 4, stream), 1, &[0x82]);
        let trailers = |stream| frame((HEADERS, 5, stream), 10, &[0x82; 10]);
        peer.write_all(&[PREFACE, &whole(1), &whole(3)].concat()).await.unwrap();
        read_now(&mut io).unwrap();
        assert!(is_free(&budget), "a head in one frame counts when it is looked at");
        let (first, second) = (load.follow(1), load.follow(3));
        peer.write_all(&trailers(1)).await.unwrap();
        read_now(&mut io).unwrap();
        assert!(!is_free(&budget));
        first.taken();
        assert!(is_free(&budget));
        peer.write_all(&trailers(3)).await.unwrap();
        read_now(&mut io).unwrap();
        assert!(!is_free(&budget));
        drop((first, second));
        assert!(is_free(&budget));
        peer.write_all(&trailers(3)).await.unwrap();
        read_now(&mut io).unwrap();
        assert!(is_free(&budget), "nobody keeps them");
        // They come with the head, before anybody has looked at that.
        for refused in [true, false] {
            let stream = if refused { 5 } else { 9 };
            peer.write_all(&[whole(stream), trailers(stream)].concat()).await.unwrap();
            read_now(&mut io).unwrap();
            assert!(!is_free(&budget));
            let next = load.follow(if refused { 7 } else { 9 });
            assert_eq!(is_free(&budget), refused, "a stream that nobody is given has none");
            drop(next);
            assert!(is_free(&budget));
        }
        assert!(load.0.lock().trailers.is_empty());
        // Each of 6 KiB.
        peer.write_all(&[whole(11), trailers(11).repeat(2)].concat()).await.unwrap();
        read_now(&mut io).unwrap();
        assert!(!budget.part().grow(56 * 1024), "both count");
        peer.write_all(&trailers(11).repeat(10)).await.unwrap();
        read_now(&mut io).unwrap();
        assert!(budget.part().grow(50 * 1024), "there can't be more");
        drop(load.follow(11));
        assert!(is_free(&budget));
    }

    #[tokio::test]
    async fn trailers_of_a_stream_that_was_refused_count_until_all_that_was_read_is_looked_at() {
        let (mut peer, mut io, load, budget) = connection();
        let head = |stream| frame((HEADERS, 4, stream), 1, &[0x82]);
        let trailers = |stream| frame((HEADERS, 5, stream), 10, &[0x82; 10]);
        peer.write_all(&[PREFACE, &head(1), &trailers(1)].concat()).await.unwrap();
        read_now(&mut io).unwrap();
        let first = load.follow(1);
        assert!(!load.look_on() && !is_free(&budget), "somebody has it");
        first.taken();
        peer.write_all(&[head(3), trailers(3), head(5), trailers(5)].concat()).await.unwrap();
        read_now(&mut io).unwrap();
        assert!(!is_free(&budget), "they may be given to somebody");
        load.look_on();
        assert!(is_free(&budget));
        peer.write_all(&trailers(3)).await.unwrap();
        // Not all that was read is looked at: what there is fits, and nothing more is asked for.
        assert_eq!(io.read(&mut [0; 100]).await.unwrap(), 9);
        assert_eq!(io.read(&mut [0; 100]).await.unwrap(), 10);
        load.look_on();
        assert!(!is_free(&budget));
        read_now(&mut io).unwrap();
        load.look_on();
        assert!(is_free(&budget));
    }

    #[tokio::test(start_paused = true)]
    async fn trailers_of_nothing_behind_others_are_whole_at_once() {
        let (mut peer, mut io, load, budget) = connection();
        let head = |stream| frame((HEADERS, 4, stream), 1, &[0x82]);
        peer.write_all(&[PREFACE, &head(1), &head(3)].concat()).await.unwrap();
        read_now(&mut io).unwrap();
        let streams = (load.follow(1), load.follow(3));
        let trailers = [frame((HEADERS, 5, 1), 1, &[0x82]), frame((HEADERS, 5, 3), 0, &[])];
        peer.write_all(&trailers.concat()).await.unwrap();
        read_now(&mut io).unwrap();
        time::sleep(2 * PATIENCE).await;
        assert_eq!(read_now(&mut io).unwrap(), 0);
        assert!(load.fault().is_none());
        drop(streams);
        assert!(is_free(&budget));
    }
}
