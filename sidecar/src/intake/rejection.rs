//! Why a publish is refused, in words for its author, and the problem body that carries them.

use http::StatusCode;

use crate::event::{Flaw, JsonLimit, Unreadable, push_member, push_number, push_string};

/// A refused publish. Nothing of it was applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Rejection {
    /// The place of the bad event among those of the request, from 0; absent where the request as a
    /// whole is refused, or holds one event.
    pub index: Option<usize>,
    /// Why.
    pub reason: Reason,
}

/// Why a publish is refused. The message names the field and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// There is no event in it.
    #[error("the body is empty: post a JSON value, a CloudEvent or lines of JSON")]
    Empty,
    /// It claims to be JSON and isn't.
    #[error("{part} is not JSON: {message}, at line {line}, column {column}")]
    Json {
        /// What is meant.
        part: Part,
        /// What the parser met.
        message: Box<str>,
        /// The line in it, from 1.
        line: usize,
        /// The column in the line, from 1.
        column: usize,
    },
    /// It is JSON that not every reader can read.
    #[error("{part} can't be taken, at line {line}, column {column}: {limit}")]
    JsonLimit {
        /// What is meant.
        part: Part,
        /// Which limit it passes.
        limit: JsonLimit,
        /// The line in it, from 1.
        line: usize,
        /// The column in the line, from 1.
        column: usize,
    },
    /// It claims to be a CloudEvent and is no JSON object.
    #[error(
        "a CloudEvent must be a JSON object: to post plain JSON, set content-type: application/json"
    )]
    NoObject,
    /// It claims to be a batch and is no JSON array.
    #[error(
        "a batch must be a JSON array of CloudEvents: to post one CloudEvent, set content-type: \
         application/cloudevents+json"
    )]
    NoBatch,
    /// A header can't be read.
    #[error("the header {0} must be UTF-8 without control characters, after percent-decoding")]
    Header(Box<str>),
    /// The value of a header breaks a rule.
    #[error("the header {name} {fault}")]
    HeaderValue {
        /// The header.
        name: Box<str>,
        /// The rule.
        fault: Fault,
    },
    /// A header that says one thing says two.
    #[error("the header {0} is given twice: send it once")]
    HeaderTwice(Box<str>),
    /// One id for many events.
    #[error(
        "ce-id names one event, and each line of this body is one: send idempotency-key instead, which \
         is numbered by line"
    )]
    IdForLines,
    /// A payload is larger than the source takes.
    #[error(
        "the payload has {size} bytes, and the source takes {limit}: make it smaller, or raise \
         http.maxEventBytes of the source"
    )]
    TooLarge {
        /// The size, in bytes.
        size: usize,
        /// The most that is taken, in bytes.
        limit: usize,
    },
    /// A body is larger than one event can be.
    #[error(
        "the body has more than {most} bytes, and an event of this source {limit}: make it smaller, or raise \
         http.maxEventBytes of the source"
    )]
    BodyTooLarge {
        /// The most that is taken of a body, in bytes.
        most: usize,
        /// The most of a payload.
        limit: usize,
    },
    /// A body is larger than a batch may be.
    #[error(
        "the body has more than {most} bytes, the most of a batch here: split it into several requests"
    )]
    BatchTooLarge {
        /// The most that is taken, in bytes.
        most: usize,
    },
    /// What stands in the headers is too much for each of so many lines.
    #[error(
        "each line is given what stands in the headers, {size} bytes together where {limit} are taken: send \
         fewer lines at once, or shorter ce- headers"
    )]
    Repeated {
        /// How much it makes, in bytes.
        size: usize,
        /// The most that is taken.
        limit: usize,
    },
    /// More events than one request may hold.
    #[error("the body holds more than {limit} events: split it into several requests")]
    TooMany {
        /// The most that is taken.
        limit: usize,
    },
    /// A content type that is not understood.
    #[error(
        "content-type {0} is not taken: set application/json, application/x-ndjson, \
         application/cloudevents+json, application/cloudevents-batch+json, application/octet-stream or a \
         text type; a payload of any other type can be posted as a CloudEvent with ce- headers"
    )]
    MediaType(Box<str>),
    /// No content type, and it isn't JSON.
    #[error(
        "there is no content-type, and the body is not JSON: set content-type to what the body is"
    )]
    NoMediaType,
    /// A charset other than UTF-8 where JSON or text is claimed.
    #[error(
        "the charset {0} is not taken: post JSON and text in UTF-8, and any other as \
         application/octet-stream"
    )]
    Charset(Box<str>),
    /// A compressed body.
    #[error("content-encoding {0} is not taken: post the body uncompressed")]
    Encoding(Box<str>),
    /// An attribute of a CloudEvent breaks a rule.
    #[error("{name} {fault}")]
    Attribute {
        /// The attribute, or `data` or `data_base64`.
        name: Box<str>,
        /// The rule.
        fault: Fault,
    },
}

/// The part of a request in which lines and columns are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Part {
    /// All of it.
    #[error("the body")]
    Body,
    /// The payload of a CloudEvent in JSON.
    #[error("data")]
    Data,
    /// The same, encoded.
    #[error("what data_base64 stands for")]
    DataBase64,
}

/// The rule that an attribute breaks (CloudEvents 1.0, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is required.
    #[error("is missing: a CloudEvent must have specversion, id, source and type")]
    Missing,
    /// It has no characters.
    #[error("must not be empty: give it a value, or leave it out where it is optional")]
    Empty,
    /// It is set more than once.
    #[error("is given twice: remove one of them")]
    Twice,
    /// The name can't be that of an attribute.
    #[error("can't name an attribute: use lower-case letters and digits, and not the word data")]
    Name,
    /// The value is no string.
    #[error("must be a string")]
    NoString,
    /// The value has a type that no attribute has.
    #[error("must be a string, a boolean, or an integer of 32 bits")]
    Value,
    /// The value is too long.
    #[error("is too long: at most {0} bytes are taken")]
    TooLong(usize),
    /// There are too many extension attributes, or their names are too long.
    #[error("is one extension too many: at most {0} are taken")]
    TooMany(usize),
    /// The value holds control characters.
    #[error("must not hold control characters such as line breaks")]
    Control,
    /// Another version of CloudEvents.
    #[error("must be 1.0")]
    SpecVersion,
    /// No timestamp.
    #[error("must be a timestamp of RFC 3339, such as 2026-01-02T03:04:05Z")]
    Time,
    /// No media type.
    #[error("must be a media type, such as application/json")]
    MediaType,
    /// Two payloads.
    #[error("and data_base64 must not both be given: remove one of them")]
    BothData,
    /// A payload that is no string, though its type isn't JSON.
    #[error("must be a string, because datacontenttype is not JSON")]
    TextData,
    /// Broken base64.
    #[error("must be a string in base64, with padding (RFC 4648, section 4)")]
    Base64,
}

impl Reason {
    /// The error of a parser that began below `lines` lines of the body.
    pub(super) fn json(error: &serde_json::Error, lines: usize) -> Self {
        Self::unreadable(Unreadable::grammar(error), Part::Body, lines)
    }

    /// Why a part of a request is not taken, of which `lines` lines were looked at before.
    pub(super) fn unreadable(unreadable: Unreadable, part: Part, lines: usize) -> Self {
        let Unreadable { flaw, line, column } = unreadable;
        let line = line + lines;
        match flaw {
            Flaw::Grammar(message) => Self::Json { part, message, line, column },
            Flaw::Limit(limit) => Self::JsonLimit { part, limit, line, column },
        }
    }

    /// The status, the category and the title.
    const fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Empty => (StatusCode::BAD_REQUEST, "empty_body", "The body is empty"),
            Self::Json { .. } => (StatusCode::BAD_REQUEST, "invalid_json", "The body is not JSON"),
            Self::JsonLimit { .. } => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "unreadable_json",
                "The JSON is more than every reader reads",
            ),
            Self::Header(_)
            | Self::HeaderValue { .. }
            | Self::HeaderTwice(_)
            | Self::IdForLines => {
                (StatusCode::BAD_REQUEST, "invalid_header", "A header is invalid")
            }
            Self::TooLarge { .. } | Self::BodyTooLarge { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "event_too_large", "The event is too large")
            }
            Self::TooMany { .. } | Self::BatchTooLarge { .. } | Self::Repeated { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "batch_too_large", "The batch is too large")
            }
            Self::MediaType(_) | Self::NoMediaType | Self::Charset(_) | Self::Encoding(_) => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "The content type is not taken",
            ),
            Self::NoObject | Self::NoBatch | Self::Attribute { .. } => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_event",
                "The event is no valid CloudEvent",
            ),
        }
    }
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Self { index: None, reason }
    }
}

impl Rejection {
    /// The status of the answer: 400, 413, 415 or 422.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.reason.kind().0
    }

    /// A word for metric labels, one of eight.
    #[must_use]
    pub const fn category(&self) -> &'static str {
        self.reason.kind().1
    }

    /// The body of the answer, of type [`Problem::CONTENT_TYPE`].
    #[must_use]
    pub fn problem(&self) -> Vec<u8> {
        let (status, category, title) = self.reason.kind();
        let detail = self.reason.to_string();
        Problem { category, title, status, detail: &detail, index: self.index }.to_json()
    }
}

/// A problem, as RFC 9457 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Problem<'a> {
    /// The kind of problem, as a word; it ends the problem's `type`.
    pub category: &'a str,
    /// The kind of problem, in a few words that are the same for each of its kind.
    pub title: &'a str,
    /// The status of the answer.
    pub status: StatusCode,
    /// What is wrong here, and what to do about it.
    pub detail: &'a str,
    /// The place of the bad event in a batch, from 0.
    pub index: Option<usize>,
}

impl Problem<'_> {
    /// The media type of the body.
    pub const CONTENT_TYPE: &'static str = "application/problem+json";

    /// The body. The problem's type is a tag URI (RFC 4151), which names it and leads nowhere.
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
