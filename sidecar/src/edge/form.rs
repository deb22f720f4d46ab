//! Reads what a subscriber asks for in the body of its request: a filter can be longer than a URL may be on the way.
//!
//! It is a form with the parameters of the query, so that a client has one way to write them.
//!
//! Law: a form counts, and is waited for, as the head of a request. Who only reads takes nothing from publishers.

use std::time::Duration;

use bytes::Buf;
use http::{HeaderMap, Method, Response, StatusCode, header};
use warp::Stream;

use super::{
    problem::problem,
    publish::{Allowance, collect},
    routes::Service,
};
use crate::{event::essence, filter::MAX_SOURCE};

/// The safe method with a body (RFC 10008), which `http` has no name for.
const QUERY: &str = "QUERY";

/// What a form is sent as.
const MEDIA_TYPE: &str = "application/x-www-form-urlencoded";

/// What a form may have: the longest filter with each byte escaped, and what stands beside it.
const MOST: usize = MAX_SOURCE * 3 + 4 * 1024;

/// How long a form may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether what is asked for may stand in the body.
pub(super) fn has_body(method: &Method) -> bool {
    *method == Method::POST || method.as_str() == QUERY
}

/// The query of the URL, and what the body adds to it.
pub(super) async fn read<S, B>(
    query: String,
    headers: &HeaderMap,
    body: S,
    service: &Service,
) -> Result<String, Response<Vec<u8>>>
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    if !is_form(headers) {
        return Err(problem(
            "unsupported_media_type",
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("the body may be {MEDIA_TYPE}, with the parameters of the query"),
        ));
    }
    let too_large = || {
        let detail = format!("the form may have {MOST} bytes: shorten the filter");
        problem("too_large", StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    let allowance = Allowance { most: MOST, patience: PATIENCE, budget: &service.budgets.heads };
    let (body, _part) = collect(headers, body, (allowance, too_large), service).await?;
    let Ok(form) = String::from_utf8(body) else {
        let detail = format!("the body is no {MEDIA_TYPE}: escape what is not ASCII");
        return Err(problem("query", StatusCode::BAD_REQUEST, detail));
    };
    let parts = [query, form];
    Ok(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("&"))
}

/// Whether the body is said to be a form, of whatever charset.
fn is_form(headers: &HeaderMap) -> bool {
    let named = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    named.is_some_and(|named| essence(named).eq_ignore_ascii_case(MEDIA_TYPE))
}
