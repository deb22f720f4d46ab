//! Answers what can't be done with a problem document (RFC 9457).

use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use crate::intake;

/// Stands among the extensions of an answer that refuses something: the word that says why.
#[derive(Debug, Clone, Copy)]
pub(super) struct Category(pub(super) &'static str);

/// A response that says what can't be done, and what to do instead. The category is a word of a small
/// set.
pub(super) fn problem(
    category: &'static str,
    status: StatusCode,
    detail: impl AsRef<str>,
) -> Response<Vec<u8>> {
    let title = status.canonical_reason().unwrap_or("Error");
    let problem = intake::Problem { category, title, status, detail: detail.as_ref(), index: None };
    refusal(category, status, problem.to_json())
}

/// The same, of which the document is made.
pub(super) fn refusal(
    category: &'static str,
    status: StatusCode,
    problem: Vec<u8>,
) -> Response<Vec<u8>> {
    let mut response = respond(status, intake::Problem::CONTENT_TYPE, problem);
    response.extensions_mut().insert(Category(category));
    response
}

/// What can't be done now, and may be tried again after so many milliseconds.
pub(super) fn unavailable(
    category: &'static str,
    detail: impl AsRef<str>,
    retry_ms: u64,
) -> Response<Vec<u8>> {
    let mut response = problem(category, StatusCode::SERVICE_UNAVAILABLE, detail);
    retry_after(&mut response, retry_ms);
    response
}

/// Says when to try again, which is for whoever asked now: no cache gives it to others.
pub(super) fn retry_after(response: &mut Response<Vec<u8>>, retry_ms: u64) {
    set(response, header::RETRY_AFTER, &retry_ms.div_ceil(1_000).to_string());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// No such pipeline, or no such endpoint of it.
pub(super) fn not_found(detail: impl AsRef<str>) -> Response<Vec<u8>> {
    problem("not_found", StatusCode::NOT_FOUND, detail)
}

/// A response of a status, a media type and a body.
pub(crate) fn respond(
    status: StatusCode,
    media_type: &'static str,
    body: Vec<u8>,
) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// Sets a header. What can't be one, which nothing of ours is, is left out.
pub(super) fn set<T>(response: &mut Response<T>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
