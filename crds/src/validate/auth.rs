//! Checks who may subscribe and publish, and which pages may.

use super::{Violations, secret::check_secret_key};
use crate::v1alpha1::{Auth, ClaimRule, Cookie, Cors, Gateway, Jwt, Placement, Tickets};

/// An origin as a browser writes it, as a regular expression.
#[cfg(feature = "kube")]
pub(crate) const ORIGIN: &str =
    "^https?://([a-z0-9]([-.a-z0-9]*[a-z0-9])?|[[][0-9a-f:]+[]])(:[0-9]+)?$";

pub(super) fn check_auth(found: &mut Violations, auth: &Auth, placement: &Placement) {
    let Auth { anonymous, jwt, cookie, tickets } = auth;
    found.require(
        jwt.is_some() || *anonymous,
        "spec.auth",
        "set jwt, or anonymous: true, or nobody could subscribe",
    );
    found.require(
        jwt.is_some() || (cookie.is_none() && tickets.is_none()),
        "spec.auth.jwt",
        "must be set beside cookie and tickets, which stand for its tokens",
    );
    if let Some(jwt) = jwt {
        check_jwt(found, jwt);
    }
    if let Some(Cookie { name, allowed_origins }) = cookie {
        found.require(
            is_cookie_name(name) && name.len() <= 256,
            "spec.auth.cookie.name",
            "must be a cookie's name: letters, digits and punctuation, without spaces, quotes and \
             semicolons",
        );
        check_origins(found, "spec.auth.cookie.allowedOrigins", allowed_origins, is_origin);
    }
    if let Some(Tickets { ttl }) = tickets {
        found.within("spec.auth.tickets.ttl", ttl, "5s", "5m");
        let replicas = placement.gateway.as_ref().map_or(1, Gateway::most_replicas);
        found.require(
            replicas <= 1,
            "spec.auth.tickets",
            "are in the memory of one replica: set placement.gateway.replicas to 1 without autoscaling, or \
             remove auth.tickets",
        );
    }
}

fn check_jwt(found: &mut Violations, jwt: &Jwt) {
    let Jwt {
        issuer,
        audiences,
        jwks_url,
        ca,
        jwks,
        leeway,
        required_claims,
        subscribe,
        filter,
        publish,
    } = jwt;
    let field = "spec.auth.jwt";
    found.length(format!("{field}.issuer"), issuer, 1024);
    found.texts(&format!("{field}.audiences"), audiences, 16, 1024);
    found.require(
        jwks_url.is_some() != jwks.is_some(),
        field,
        "set exactly one of jwksUrl and jwks",
    );
    if let Some(url) = jwks_url {
        found.require(
            is_url(url) && url.len() <= 2048,
            format!("{field}.jwksUrl"),
            "must be a URL such as https://id.example.org/.well-known/jwks.json",
        );
    }
    if let Some(ca) = ca {
        check_secret_key(found, &format!("{field}.ca"), ca);
        found.require(
            jwks_url.as_ref().is_some_and(|url| url.starts_with("https://")),
            format!("{field}.ca"),
            "vouches for the server of a jwksUrl that begins with https://: set such a one, or remove ca",
        );
    }
    if let Some(jwks) = jwks {
        check_secret_key(found, &format!("{field}.jwks"), jwks);
    }
    found.within(format!("{field}.leeway"), leeway, "0s", "2m");
    if !required_claims.is_empty() {
        found.texts(&format!("{field}.requiredClaims"), required_claims, 16, 256);
    }
    if let Some(filter) = filter {
        found.length(format!("{field}.filter"), filter, 2048);
    }
    for (right, rule) in [("subscribe", subscribe), ("publish", publish)] {
        if let Some(ClaimRule { claim, any_of }) = rule {
            found.length(format!("{field}.{right}.claim"), claim, 256);
            found.texts(&format!("{field}.{right}.anyOf"), any_of, 16, 256);
        }
    }
}

pub(super) fn check_cors(found: &mut Violations, cors: &Cors) {
    let Cors { allowed_origins, allow_credentials, max_age } = cors;
    let field = "spec.endpoints.cors.allowedOrigins";
    check_origins(found, field, allowed_origins, |origin| origin == "*" || is_origin(origin));
    let all = allowed_origins.iter().any(|origin| origin == "*");
    found.require(
        !all || (allowed_origins.len() == 1 && !allow_credentials),
        field,
        "'*' must stand alone, and without allowCredentials: name the origins instead",
    );
    found.within("spec.endpoints.cors.maxAge", max_age, "0s", "24h");
}

fn check_origins(
    found: &mut Violations,
    field: &str,
    origins: &[String],
    is_origin: impl Fn(&str) -> bool,
) {
    found.texts(field, origins, 32, 256);
    found.require(
        origins.iter().all(|origin| origin.len() > 256 || is_origin(origin)),
        field,
        "an origin must be scheme and host, and a port where it is not the usual one, such as \
         https://shop.example.org, in lower case and without a path",
    );
}

fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest else { return false };
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            let digits = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f' | b':');
            return !address.is_empty() && address.bytes().all(digits) && is_port(port);
        }
        None => rest.find(':').map_or((rest, ""), |at| rest.split_at(at)),
    };
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    let outer = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    host.bytes().all(inner)
        && outer(host.bytes().next())
        && outer(host.bytes().next_back())
        && is_port(port)
}

/// Nothing, or a colon and digits.
fn is_port(text: &str) -> bool {
    let digits = text.strip_prefix(':');
    text.is_empty()
        || digits.is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))
}

/// Scheme, authority without a user, then a path or a query; no fragment and no blank.
fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest else { return false };
    let blank = |c: char| matches!(c, '\t' | '\n' | '\x0b' | '\x0c' | '\r' | ' ');
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, _) = rest.split_at(end);
    !authority.is_empty()
        && !authority.contains('@')
        && !rest.contains('#')
        && !rest.contains(blank)
}

fn is_cookie_name(name: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"-!#$%&'*+.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_a_browser_writes() {
        for origin in [
            "https://shop.example.org",
            "http://localhost:3000",
            "http://127.0.0.1",
            "http://[::1]:8080",
            "https://a",
        ] {
            assert!(is_origin(origin), "{origin}");
        }
        for text in [
            "",
            "*",
            "null",
            "shop.example.org",
            "https://",
            "https://a/",
            "https://a:",
            "https://a:x",
            "https://A.example",
            "https://a b",
            "ftp://a",
            "https://-a",
            "https://a.",
            "http://[::1",
            "http://[]",
            "https://u@a",
            "https://a:1:2",
        ] {
            assert!(!is_origin(text), "{text}");
        }
    }

    #[test]
    fn a_url_has_a_host_and_no_user_and_no_fragment() {
        for url in ["https://a", "http://a:1/b?c", "https://a?b", "https://[::1]/x"] {
            assert!(is_url(url), "{url}");
        }
        for text in
            ["", "a", "https://", "https:///a", "https://u@a/", "https://a/#b", "https://a b"]
        {
            assert!(!is_url(text), "{text}");
        }
    }
}
