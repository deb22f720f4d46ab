//! Readers of a durable stream that wait for what is not there yet.
//!
//! Laws: a reader that waits costs a connection and no task, and is woken by an append; their number is
//! bounded, for each client, too; none waits longer than it was told, however slowly it reads, nor when the replica sends its subscribers away.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use tokio::time;
use warp::Reply as _;

use super::{Answer, CURSOR, Desk, PAGE_BYTES, empty, place};
use crate::{
    clock,
    durable::{
        Streams, collapse,
        content::{Kind, join},
        frames::{self, Control},
        offset::Position,
        refusal::Refusal,
        request::Read,
        state::Page,
        stream::Stream,
    },
    edge::{line::Until, problem::set, routes::Service, waiting::Place},
    memory::Comer,
};

/// After this long without data, a comment keeps proxies from closing the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a stream of events lasts, in milliseconds: about a minute, so that caches can join readers
/// anew, and spread, so that these don't come back together.
const SSE_MS: std::ops::Range<u64> = 55_000..65_000;

impl Desk<'_> {
    pub(super) async fn long_poll(
        &self,
        stream: &Stream,
        read: Read,
        from: Position,
        headers: &HeaderMap,
    ) -> Answer {
        let page = stream.read(from, PAGE_BYTES)?;
        let page = if page.is_empty() && !page.closed {
            let _place = match self.take_place() {
                Ok(place) => place,
                Err(refused) => return Ok((*refused).into_response()),
            };
            let limit = self.streams.limits().long_poll;
            let deadline = self.until(time::Instant::now() + limit);
            wait(stream, from, deadline, self.service.leaving()).await?
        } else {
            page
        };
        stream.touch(clock::micros());
        if !page.is_empty() {
            return Ok(self.page(stream, read, &page, headers));
        }
        let mut response = empty(StatusCode::NO_CONTENT);
        place(&mut response, stream, &page);
        set(&mut response, CURSOR, &self.cursor(read.cursor).to_string());
        set(&mut response, header::CACHE_CONTROL, "no-store");
        Ok(response)
    }

    pub(super) fn sse(&self, stream: Arc<Stream>, read: Read, from: Position) -> Answer {
        let place = match self.take_place() {
            Ok(place) => place,
            Err(refused) => return Ok((*refused).into_response()),
        };
        let base64 = frames::is_base64(stream.kind());
        let lasts = Duration::from_millis(fastrand::u64(SSE_MS));
        let reader = Reader {
            streams: Arc::clone(self.streams),
            stream,
            next: from,
            cursor: read.cursor,
            deadline: self.until(time::Instant::now() + lasts),
            begun: false,
            ended: false,
            service: self.service.clone(),
            _place: place,
        };
        let until = Until(reader.deadline);
        let chunks = futures::stream::unfold(reader, Reader::chunk);
        let mut response = warp::reply::stream(chunks).into_response();
        response.extensions_mut().insert(until);
        set(&mut response, header::CONTENT_TYPE, "text/event-stream");
        set(&mut response, header::CACHE_CONTROL, "no-cache, no-transform");
        set(&mut response, http::HeaderName::from_static("x-accel-buffering"), "no");
        if base64 {
            let name = http::HeaderName::from_static("stream-sse-data-encoding");
            set(&mut response, name, "base64");
        }
        Ok(response)
    }

    /// A place to wait at. Whoever reads a stream knows where it is.
    fn take_place(&self) -> Result<Place, Box<Response<Vec<u8>>>> {
        Place::take(self.service, self.hub, self.address, Comer::Resuming)
    }
}

/// Waits until there is something at `from`, or an end. The page is empty where nothing came in time.
async fn wait(
    stream: &Stream,
    from: Position,
    deadline: time::Instant,
    leaving: impl Future<Output = ()>,
) -> Result<Page, Refusal> {
    let mut leaving = pin!(leaving);
    loop {
        let mut changed = pin!(stream.changed());
        // From here on no change is missed.
        changed.as_mut().enable();
        let page = stream.read(from, PAGE_BYTES)?;
        if !page.is_empty() || page.closed {
            return Ok(page);
        }
        tokio::select! {
            () = changed => {}
            () = time::sleep_until(deadline) => return Ok(page),
            () = &mut leaving => return Ok(page),
        }
    }
}

/// One reader over Server-Sent Events.
struct Reader {
    streams: Arc<Streams>,
    stream: Arc<Stream>,
    next: Position,
    /// The cursor that it came with.
    cursor: Option<u64>,
    deadline: time::Instant,
    /// Whether it has been told where it is.
    begun: bool,
    ended: bool,
    service: Service,
    _place: Place,
}

impl Reader {
    /// The next piece of the response, when the socket has room for it.
    async fn chunk(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if self.ended {
            return None;
        }
        let heartbeat = time::Instant::now() + HEARTBEAT;
        loop {
            let stream = Arc::clone(&self.stream);
            let mut changed = pin!(stream.changed());
            changed.as_mut().enable();
            if let Some(chunk) = self.look()? {
                return Some((Ok(chunk), self));
            }
            tokio::select! {
                () = changed => {}
                () = time::sleep_until(self.deadline) => return None,
                () = time::sleep_until(heartbeat) => {
                    return Some((Ok(Bytes::from_static(b":\n\n")), self));
                }
                () = self.service.leaving() => return None,
            }
        }
    }

    /// What there is to say; the outer option is empty where the stream was deleted.
    fn look(&mut self) -> Option<Option<Bytes>> {
        let page = self.stream.read(self.next, PAGE_BYTES).ok()?;
        let kind = self.stream.kind();
        let data = join(kind, &page.parts);
        let sent = match kind {
            // Nothing follows that could complete the last character.
            Kind::Text if !page.closed => frames::whole_characters(&data),
            Kind::Text | Kind::Binary | Kind::Json => data.len(),
        };
        let is_empty = page.is_empty() || sent == 0;
        if is_empty && self.begun && !page.closed {
            return Some(None);
        }
        let held_back = (data.len() - sent) as Position;
        self.next = page.next - held_back;
        let mut chunk = Vec::with_capacity(sent + 256);
        if !is_empty {
            frames::push_data(kind, data.get(..sent).unwrap_or_default(), &mut chunk);
        }
        let now = clock::micros();
        let control = Control {
            next: &self.stream.offset(self.next).to_string(),
            cursor: collapse::cursor(now / 1_000_000, self.cursor, fastrand::u64(..)),
            up_to_date: page.up_to_date && held_back == 0,
            closed: page.closed,
        };
        frames::push_control(&control, &mut chunk);
        self.stream.touch(now);
        self.streams.counts.read_bytes.add(sent as u64);
        self.begun = true;
        self.ended = page.closed;
        Some(Some(chunk.into()))
    }
}
