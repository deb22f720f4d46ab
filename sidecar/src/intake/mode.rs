//! Tells from the headers in which of the forms a request carries its events.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::Reason;
use crate::event::{essence, is_json, is_text};

/// The form of a request (CloudEvents HTTP binding, section 3, and what is no CloudEvent).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode<'a> {
    /// One CloudEvent in JSON.
    Structured,
    /// A list of CloudEvents in JSON.
    Batch,
    /// A CloudEvent whose attributes are headers and whose payload is the body, of any type.
    Binary { content_type: Option<&'a str> },
    /// A plain JSON value.
    Json { content_type: &'a str },
    /// A plain JSON value per line.
    Lines,
    /// Text or bytes.
    Opaque { content_type: &'a str },
    /// Nothing says what it is.
    Undeclared,
}

impl<'a> Mode<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Result<Self, Reason> {
        check_encoding(headers)?;
        let binary = headers.contains_key("ce-specversion");
        let Some(value) = once(headers, &header::CONTENT_TYPE)? else {
            return Ok(if binary { Self::Binary { content_type: None } } else { Self::Undeclared });
        };
        let content_type = value.to_str().map_err(|_| Reason::Header("content-type".into()))?;
        let mode = Self::of_content_type(content_type, binary)?;
        mode.check_charset(content_type)?;
        Ok(mode)
    }

    fn of_content_type(content_type: &'a str, binary: bool) -> Result<Self, Reason> {
        let lower = essence(content_type).to_ascii_lowercase();
        match lower.as_str() {
            "application/cloudevents+json" => Ok(Self::Structured),
            "application/cloudevents-batch+json" => Ok(Self::Batch),
            cloudevents if cloudevents.starts_with("application/cloudevents") => {
                Err(Reason::MediaType(content_type.into()))
            }
            _ if binary => Ok(Self::Binary { content_type: Some(content_type) }),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(Self::Lines),
            json if is_json(json) => Ok(Self::Json { content_type }),
            "application/octet-stream" => Ok(Self::Opaque { content_type }),
            text if text.starts_with("text/") => Ok(Self::Opaque { content_type }),
            _ => Err(Reason::MediaType(content_type.into())),
        }
    }

    /// JSON is UTF-8 (RFC 8259, section 8.1), and so is text, which stands in the JSON and in the lines that
    /// subscribers get.
    fn check_charset(self, content_type: &str) -> Result<(), Reason> {
        let is_told = match self {
            Self::Structured | Self::Batch | Self::Json { .. } | Self::Lines => true,
            Self::Binary { .. } | Self::Opaque { .. } => {
                is_json(content_type) || is_text(content_type)
            }
            Self::Undeclared => false,
        };
        match charset(content_type) {
            Some(charset) if is_told && !is_utf8(charset) => Err(Reason::Charset(charset.into())),
            Some(_) | None => Ok(()),
        }
    }
}

/// A header that says one thing.
pub(super) fn once<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, Reason> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(Reason::HeaderTwice(name.as_str().into())),
    }
}

fn check_encoding(headers: &HeaderMap) -> Result<(), Reason> {
    let encodings = headers.get_all(header::CONTENT_ENCODING).into_iter();
    let mut other = encodings.filter(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
    match other.next() {
        Some(value) => Err(Reason::Encoding(String::from_utf8_lossy(value.as_bytes()).into())),
        None => Ok(()),
    }
}

fn charset(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    })
}

fn is_utf8(charset: &str) -> bool {
    ["utf-8", "utf8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known))
}
