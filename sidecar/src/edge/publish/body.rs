//! Reads the body of a request, and counts what it takes of the memory.
//!
//! Law: nothing is kept that was not counted before. A body that announces its size is never copied for growing into
//! more than that.

use std::{future::poll_fn, pin::pin, time::Duration};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Response, StatusCode, header};
use tokio::time::{self, Instant};
use warp::Stream;

use super::{
    super::{
        problem::{problem, unavailable},
        routes::Service,
    },
    busy,
};
use crate::{
    count::retry_soon_ms,
    memory::{Budget, COPIES, Part},
};

/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is kept for a body before it has come, however large it says that it is.
const FIRST: usize = 64 * 1024;

/// What a body may take.
pub(in crate::edge) struct Allowance<'a> {
    /// So many bytes.
    pub(in crate::edge) most: usize,
    /// So much time, until it is whole.
    pub(in crate::edge) patience: Duration,
    /// Of this memory.
    pub(in crate::edge) budget: &'a Budget,
}

impl<'a> Allowance<'a> {
    /// What one may take that is posted, to be kept.
    pub(in crate::edge) const fn of_events(most: usize, service: &'a Service) -> Self {
        Self { most, patience: PATIENCE, budget: &service.budgets.bodies }
    }
}

/// Reads the body, and takes its part of the memory. What is larger than it may be is answered by `too_large`.
pub(in crate::edge) async fn collect<S, B>(
    headers: &HeaderMap,
    body: S,
    (allowance, too_large): (Allowance<'_>, impl Fn() -> Response<Vec<u8>>),
    service: &Service,
) -> Result<(Vec<u8>, Part), Response<Vec<u8>>>
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    let Allowance { most, patience, budget } = allowance;
    let mut body = pin!(body);
    let announced = announced(headers);
    if announced > most {
        return Err(too_large());
    }
    let mut part_of_memory = budget.part();
    let mut bytes = Vec::with_capacity(announced.min(FIRST));
    let deadline = Instant::now() + patience;
    loop {
        let next = tokio::select! {
            next = poll_fn(|cx| body.as_mut().poll_next(cx)) => next,
            () = time::sleep_until(deadline) => {
                let seconds = patience.as_secs();
                let detail = format!("the body took longer than {seconds} s: send less at once");
                return Err(problem("timeout", StatusCode::REQUEST_TIMEOUT, detail));
            }
            () = service.stopping.cancelled() => {
                let detail = "this replica is stopping: ask another";
                return Err(unavailable("unavailable", detail, retry_soon_ms()));
            }
        };
        let piece = match next {
            None => return Ok((bytes, part_of_memory)),
            Some(Ok(piece)) => whole(piece),
            Some(Err(_)) => {
                let detail = "the body ended before it was complete: send it again";
                return Err(problem("incomplete", StatusCode::BAD_REQUEST, detail));
            }
        };
        let size = bytes.len() + piece.len();
        if size > most {
            return Err(too_large());
        }
        if !part_of_memory.grow(size.saturating_mul(COPIES)) {
            return Err(busy(
                "as many bytes are on their way as there may be: send it again in a while",
            ));
        }
        make_room(&mut bytes, piece.len(), announced);
        bytes.extend_from_slice(&piece);
    }
}

/// How many bytes a body is announced to have; 0, where that is not said.
fn announced(headers: &HeaderMap) -> usize {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or(0)
}

/// Makes room for so many bytes more: twice of what there was, but not beyond what was announced.
fn make_room(bytes: &mut Vec<u8>, more: usize, announced: usize) {
    let needed = bytes.len() + more;
    if needed > bytes.capacity() {
        let doubled = needed.max(bytes.capacity() * 2);
        let wanted = if announced < needed { doubled } else { doubled.min(announced) };
        bytes.reserve_exact(wanted - bytes.len());
    }
}

fn whole(mut piece: impl Buf) -> Bytes {
    piece.copy_to_bytes(piece.remaining())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_grows_to_what_it_was_announced_to_have_and_no_further() {
        let mut bytes = Vec::new();
        for _ in 0..10 {
            make_room(&mut bytes, 100, 1_000);
            bytes.extend_from_slice(&[0; 100]);
            assert!(bytes.capacity() <= 1_000, "{}", bytes.capacity());
        }
        make_room(&mut bytes, 1, 0);
        assert!(bytes.capacity() >= 1_001);
    }
}
