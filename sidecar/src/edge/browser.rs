//! Knows the browsers that open few connections to this port. Sans-I/O.

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

/// What a proxy adds to a request (RFC 7239, and what was there before it; RFC 9110, section 7.6.3).
const OF_PROXIES: [HeaderName; 3] =
    [header::VIA, header::FORWARDED, HeaderName::from_static("x-forwarded-for")];

/// What every browser's name begins with.
const MOZILLA: &[u8] = b"Mozilla/";

/// Whether a browser asks that has six connections to this port, for all of its tabs: over HTTP/1, and with no proxy
/// before it that may speak HTTP/2 to it.
pub(super) fn is_short_of_connections(version: Version, headers: &HeaderMap) -> bool {
    let is_browser = headers
        .get(header::USER_AGENT)
        .map(HeaderValue::as_bytes)
        .is_some_and(|name| name.starts_with(MOZILLA));
    version < Version::HTTP_2
        && is_browser
        && !OF_PROXIES.iter().any(|name| headers.contains_key(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_short_of_connections_over_http_1_without_a_proxy() {
        let firefox =
            (header::USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0");
        let by_proxy = (HeaderName::from_static("x-forwarded-for"), "192.0.2.7");
        let curl = (header::USER_AGENT, "curl/8.14.1");
        for (version, given, expected) in [
            (Version::HTTP_11, vec![firefox.clone()], true),
            (Version::HTTP_2, vec![firefox.clone()], false),
            (Version::HTTP_11, vec![firefox.clone(), by_proxy], false),
            (Version::HTTP_11, vec![firefox, (header::VIA, "1.1 edge")], false),
            (Version::HTTP_11, vec![curl], false),
            (Version::HTTP_11, Vec::new(), false),
        ] {
            let headers = given.into_iter();
            let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
            let headers: HeaderMap = headers.collect();
            assert_eq!(is_short_of_connections(version, &headers), expected, "{headers:?}");
        }
    }
}
