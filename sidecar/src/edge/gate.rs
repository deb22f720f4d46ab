//! Asks a pipeline's guard about a request, and answers those whom it refuses.

use super::{
    problem::{not_found, problem, respond, retry_after},
    query::{self, SHOWING},
};
use crate::{
    auth::{self, Grant, Guard, Refusal, Right, Secret, Shown},
    count::retry_soon_ms,
    pipeline::Pipeline,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

/// What a URL may show, or must not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct InUrl {
    ticket: Option<Secret>,
    access_token: Option<Secret>,
}

impl InUrl {
    /// Finds it in a query, be that good or not.
    pub(super) fn of(query: &str) -> Self {
        let [ticket, access_token] =
            SHOWING.map(|name| query::first(query, name).map(Secret::from));
        Self { ticket, access_token }
    }

    pub(super) const fn beside<'a>(&'a self, headers: &'a HeaderMap) -> Shown<'a> {
        let Self { ticket, access_token } = self;
        Shown { headers, ticket: ticket.as_ref(), token_in_url: access_token.is_some() }
    }
}

/// Lets in whoever asks for something that has an end, or answers it.
pub(super) async fn admit(
    pipeline: &Pipeline,
    headers: &HeaderMap,
    in_url: &InUrl,
    right: Right,
) -> Result<Grant, Box<Response<Vec<u8>>>> {
    let guard = pipeline.guard();
    // A ticket opens a stream, and nothing else.
    let shown = Shown { ticket: None, ..in_url.beside(headers) };
    let granted = guard.authorize(shown, right).await;
    granted.map_err(|refusal| Box::new(refuse(guard, refusal)))
}

/// What a request does with durable streams; nothing where a browser asks what a page may do.
pub(super) fn right_to_streams(method: &Method) -> Option<Right> {
    match *method {
        Method::OPTIONS => None,
        Method::GET | Method::HEAD => Some(Right::Subscribe),
        _ => Some(Right::Append),
    }
}

/// Keeps what not everybody gets out of caches that many use, and has the others ask each time, so that
/// what is shown is looked at each time.
pub(super) fn keep_private(guard: &Guard, headers: &mut HeaderMap) {
    if guard.is_open() {
        return;
    }
    let said = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok());
    let private = match said {
        Some(said) if said.contains("no-store") => None,
        Some(said) if said.contains("no-transform") => Some("private, no-cache, no-transform"),
        Some(_) | None => Some("private, no-cache"),
    };
    if let Some(private) = private {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(private));
    }
    headers.append(header::VARY, HeaderValue::from_static("authorization, cookie"));
}

/// Exchanges a token for a ticket.
pub(super) async fn ticket(pipeline: &Pipeline, headers: &HeaderMap) -> Response<Vec<u8>> {
    let guard = pipeline.guard();
    let (Some(seconds), Some(issued)) = (guard.ticket_seconds(), guard.issue_ticket(headers).await)
    else {
        let name = &pipeline.config().name;
        let detail = format!("the pipeline {name} issues no tickets: set spec.auth.tickets");
        return not_found(detail);
    };
    match issued {
        Ok(ticket) => {
            let ticket = ticket.reveal();
            let body = serde_json::json!({ "ticket": ticket, "expires_in": seconds }).to_string();
            no_store(respond(StatusCode::OK, "application/json", body.into_bytes()))
        }
        Err(refusal) => refuse(guard, refusal),
    }
}

/// Answers a request that is refused.
pub(super) fn refuse(guard: &Guard, refusal: Refusal) -> Response<Vec<u8>> {
    let mut response = problem(refusal.label(), refusal.status(), refusal.to_string());
    let headers = response.headers_mut();
    if let Some(challenge) = guard.challenge(refusal)
        && let Ok(challenge) = HeaderValue::try_from(challenge)
    {
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    if refusal.is_passing() {
        retry_after(&mut response, retry_soon_ms());
    }
    no_store(response)
}

/// Answers a browser that asks what a page of another origin may do; `None` where that is not what is
/// asked, or not for the pipeline to say.
pub(super) fn preflight(
    guard: &Guard,
    method: &Method,
    headers: &HeaderMap,
) -> Option<Response<Vec<u8>>> {
    let cors = guard.cors()?;
    if *method != Method::OPTIONS || !auth::is_preflight(headers) {
        return None;
    }
    let Some(allowed) = cors.preflight(headers) else {
        let refused = guard.refuse_page();
        let mut response = refuse(guard, refused);
        cors.allow(headers, response.headers_mut());
        return Some(response);
    };
    let mut response = Response::new(Vec::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    *response.headers_mut() = allowed;
    Some(response)
}

fn no_store(mut response: Response<Vec<u8>>) -> Response<Vec<u8>> {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
