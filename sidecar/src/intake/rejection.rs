//! Why a publish is refused, and the problem body that says so.

use http::StatusCode;

use crate::event::{push_member, push_number, push_string};

/// A refused publish.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Rejection {
    /// The place of the bad event among those of the request, from 0; absent where the request as a
    /// whole is refused, or holds one event.
    pub index: Option<usize>,
    /// Why.
    pub reason: Reason,
}

/// Why a publish is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// There is no event in it.
    #[error("the body is empty: post a JSON value")]
    Empty,
}

impl Rejection {
    /// The status of the answer: 400, 413, 415 or 422.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self.reason {
            Reason::Empty => StatusCode::BAD_REQUEST,
        }
    }

    /// A word for metric labels, of a small set.
    #[must_use]
    pub const fn category(&self) -> &'static str {
        match self.reason {
            Reason::Empty => "empty",
        }
    }

    /// The body of the answer, of type `application/problem+json` (RFC 9457).
    #[must_use]
    pub fn problem(&self) -> Vec<u8> {
        let detail = self.to_string();
        Problem {
            category: self.category(),
            title: "",
            status: self.status(),
            detail: &detail,
            index: self.index,
        }
        .to_json()
    }
}

/// A problem, as RFC 9457 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Problem<'a> {
    /// The kind of problem, as a word.
    pub category: &'a str,
    /// The kind of problem, in a few words.
    pub title: &'a str,
    /// The status of the answer.
    pub status: StatusCode,
    /// This problem, and what to do about it.
    pub detail: &'a str,
    /// The place of the bad event in a batch.
    pub index: Option<usize>,
}

impl Problem<'_> {
    /// The media type of the body.
    pub const CONTENT_TYPE: &'static str = "application/problem+json";

    /// The body.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let Self { category, title, status, detail, index } = *self;
        let mut out = b"{\"type\":".to_vec();
        push_string(&mut out, &format!("tag:weir.dev,2026:problem/{category}"));
        push_member(&mut out, "title", title);
        out.extend_from_slice(b",\"status\":");
        push_number(&mut out, status.as_u16());
        push_member(&mut out, "detail", detail);
        if let Some(index) = index {
            out.extend_from_slice(b",\"index\":");
            push_number(&mut out, index);
        }
        out.push(b'}');
        out
    }
}
