//! The heads of responses, as each version of HTTP writes them.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, Response, header};

use crate::hub::Framing;

/// Headers about the connection, which HTTP/2 has other means for and forbids (RFC 9113, section 8.2.2).
const OF_THE_CONNECTION: [HeaderName; 3] =
    [header::CONNECTION, header::UPGRADE, header::TRANSFER_ENCODING];

/// The bytes of a head over HTTP/1.1.
pub(super) fn http1(mut head: Response<()>, framing: Framing) -> Vec<u8> {
    let is_stream = head.status().is_success();
    let headers = head.headers_mut();
    date(headers);
    if is_stream {
        let (name, value) = match framing {
            Framing::Chunked => (header::TRANSFER_ENCODING, "chunked"),
            Framing::Bare => (header::CONNECTION, "close"),
        };
        headers.insert(name, HeaderValue::from_static(value));
    }
    let mut bytes = Vec::with_capacity(256);
    let reason = head.status().canonical_reason().unwrap_or_default();
    bytes.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", head.status().as_u16()).as_bytes());
    for (name, value) in head.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// Makes a head fit for HTTP/2.
pub(super) fn http2(headers: &mut HeaderMap) {
    for name in OF_THE_CONNECTION {
        headers.remove(name);
    }
    date(headers);
}

/// Whoever has a clock says what time it is (RFC 9110, section 6.6.1).
fn date(headers: &mut HeaderMap) {
    let now = httpdate::fmt_http_date(SystemTime::now());
    if let Ok(now) = HeaderValue::try_from(now) {
        headers.entry(header::DATE).or_insert(now);
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn written(status: StatusCode, framing: Framing) -> String {
        let mut head = Response::new(());
        *head.status_mut() = status;
        head.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        String::from_utf8(http1(head, framing)).unwrap()
    }

    #[test]
    fn a_stream_says_how_it_is_delimited_and_an_upgrade_does_not() {
        let chunked = written(StatusCode::OK, Framing::Chunked);
        assert!(chunked.starts_with("HTTP/1.1 200 OK\r\nupgrade: websocket\r\ndate: "));
        assert!(chunked.ends_with(" GMT\r\ntransfer-encoding: chunked\r\n\r\n"), "{chunked}");
        assert!(written(StatusCode::OK, Framing::Bare).ends_with("\r\nconnection: close\r\n\r\n"));
        let upgrade = written(StatusCode::SWITCHING_PROTOCOLS, Framing::Bare);
        assert!(upgrade.starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
        assert!(upgrade.ends_with(" GMT\r\n\r\n"), "{upgrade}");
    }

    #[test]
    fn http2_says_nothing_about_the_connection() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        http2(&mut headers);
        assert_eq!(headers.len(), 2);
        assert!(headers.contains_key(header::RETRY_AFTER) && headers.contains_key(header::DATE));
    }
}
