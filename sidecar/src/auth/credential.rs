//! Finds in a request what says who sent it. Sans-I/O.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, header};

use super::{origins::Origins, refusal::Refusal, secret::Secret};

/// The largest token that is looked at; tokens with many groups have a few KiB.
const MOST_BYTES: usize = 16 * 1024;

/// What stands before a token in `sec-websocket-protocol`.
const SUBPROTOCOL: &str = "bearer.";

/// What a request shows, before anybody has looked at it.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// The headers.
    pub headers: &'a HeaderMap,
    /// `?ticket=`
    pub ticket: Option<&'a Secret>,
    /// Whether there is an `?access_token=`.
    pub token_in_url: bool,
}

/// What says who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Nothing.
    Nothing,
    /// A JWT.
    Token(Secret),
    /// A ticket that a JWT was exchanged for.
    Ticket(Secret),
}

/// A cookie that may hold a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CookieRule {
    /// Its name.
    pub name: String,
    /// The origins whose pages may use it.
    pub origins: Origins,
}

/// Finds the credential. What a client sends on purpose goes before the cookie, which a browser adds by
/// itself and which may be an old one.
///
/// # Errors
///
/// Says what is wrong with the form in which it is shown.
pub(super) fn find(shown: Shown<'_>, cookie: Option<&CookieRule>) -> Result<Credential, Refusal> {
    let Shown { headers, ticket, token_in_url: _ } = shown;
    if let Some(token) = in_authorization(headers)? {
        return Ok(Credential::Token(token));
    }
    if let Some(token) = in_subprotocol(headers)? {
        return Ok(Credential::Token(token));
    }
    if let Some(ticket) = ticket {
        return Ok(Credential::Ticket(ticket.clone()));
    }
    if let Some(CookieRule { name, origins }) = cookie
        && let Some(token) = in_cookie(headers, name)?
    {
        let allowed = origins.allow_ambient(headers);
        return if allowed { Ok(Credential::Token(token)) } else { Err(Refusal::Origin) };
    }
    Ok(Credential::Nothing)
}

/// `Authorization: Bearer TOKEN` (RFC 6750, section 2.1). Other schemes are for others.
fn in_authorization(headers: &HeaderMap) -> Result<Option<Secret>, Refusal> {
    let mut found = None;
    for value in headers.get_all(header::AUTHORIZATION) {
        let Ok(value) = value.to_str() else { continue };
        let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            continue;
        }
        if found.replace(bounded(token.trim_matches(' '))?).is_some() {
            return Err(Refusal::Malformed);
        }
    }
    Ok(found)
}

/// `Sec-WebSocket-Protocol: weir.v1, bearer.TOKEN`. The token stands there as it is or, for those who
/// would rather not have its dots there, once more in base64url.
fn in_subprotocol(headers: &HeaderMap) -> Result<Option<Secret>, Refusal> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let mut entries = values.flat_map(|value| value.split(',')).map(str::trim);
    let Some(text) = entries.find_map(|entry| entry.strip_prefix(SUBPROTOCOL)) else {
        return Ok(None);
    };
    if text.contains('.') {
        return bounded(text).map(Some);
    }
    let decoded = URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Malformed)?;
    let decoded = String::from_utf8(decoded).map_err(|_| Refusal::Malformed)?;
    bounded(&decoded).map(Some)
}

fn in_cookie(headers: &HeaderMap, name: &str) -> Result<Option<Secret>, Refusal> {
    let values = headers.get_all(header::COOKIE).into_iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|p| p.split_once('='));
    let value = pairs.find_map(|(key, value)| (key.trim() == name).then(|| value.trim()));
    value.map(|value| bounded(value.trim_matches('"'))).transpose()
}

fn bounded(token: &str) -> Result<Secret, Refusal> {
    let fits = !token.is_empty() && token.len() <= MOST_BYTES;
    if fits { Ok(Secret::from(token)) } else { Err(Refusal::Malformed) }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn cookie() -> CookieRule {
        let origins = Origins::new(&["https://shop.example".to_owned()]);
        CookieRule { name: "session".to_owned(), origins }
    }

    fn found(pairs: &[(&str, &str)]) -> Result<Credential, Refusal> {
        let headers = headers(pairs);
        let shown = Shown { headers: &headers, ticket: None, token_in_url: false };
        find(shown, Some(&cookie()))
    }

    fn token(text: &str) -> Result<Credential, Refusal> {
        Ok(Credential::Token(Secret::from(text)))
    }

    #[test]
    fn a_token_is_found_in_each_of_its_places() {
        let encoded = format!("weir.v1, bearer.{}", URL_SAFE_NO_PAD.encode("a.b.c"));
        for pairs in [
            &[("authorization", "Bearer a.b.c")][..],
            &[("authorization", "bEARER   a.b.c ")],
            &[("authorization", "Basic eDp5"), ("authorization", "Bearer a.b.c")],
            &[("sec-websocket-protocol", "weir.v1, bearer.a.b.c")],
            &[("sec-websocket-protocol", "bearer.a.b.c"), ("sec-websocket-protocol", "weir.v1")],
            &[("sec-websocket-protocol", &encoded)],
            &[("cookie", "a=b; session=a.b.c"), ("origin", "https://shop.example")],
            &[("cookie", "session=\"a.b.c\""), ("sec-fetch-site", "same-origin")],
        ] {
            assert_eq!(found(pairs), token("a.b.c"), "{pairs:?}");
        }
    }

    #[test]
    fn what_is_meant_goes_before_what_a_browser_adds() {
        let cookie_too = [("cookie", "session=o.l.d"), ("origin", "https://evil.example")];
        let mut pairs = vec![("authorization", "Bearer a.b.c")];
        pairs.extend(cookie_too);
        assert_eq!(found(&pairs), token("a.b.c"));
        let headers = headers(&cookie_too);
        let ticket = Secret::from("t");
        let shown = Shown { headers: &headers, ticket: Some(&ticket), token_in_url: false };
        assert_eq!(find(shown, Some(&cookie())), Ok(Credential::Ticket(ticket.clone())));
    }

    #[test]
    fn a_cookie_of_a_foreign_page_is_refused_and_other_cookies_are_nothing() {
        let foreign = [("cookie", "session=a.b.c"), ("origin", "https://evil.example")];
        assert_eq!(found(&foreign), Err(Refusal::Origin));
        assert_eq!(found(&[("cookie", "session=a.b.c")]), Err(Refusal::Origin));
        assert_eq!(found(&[("cookie", "sessions=a.b.c; xsession=1")]), Ok(Credential::Nothing));
    }

    #[test]
    fn what_is_no_token_is_refused_or_another_s() {
        let long = format!("Bearer {}", "x".repeat(MOST_BYTES + 1));
        for pairs in [
            &[("authorization", "Bearer")][..],
            &[("authorization", "Bearer ")],
            &[("authorization", &long)],
            &[("authorization", "Bearer a.b.c"), ("authorization", "Bearer a.b.c")],
            &[("sec-websocket-protocol", "bearer.")],
            &[("sec-websocket-protocol", "bearer.!")],
        ] {
            assert_eq!(found(pairs), Err(Refusal::Malformed), "{pairs:?}");
        }
        assert_eq!(found(&[("authorization", "Basic eDp5")]), Ok(Credential::Nothing));
        assert_eq!(found(&[]), Ok(Credential::Nothing));
    }
}
