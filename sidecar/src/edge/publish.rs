//! Answers a publisher, after the log has its events.

use std::time::{Duration, SystemTime};

use bytes::{Buf, BytesMut};
use http::{HeaderMap, Response, StatusCode, header};
use tokio::time;
use warp::Stream;

use super::{
    problem::{problem, refusal, respond},
    routes::Service,
};
use crate::{
    intake::{self, Answer, Context, MAX_BATCH},
    log::LogError,
    memory::Part,
    pipeline::Pipeline,
    seldom::Seldom,
};

/// What a batch may have beyond one event of the largest size: attributes, and smaller events.
const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A publisher is answered each time, and whoever reaches the public port may be one.
static NOT_TAKEN: Seldom = Seldom::new();

/// Takes events into the pipeline's log.
pub(super) async fn publish<S, B>(
    pipeline: &Pipeline,
    headers: &HeaderMap,
    body: S,
    service: &Service,
) -> Response<Vec<u8>>
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    let name = &pipeline.config().name;
    let hub = pipeline.hub();
    let (Some(source), Some(max_event_bytes)) =
        (pipeline.http_source(), hub.settings().max_event_bytes)
    else {
        let detail = format!("the pipeline {name} has no source of kind http to publish into");
        return problem("not_found", StatusCode::NOT_FOUND, detail);
    };
    let limit = max_event_bytes.saturating_add(BATCH_BYTES);
    // Its part of the memory is held until the log has the events.
    let (body, _part) = match collect(headers, body, limit, service).await {
        Ok(collected) => collected,
        Err(response) => {
            source.reject();
            return response;
        }
    };
    let context = Context {
        source: &format!("/{name}/{}", source.name()),
        now: SystemTime::now(),
        max_event_bytes,
        max_batch: MAX_BATCH,
    };
    match intake::decode(headers, &body, &context) {
        Ok(decoded) => {
            let appended = match hub.publish(decoded.events).await {
                Ok(appended) => appended,
                Err(error) => return not_taken(name, &error),
            };
            source.accept(appended.accepted as u64);
            let cursor = hub.cursor(appended.last).to_string();
            let answer = Answer {
                accepted: appended.accepted,
                duplicates: appended.duplicates,
                cursor: &cursor,
            };
            respond(StatusCode::OK, "application/json", answer.to_json())
        }
        Err(rejection) => {
            source.reject();
            tracing::debug!(pipeline = name, category = rejection.category(), "refused a publish");
            refusal(rejection.category(), rejection.status(), rejection.problem())
        }
    }
}

/// Answers a publish that the log could not take, or of which nobody knows whether it was taken.
fn not_taken(pipeline: &str, error: &LogError) -> Response<Vec<u8>> {
    if NOT_TAKEN.is_due() {
        tracing::warn!(pipeline, %error, "could not take events");
    }
    let detail = if error.is_certain() {
        format!("{error}; nothing was taken: publish again in a while")
    } else {
        format!(
            "{error}; some of it may have been taken: publish it again in a while, with the same ids"
        )
    };
    soon(error.category(), &detail)
}

/// Reads the body, up to `limit` bytes, and with it its part of the memory for bodies.
pub(super) async fn collect<S, B>(
    headers: &HeaderMap,
    body: S,
    limit: usize,
    service: &Service,
) -> Result<(BytesMut, Part), Response<Vec<u8>>>
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    let too_large = || {
        let detail = format!("a request may have at most {limit} bytes: send less at once");
        problem("too_large", StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let announced = announced.and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
    if announced > limit {
        return Err(too_large());
    }
    let mut body = std::pin::pin!(body);
    let mut part_of_memory = service.budgets.bodies.part();
    let mut bytes = BytesMut::with_capacity(announced.min(64 * 1024));
    let deadline = time::Instant::now() + PATIENCE;
    loop {
        let next = std::future::poll_fn(|cx| body.as_mut().poll_next(cx));
        let next = tokio::select! {
            next = next => next,
            () = time::sleep_until(deadline) => {
                let detail = "the body took longer than a minute: send less at once";
                return Err(problem("timeout", StatusCode::REQUEST_TIMEOUT, detail));
            }
            () = service.stopping.cancelled() => {
                let detail = "this replica is stopping: ask another";
                return Err(problem("unavailable", StatusCode::SERVICE_UNAVAILABLE, detail));
            }
        };
        match next {
            None => return Ok((bytes, part_of_memory)),
            Some(Ok(part)) if bytes.len() + part.remaining() > limit => return Err(too_large()),
            Some(Ok(part)) if !part_of_memory.grow(bytes.len() + part.remaining()) => {
                return Err(busy(
                    "as many bytes are on their way as there may be: send it again in a while",
                ));
            }
            Some(Ok(part)) => bytes.extend_from_slice(&collect_part(part)),
            Some(Err(_)) => {
                let detail = "the body ended before it was complete: send it again";
                return Err(problem("incomplete", StatusCode::BAD_REQUEST, detail));
            }
        }
    }
}

/// There is no memory for a body now.
pub(super) fn busy(detail: &str) -> Response<Vec<u8>> {
    soon("busy", detail)
}

/// What can't be done now may be tried again in a second.
fn soon(category: &'static str, detail: &str) -> Response<Vec<u8>> {
    let mut response = problem(category, StatusCode::SERVICE_UNAVAILABLE, detail);
    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    response
}

fn collect_part(mut part: impl Buf) -> bytes::Bytes {
    part.copy_to_bytes(part.remaining())
}
