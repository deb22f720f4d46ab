//! The opening handshake: whether a request asks for a WebSocket, and the key that accepts it.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use sha1::{Digest, Sha1};

use super::{Agreement, Offer, OfferError, Subprotocol};

/// What every server appends to the client's key (RFC 6455, section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a request can't be upgraded to a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// It doesn't ask for it: answer with 426 and `upgrade: websocket`.
    #[error(
        "this address serves a WebSocket: open it with the headers connection: upgrade and upgrade: \
         websocket"
    )]
    NotAnUpgrade,
    /// It came over HTTP/2, where a WebSocket is opened in another way: answer with 400.
    #[error(
        "over HTTP/2 a WebSocket is opened by CONNECT with :protocol websocket (RFC 8441): use that, or \
         HTTP/1.1"
    )]
    NotATunnel,
    /// It asks for another version: answer with 426 and `sec-websocket-version: 13`.
    #[error("sec-websocket-version must be 13")]
    Version,
    /// Its key is missing or isn't 16 bytes in base64: answer with 400.
    #[error("sec-websocket-key must be 16 random bytes in base64")]
    Key,
    /// What it offers can't be read: answer with 400.
    #[error(transparent)]
    Extensions(#[from] OfferError),
}

/// What a request for a WebSocket comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// The value of `sec-websocket-accept`; inside a stream of HTTP/2 there is none.
    pub accept: Option<String>,
    /// What the client can do about compression.
    pub offer: Offer,
}

/// Checks the headers of a GET over HTTP/1.1 (RFC 6455, section 4.2.1).
///
/// # Errors
///
/// Says what a client has to change.
pub fn handshake(headers: &HeaderMap) -> Result<Handshake, HandshakeError> {
    let upgrades = has_token(headers, &header::CONNECTION, "upgrade")
        && has_token(headers, &header::UPGRADE, "websocket");
    if !upgrades {
        return Err(HandshakeError::NotAnUpgrade);
    }
    check_version(headers)?;
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or(HandshakeError::Key)?.as_bytes();
    let is_nonce = STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16);
    if !is_nonce {
        return Err(HandshakeError::Key);
    }
    Ok(Handshake { accept: Some(accept_key(key)), offer: Offer::of(headers)? })
}

/// Checks the headers of a CONNECT over HTTP/2 whose `:protocol` is `websocket` (RFC 8441, section 5).
///
/// # Errors
///
/// Says what a client has to change.
pub fn tunnel_handshake(headers: &HeaderMap) -> Result<Handshake, HandshakeError> {
    check_version(headers)?;
    Ok(Handshake { accept: None, offer: Offer::of(headers)? })
}

impl Handshake {
    /// The head of the answer that begins the connection. Inside a stream of HTTP/2 the stream is open
    /// already, and there is no key to answer (RFC 8441, section 5).
    #[must_use]
    pub fn answer(
        &self,
        subprotocol: Option<Subprotocol>,
        agreement: Option<Agreement>,
    ) -> Response<()> {
        let mut head = Response::new(());
        if self.accept.is_some() {
            *head.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = head.headers_mut();
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        for (name, value) in [
            (header::SEC_WEBSOCKET_ACCEPT, self.accept.clone()),
            (header::SEC_WEBSOCKET_PROTOCOL, subprotocol.map(|known| known.name().to_owned())),
            (header::SEC_WEBSOCKET_EXTENSIONS, agreement.map(Agreement::answer)),
        ] {
            // All of these are made of what may stand in a header.
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                head.headers_mut().insert(name, value);
            }
        }
        head
    }
}

fn check_version(headers: &HeaderMap) -> Result<(), HandshakeError> {
    let version = headers.get(header::SEC_WEBSOCKET_VERSION);
    version.filter(|version| *version == "13").map(drop).ok_or(HandshakeError::Version)
}

/// The value of `sec-websocket-accept` for a client's key (RFC 6455, section 4.2.2).
#[must_use]
pub fn accept_key(key: &[u8]) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// Whether one of the comma-separated tokens of a header is `token`.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn browser() -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("connection", HeaderValue::from_static("keep-alive, Upgrade"));
        headers.insert("upgrade", HeaderValue::from_static("WebSocket"));
        headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
        headers.insert("sec-websocket-key", HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        headers
    }

    #[test]
    fn the_example_of_the_standard_is_accepted() {
        let accepted = handshake(&browser()).unwrap();
        let accept = Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned());
        assert_eq!(accepted, Handshake { accept, offer: Offer::None });
    }

    #[test]
    fn extensions_that_can_not_be_read_are_refused() {
        let mut headers = browser();
        headers.insert("sec-websocket-extensions", HeaderValue::from_static("permessage-deflate;"));
        assert_eq!(handshake(&headers), Err(HandshakeError::Extensions(OfferError)));
    }

    #[test]
    fn what_is_no_proper_handshake_is_refused_with_its_remedy() {
        for (name, value, expected) in [
            ("connection", "keep-alive", HandshakeError::NotAnUpgrade),
            ("upgrade", "h2c", HandshakeError::NotAnUpgrade),
            ("sec-websocket-version", "8", HandshakeError::Version),
            ("sec-websocket-key", "c2hvcnQ=", HandshakeError::Key),
            ("sec-websocket-key", "not base64", HandshakeError::Key),
        ] {
            let mut headers = browser();
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(handshake(&headers), Err(expected), "{name}: {value}");
            headers.remove(name);
            assert_eq!(handshake(&headers), Err(expected), "without {name}");
        }
    }
}
