//! Durable streams over HTTP: what is answered to a request, and with which headers.
//!
//! What a request means is decided in [`crate::durable`]; here are the methods, the bodies and the waits.

mod live;

use std::{net::IpAddr, sync::Arc, time::Instant};

use bytes::Buf;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use tokio::time;
use warp::{Reply as _, Stream as BodyStream};

use super::{
    gate::{self, InUrl},
    problem::{problem, set},
    publish::{Allowance, collect},
    read::is_known,
    routes::Service,
};
use crate::{
    clock,
    durable::{
        Appended, Streams, collapse,
        content::join,
        expiry::{self, Expiry},
        offset::Anchor,
        refusal::Refusal,
        request::{self, Live, Read},
        state::Page,
        stream::{Description, Stream},
    },
    hub::Hub,
    log::Micros,
    memory::COPIES,
    pipeline::Pipeline,
};

/// The most bytes of one append: a body is in memory as a whole.
const MOST_BODY_BYTES: u64 = 16 * 1024 * 1024;

/// The most bytes of one answer.
const PAGE_BYTES: usize = 256 * 1024;

/// What a page's content never changes may be kept for a while, as the protocol proposes.
const CACHEABLE: &str = "public, max-age=60, stale-while-revalidate=300";

/// A request about a durable stream.
pub(super) struct Call {
    pub(super) method: Method,
    /// What stands in the URL behind the folder of the streams.
    pub(super) tail: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    /// What the URL shows of who asks.
    pub(super) in_url: InUrl,
    /// Whether it came over TLS.
    pub(super) secure: bool,
    /// Where it came from.
    pub(super) address: IpAddr,
}

/// Answers a request.
pub(super) async fn serve<S, B>(
    pipeline: &Pipeline,
    call: Call,
    body: S,
    service: &Service,
) -> warp::reply::Response
where
    S: BodyStream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    let name = &pipeline.config().name;
    let Some(streams) = pipeline.streams() else {
        let detail = format!(
            "the pipeline {name} serves no durable streams: set spec.endpoints.durableStreams"
        );
        return protect(super::problem::not_found(detail).into_response());
    };
    let expires_at = match gate::right_to_streams(&call.method) {
        None => None,
        Some(right) => match gate::admit(pipeline, &call.headers, &call.in_url, right).await {
            Ok(grant) => grant.lease.expires_at,
            Err(refusal) => return protect((*refusal).into_response()),
        },
    };
    let root = format!("/{name}/streams/");
    let (hub, address, now) = (pipeline.hub(), call.address, clock::micros());
    let desk = Desk { streams, root, now, expires_at, hub, address, service };
    let mut answer = desk.answer(&call, body).await;
    gate::keep_private(pipeline.guard(), answer.headers_mut());
    protect(answer)
}

/// What every answer says to a browser: the content is what it says it is, and no other site's page may
/// embed it.
fn protect(mut response: warp::reply::Response) -> warp::reply::Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(policy, HeaderValue::from_static("same-origin"));
    response
}

type Answer = Result<warp::reply::Response, Refusal>;

/// Where one request is answered.
struct Desk<'a> {
    streams: &'a Arc<Streams>,
    /// The folder of all streams.
    root: String,
    now: Micros,
    /// When the client's grant ends.
    expires_at: Option<Instant>,
    hub: &'a Hub,
    /// Where the client is.
    address: IpAddr,
    service: &'a Service,
}

impl Desk<'_> {
    async fn answer<S, B>(&self, call: &Call, body: S) -> warp::reply::Response
    where
        S: BodyStream<Item = Result<B, warp::Error>>,
        B: Buf,
    {
        let Self { streams, root: _, now: _, expires_at: _, hub: _, address: _, service } = self;
        let answer = match call.method {
            Method::OPTIONS => Ok(preflight()),
            Method::GET => self.read(call).await,
            Method::HEAD => self.describe(call),
            Method::DELETE => self.delete(call).await,
            Method::PUT | Method::POST => {
                let most = streams.limits().stream_bytes.min(MOST_BODY_BYTES);
                let room = service.budgets.bodies.bytes() / COPIES;
                let most = usize::try_from(most).map_or(room, |most| most.min(room));
                let too_large = || {
                    let detail =
                        format!("a request may have at most {most} bytes: send less at once");
                    problem("too_large", StatusCode::PAYLOAD_TOO_LARGE, detail)
                };
                match collect(
                    &call.headers,
                    body,
                    (Allowance::of_events(most, service), too_large),
                    service,
                )
                .await
                {
                    // The part of the memory is held until the stream has the bytes.
                    Ok((body, _part)) if call.method == Method::PUT => {
                        self.create(call, body.into()).await
                    }
                    Ok((body, _part)) => self.append(call, body.into()).await,
                    Err(response) => {
                        streams.counts.refused.count(response.status());
                        return response.into_response();
                    }
                }
            }
            _ => Ok(not_allowed()),
        };
        answer.unwrap_or_else(|refusal| {
            streams.counts.refused.count(refusal.status().0);
            refuse(&refusal).into_response()
        })
    }

    /// Until when somebody may wait who would wait so long.
    fn until(&self, deadline: time::Instant) -> time::Instant {
        self.expires_at.map_or(deadline, |at| deadline.min(at.into()))
    }

    async fn create(&self, call: &Call, body: bytes::Bytes) -> Answer {
        let path = request::path(&call.tail)?;
        let create = request::create(&call.headers, &self.root, body, self.now)?;
        let (description, is_new) = Arc::clone(self.streams).create(path, create, self.now).await?;
        let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
        let mut response = described(status, &description);
        if is_new {
            set(&mut response, header::LOCATION, &self.location(call));
        }
        Ok(response)
    }

    async fn append(&self, call: &Call, body: bytes::Bytes) -> Answer {
        let path = request::path(&call.tail)?;
        let stream = self.streams.get(&path, self.now)?;
        let append = request::append(&call.headers, body)?;
        let by_producer = append.producer.is_some();
        let appended = Arc::clone(self.streams).append(stream, path, append, self.now).await?;
        let Appended { end, closed, progress, fresh } = appended;
        let status = if by_producer && fresh { StatusCode::OK } else { StatusCode::NO_CONTENT };
        let mut response = empty(status);
        set(&mut response, NEXT_OFFSET, &end.to_string());
        if closed {
            set(&mut response, CLOSED, "true");
        }
        if let Some(progress) = progress {
            set(&mut response, PRODUCER_EPOCH, &progress.epoch.to_string());
            set(&mut response, PRODUCER_SEQ, &progress.seq.to_string());
        }
        Ok(response)
    }

    async fn delete(&self, call: &Call) -> Answer {
        let path = request::path(&call.tail)?;
        Arc::clone(self.streams).delete(path, self.now).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// Answers HEAD, which is no use of the stream.
    fn describe(&self, call: &Call) -> Answer {
        let stream = self.streams.get(&request::path(&call.tail)?, self.now)?;
        let description = stream.describe();
        let mut response = described(StatusCode::OK, &description);
        set(&mut response, header::CACHE_CONTROL, "no-store");
        match description.expiry {
            Expiry::Idle(seconds) => set(&mut response, TTL, &seconds.to_string()),
            Expiry::At(moment) => set(&mut response, EXPIRES_AT, &expiry::moment(moment)),
        }
        Ok(response)
    }

    async fn read(&self, call: &Call) -> Answer {
        let stream = self.streams.get(&request::path(&call.tail)?, self.now)?;
        let read = request::read(&call.query)?;
        let from = stream.position(read.from)?;
        stream.touch(self.now);
        match read.live {
            None => {
                let page = stream.read(from, PAGE_BYTES)?;
                Ok(self.page(&stream, read, &page, &call.headers))
            }
            Some(Live::LongPoll) => self.long_poll(&stream, read, from, &call.headers).await,
            Some(Live::Sse) => self.sse(stream, read, from),
        }
    }

    /// Answers with a part of a stream.
    fn page(
        &self,
        stream: &Stream,
        read: Read,
        page: &Page,
        headers: &HeaderMap,
    ) -> warp::reply::Response {
        let tag = tag(stream, page);
        let at_end = matches!(read.from, Anchor::Now);
        let known = !at_end && read.live.is_none() && is_known(headers, &tag);
        let mut response = if known {
            empty(StatusCode::NOT_MODIFIED)
        } else {
            let body = join(stream.kind(), &page.parts);
            self.streams.counts.read_bytes.add(body.len() as u64);
            let mut response = Response::new(body).into_response();
            set(&mut response, header::CONTENT_TYPE, &stream.config().content_type);
            response
        };
        place(&mut response, stream, page);
        if read.live.is_some() {
            let cursor = self.cursor(read.cursor);
            set(&mut response, CURSOR, &cursor.to_string());
        }
        // The end of a stream moves, so it is asked for again; what lies before it stays as it is.
        let keep = match (at_end, page.up_to_date && read.live.is_none()) {
            (true, _) => "no-store",
            (false, true) => "no-cache",
            (false, false) => CACHEABLE,
        };
        set(&mut response, header::CACHE_CONTROL, keep);
        if !at_end {
            set(&mut response, header::ETAG, &tag);
        }
        response
    }

    fn cursor(&self, echoed: Option<u64>) -> u64 {
        collapse::cursor(self.now / 1_000_000, echoed, fastrand::u64(..))
    }

    /// The whole URL of a new stream, as the client reached it.
    fn location(&self, call: &Call) -> String {
        let path = format!("{}{}", self.root, call.tail);
        let header = |name: &str| call.headers.get(name).and_then(|value| value.to_str().ok());
        let secure = call.secure || header("x-forwarded-proto") == Some("https");
        let scheme = if secure { "https" } else { "http" };
        header("host").map_or_else(|| path.clone(), |host| format!("{scheme}://{host}{path}"))
    }
}

const NEXT_OFFSET: HeaderName = HeaderName::from_static("stream-next-offset");
const UP_TO_DATE: HeaderName = HeaderName::from_static("stream-up-to-date");
const CURSOR: HeaderName = HeaderName::from_static("stream-cursor");
const CLOSED: HeaderName = HeaderName::from_static("stream-closed");
const TTL: HeaderName = HeaderName::from_static("stream-ttl");
const EXPIRES_AT: HeaderName = HeaderName::from_static("stream-expires-at");
const PRODUCER_EPOCH: HeaderName = HeaderName::from_static("producer-epoch");
const PRODUCER_SEQ: HeaderName = HeaderName::from_static("producer-seq");
const EXPECTED_SEQ: HeaderName = HeaderName::from_static("producer-expected-seq");
const RECEIVED_SEQ: HeaderName = HeaderName::from_static("producer-received-seq");

fn empty(status: StatusCode) -> warp::reply::Response {
    let mut response = Response::new(Vec::new()).into_response();
    response.headers_mut().remove(header::CONTENT_TYPE);
    *response.status_mut() = status;
    response
}

fn described(status: StatusCode, description: &Description) -> warp::reply::Response {
    let Description { content_type, expiry: _, end, closed } = description;
    let mut response = empty(status);
    set(&mut response, header::CONTENT_TYPE, content_type);
    set(&mut response, NEXT_OFFSET, &end.to_string());
    if *closed {
        set(&mut response, CLOSED, "true");
    }
    response
}

/// Says where a page ends, and what is behind it.
fn place(response: &mut warp::reply::Response, stream: &Stream, page: &Page) {
    set(response, NEXT_OFFSET, &stream.offset(page.next).to_string());
    if page.up_to_date {
        set(response, UP_TO_DATE, "true");
    }
    if page.closed {
        set(response, CLOSED, "true");
    }
}

/// The entity tag of a page.
fn tag(stream: &Stream, page: &Page) -> String {
    let Page { parts: _, from, next, up_to_date: _, closed } = page;
    let closed = if *closed { "-closed" } else { "" };
    format!("\"{}-{next}{closed}\"", stream.offset(*from))
}

fn refuse(refusal: &Refusal) -> Response<Vec<u8>> {
    let (status, category) = refusal.status();
    let mut response = problem(category, status, refusal.to_string());
    set(&mut response, header::CACHE_CONTROL, "no-store");
    match refusal {
        Refusal::Closed { end } => {
            set(&mut response, CLOSED, "true");
            set(&mut response, NEXT_OFFSET, &end.to_string());
        }
        Refusal::StaleEpoch { current } => set(&mut response, PRODUCER_EPOCH, &current.to_string()),
        Refusal::SequenceGap { expected, received } => {
            set(&mut response, EXPECTED_SEQ, &expected.to_string());
            set(&mut response, RECEIVED_SEQ, &received.to_string());
        }
        Refusal::NotFound
        | Refusal::Gone
        | Refusal::Kept
        | Refusal::EarlierStream
        | Refusal::Path
        | Refusal::Header { .. }
        | Refusal::Parameter { .. }
        | Refusal::Exists { .. }
        | Refusal::SourceGone
        | Refusal::NoSource(_)
        | Refusal::ContentType(_)
        | Refusal::Seq { .. }
        | Refusal::EpochStart
        | Refusal::Empty
        | Refusal::Json(_)
        | Refusal::JsonLimit { .. }
        | Refusal::TooManyMessages { .. }
        | Refusal::StreamFull { .. }
        | Refusal::Full { .. }
        | Refusal::TooMany { .. }
        | Refusal::Storage(_)
        | Refusal::DiskFull(_)
        | Refusal::NotOpen(_) => {}
    }
    response
}

/// Answers a browser that asks what a page of another origin may send.
fn preflight() -> warp::reply::Response {
    let mut response = empty(StatusCode::NO_CONTENT);
    let methods = "GET, HEAD, PUT, POST, DELETE, OPTIONS";
    set(&mut response, header::ALLOW, methods);
    set(&mut response, header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    set(
        &mut response,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        "content-type, authorization, if-none-match, stream-seq, stream-ttl, stream-expires-at, stream-closed, \
         stream-forked-from, stream-fork-offset, stream-fork-sub-offset, producer-id, producer-epoch, producer-seq",
    );
    set(&mut response, header::ACCESS_CONTROL_MAX_AGE, "600");
    response
}

fn not_allowed() -> warp::reply::Response {
    let detail = "a durable stream takes PUT, POST, GET, HEAD and DELETE";
    let mut response = problem("method", StatusCode::METHOD_NOT_ALLOWED, detail).into_response();
    set(&mut response, header::ALLOW, "GET, HEAD, PUT, POST, DELETE, OPTIONS");
    response
}
