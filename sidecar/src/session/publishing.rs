//! Publishes what a client of `weir.v1` sends: by the same intake as a request over HTTP.

use std::{sync::Arc, time::SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::value::RawValue;

use super::{access::OutOfReach, reply::Failure, request::Publish};
use crate::{
    auth::{Right, Visitor},
    intake::{self, Context, MAX_BATCH, Part, Reason},
    pipeline::Pipeline,
};

/// What has become of the events.
pub(super) struct Outcome {
    pub(super) accepted: usize,
    pub(super) duplicates: usize,
    pub(super) cursor: String,
}

/// Takes events into a pipeline's log, all or none.
pub(super) async fn publish(
    name: &str,
    pipeline: Result<Arc<Pipeline>, OutOfReach>,
    visitor: &Visitor,
    request: Publish,
) -> Result<Outcome, Failure> {
    let Publish { id, events, data, event, key, .. } = request;
    let failure = |code, message: &str| Failure::new("publish", &id, code, message);
    let pipeline = pipeline.map_err(|error| error.failure("publish", &id))?;
    let hub = pipeline.hub();
    let settings = hub.settings();
    let (Some(source), Some(max_event_bytes)) = (pipeline.http_source(), settings.max_event_bytes)
    else {
        let message = format!("the pipeline {name} has no source of kind http to publish into");
        return Err(failure("not_found", &message));
    };
    if !settings.publish {
        let message = format!(
            "publishing to {name} is not open on the public port: set spec.endpoints.publish in the \
             StreamPipeline"
        );
        return Err(failure("forbidden", &message));
    }
    let granted = pipeline.guard().authorize_visitor(visitor, Right::Publish).await;
    granted.map_err(|refusal| {
        let failure = failure(refusal.label(), &refusal.to_string());
        if refusal.is_passing() { failure.passing() } else { failure }
    })?;
    let headers = headers(event.as_deref(), key.as_deref(), events.is_some());
    let body = events.as_deref().or(data.as_deref()).map(RawValue::get).unwrap_or_default();
    let context = Context {
        source: &format!("/{name}/{}", source.name()),
        now: SystemTime::now(),
        max_event_bytes,
        max_batch: MAX_BATCH,
    };
    let decoded = intake::decode(&headers, body.as_bytes(), &context).map_err(|rejection| {
        source.reject();
        let member = if events.is_some() { "events" } else { "data" };
        let refused = failure(rejection.category(), &of_message(&rejection.reason, member));
        Failure { index: rejection.index, ..refused }
    })?;
    let appended = hub
        .publish(decoded.events)
        .await
        .map_err(|error| failure(error.category(), &error.to_string()).passing())?;
    source.accept(appended.accepted as u64);
    Ok(Outcome {
        accepted: appended.accepted,
        duplicates: appended.duplicates,
        cursor: hub.cursor(appended.last).to_string(),
    })
}

/// Why a message is refused, that has the events in this member. What is a header over HTTP is a member here, and so
/// is what is the body.
fn of_message(reason: &Reason, member: &str) -> String {
    match reason {
        Reason::HeaderValue { name: _, fault } => format!("publish: key {fault}"),
        Reason::Empty => format!("publish: {member} is empty"),
        Reason::Json { part: Part::Body, message, line, column } => {
            format!("{member} is not JSON: {message}, at line {line}, column {column} of it")
        }
        Reason::JsonLimit { part: Part::Body, limit, line, column } => {
            format!("{member} can't be taken, at line {line}, column {column} of it: {limit}")
        }
        Reason::TooMany { limit } => {
            format!("the message holds more than {limit} events: split it into several messages")
        }
        Reason::Json { .. }
        | Reason::JsonLimit { .. }
        | Reason::NoObject
        | Reason::NoBatch
        | Reason::Header(_)
        | Reason::HeaderTwice(_)
        | Reason::IdForLines
        | Reason::TooLarge { .. }
        | Reason::BodyTooLarge { .. }
        | Reason::BatchTooLarge { .. }
        | Reason::Repeated { .. }
        | Reason::MediaType(_)
        | Reason::NoMediaType
        | Reason::Charset(_)
        | Reason::Encoding(_)
        | Reason::Attribute { .. } => reason.to_string(),
    }
}

/// What a request over HTTP would say about such a body.
fn headers(event: Option<&str>, key: Option<&str>, batch: bool) -> HeaderMap {
    let media_type = if batch { "application/cloudevents-batch+json" } else { "application/json" };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    for (name, text) in [("ce-type", event), ("idempotency-key", key)] {
        let text = text.map(|text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string());
        // What is percent-encoded is always a header's value.
        if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}
