//! As much of HTTP/1.1 as both ends of a measurement need. Sans-I/O.

use anyhow::{Result, ensure};

/// The nonce that every WebSocket client of the benchmark sends, and the accept value that proves that
/// a server understood it: the sample of RFC 6455, section 1.3.
pub(crate) const NONCE: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The type of a body of which each line is an event.
const LINES: &str = "application/x-ndjson";

/// More headers than any of the messages here has.
const HEADERS: usize = 32;

/// No head here comes near this; one that does is none.
const MAX_HEAD: usize = 16 * 1024;

/// What the head of a response says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    /// Its size in bytes.
    pub(crate) size: usize,
    pub(crate) chunked: bool,
    pub(crate) length: usize,
    /// Whether it accepts the WebSocket handshake.
    pub(crate) accepts: bool,
}

impl ResponseHead {
    /// Reads a head; `None` where more bytes are needed.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(size) = response.parse(bytes)? else {
            ensure!(bytes.len() < MAX_HEAD, "a response's head is longer than {MAX_HEAD} bytes");
            return Ok(None);
        };
        let has = |name, value| is(response.headers, name, value);
        Ok(Some(Self {
            status: response.code.unwrap_or_default(),
            size,
            chunked: has("transfer-encoding", "chunked"),
            length: length(response.headers)?,
            accepts: has("upgrade", "websocket") && has("sec-websocket-accept", ACCEPT),
        }))
    }
}

/// What the head of a request says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RequestHead {
    pub(crate) asks: Asks,
    /// The first part of the path: the pipeline.
    pub(crate) pipeline: String,
    /// Whether each line of the body is an event.
    pub(crate) lines: bool,
    /// Its size in bytes.
    pub(crate) size: usize,
    pub(crate) length: usize,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// To publish its body.
    Publish,
    /// For a WebSocket.
    WebSocket,
    /// For Server-Sent Events.
    Sse,
    /// Whether the server is ready.
    Probe,
}

impl RequestHead {
    /// Reads a head; `None` where more bytes are needed.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(size) = request.parse(bytes)? else {
            ensure!(bytes.len() < MAX_HEAD, "a request's head is longer than {MAX_HEAD} bytes");
            return Ok(None);
        };
        let asks = if request.method == Some("POST") {
            Asks::Publish
        } else if is(request.headers, "upgrade", "websocket") {
            Asks::WebSocket
        } else if is(request.headers, "accept", "text/event-stream") {
            Asks::Sse
        } else {
            Asks::Probe
        };
        let pipeline = request.path.and_then(|path| path.split('/').nth(1)).unwrap_or_default();
        Ok(Some(Self {
            asks,
            pipeline: pipeline.to_owned(),
            lines: is(request.headers, "content-type", LINES),
            size,
            length: length(request.headers)?,
        }))
    }
}

/// The request that publishes payloads, at least one, to a pipeline.
pub(crate) fn post(pipeline: &str, payloads: &[String]) -> Vec<u8> {
    let kind = if payloads.len() > 1 { LINES } else { "application/json" };
    let body = payloads.join("\n");
    format!(
        "POST /{pipeline}/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn is(headers: &[httparse::Header<'_>], name: &str, value: &str) -> bool {
    headers.iter().any(|header| {
        header.name.eq_ignore_ascii_case(name)
            && header.value.eq_ignore_ascii_case(value.as_bytes())
    })
}

fn length(headers: &[httparse::Header<'_>]) -> Result<usize> {
    let named = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case("content-length");
    match headers.iter().find(named) {
        Some(header) => Ok(std::str::from_utf8(header.value)?.trim().parse()?),
        None => Ok(0),
    }
}
