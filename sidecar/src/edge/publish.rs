//! Answers a publisher, after the log has its events.
//!
//! # Laws
//!
//! - A body counts for what it takes until the log has its events: itself, and what becomes of it.
//! - What is larger than it may be is refused before it is kept.

mod body;

use std::time::SystemTime;

use bytes::Buf;
use http::{HeaderMap, Response, StatusCode};
use warp::Stream;

pub(super) use self::body::{Allowance, collect};
use super::{
    problem::{problem, refusal, respond, unavailable},
    routes::Service,
};
use crate::{
    count::retry_soon_ms,
    intake::{self, Answer, Bound, Context, Decoded, MAX_BATCH, Rejection},
    log::LogError,
    memory::{COPIES, Part},
    pipeline::Pipeline,
    seldom::Seldom,
};

/// What a batch may have at most, where the process has memory for it.
const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// What is noted beside an event until the log has it, about: its key, and how it is answered.
const ENTRY_BYTES: usize = 256;

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
    let context = Context {
        source: &format!("/{name}/{}", source.name()),
        now: SystemTime::now(),
        max_event_bytes,
        max_batch: MAX_BATCH,
    };
    // Its part of the memory is held until the log has the events.
    let (decoded, _part) = match take_in(headers, body, &context, service).await {
        Ok(taken) => taken,
        Err(response) => {
            source.reject();
            tracing::debug!(pipeline = name, status = %response.status(), "refused a publish");
            return response;
        }
    };
    match hub.publish(decoded.events).await {
        Ok(appended) => {
            source.accept(appended.accepted as u64);
            let cursor = hub.cursor(appended.last).to_string();
            let answer = Answer {
                accepted: appended.accepted,
                duplicates: appended.duplicates,
                cursor: &cursor,
            };
            respond(StatusCode::OK, "application/json", answer.to_json())
        }
        Err(error) => not_taken(name, &error),
    }
}

/// Reads a request to its events, and keeps nothing else of it.
async fn take_in<S, B>(
    headers: &HeaderMap,
    body: S,
    context: &Context<'_>,
    service: &Service,
) -> Result<(Decoded, Part), Response<Vec<u8>>>
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    let batch = BATCH_BYTES.min(service.budgets.bodies.bytes() / COPIES);
    let bound = Bound::of(headers, context.max_event_bytes, batch);
    let bound = bound.map_err(|rejection| refused(&rejection))?;
    let too_large = || refused(&bound.exceeded());
    let allowance = Allowance::of_events(bound.bytes(), service);
    let (bytes, mut part) = collect(headers, body, (allowance, too_large), service).await?;
    let decoded = intake::decode(headers, &bytes, context).map_err(|error| refused(&error))?;
    drop(bytes);
    if part.fit(weight(&decoded)) {
        return Ok((decoded, part));
    }
    Err(busy("as many events are on their way as there may be: send them again in a while"))
}

/// What events take.
fn weight(decoded: &Decoded) -> usize {
    decoded.events.iter().map(|posted| ENTRY_BYTES + posted.event.footprint()).sum()
}

fn refused(rejection: &Rejection) -> Response<Vec<u8>> {
    refusal(rejection.category(), rejection.status(), rejection.problem())
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
    unavailable(error.category(), detail, retry_soon_ms())
}

/// There is no memory for a body now.
pub(super) fn busy(detail: &str) -> Response<Vec<u8>> {
    unavailable("busy", detail, retry_soon_ms())
}
