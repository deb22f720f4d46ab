//! Requests, good and bad, and what becomes of them.

mod bad;
mod good;
mod laws;

use std::time::UNIX_EPOCH;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;

const CONTEXT: Context<'static> =
    Context { source: "/orders/app", now: UNIX_EPOCH, max_event_bytes: 64, max_batch: 3 };

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |&(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
    };
    pairs.iter().map(pair).collect()
}

fn post(pairs: &[(&str, &str)], body: impl AsRef<[u8]>) -> Result<Vec<Posted>, Rejection> {
    decode(&headers(pairs), body.as_ref(), &CONTEXT).map(|decoded| decoded.events)
}

fn post_as(content_type: &str, body: impl AsRef<[u8]>) -> Result<Vec<Posted>, Rejection> {
    post(&[("content-type", content_type)], body)
}
