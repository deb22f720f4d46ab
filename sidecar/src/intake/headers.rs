//! Reads attributes from headers (CloudEvents HTTP binding, section 3.1.3).

use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode;

use super::{Draft, Reason, mode::once};
use crate::event::{Extension, TRACEPARENT, TraceId};

/// What every header that carries an attribute begins with.
const PREFIX: &str = "ce-";

/// The header of the IETF draft of that name: whoever repeats a request repeats it.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Lets events that name no trace belong to that of their request (CloudEvents extension for distributed
/// tracing), as far as there is room for an attribute more. What is no `traceparent` is passed over, as its
/// standard says.
pub(super) fn carry_trace(headers: &HeaderMap, drafts: &mut [Draft<'_>]) {
    let sent = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
    let Some(traceparent) = sent.filter(|text| TraceId::of(text).is_some()) else { return };
    for draft in drafts {
        // It can only fail where the event has one, or as many as it may.
        let _ = draft.set(TRACEPARENT, Extension::Text(traceparent.into()));
    }
}

/// A draft with the attributes in the `ce-` headers.
pub(super) fn attributes<'a>(headers: &HeaderMap) -> Result<Draft<'a>, Reason> {
    let mut draft = Draft::default();
    for (header, value) in headers {
        let name = header.as_str().strip_prefix(PREFIX);
        // The type of the payload is what `content-type` says, and has no header of its own.
        if let Some(name) = name.filter(|&name| name != "datacontenttype") {
            let text = text(header, value.as_bytes())?;
            draft.set(name, Extension::Text(text))?;
        }
    }
    Ok(draft)
}

/// The key that makes a request without CloudEvents' id idempotent. The draft has it as a string of
/// structured fields, in quotes; most clients leave these away.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<Box<str>>, Reason> {
    let Some(value) = once(headers, &IDEMPOTENCY_KEY)? else { return Ok(None) };
    let mut draft = Draft::default();
    let key = text(&IDEMPOTENCY_KEY, value.as_bytes())?;
    match draft.set("id", Extension::Text(key)) {
        Ok(()) => Ok(draft.id),
        Err(Reason::Attribute { name: _, fault }) => {
            Err(Reason::HeaderValue { name: IDEMPOTENCY_KEY.as_str().into(), fault })
        }
        Err(other) => Err(other),
    }
}

/// The text of a header's value: quotes are taken off, then percent-encoding, once.
fn text(header: &HeaderName, value: &[u8]) -> Result<Box<str>, Reason> {
    let unquoted = unquote(value);
    match percent_decode(&unquoted).decode_utf8() {
        Ok(text) => Ok(text.into()),
        Err(_) => Err(Reason::Header(header.as_str().into())),
    }
}

/// The content of a quoted string (RFC 9110, section 5.6.4), and everything else as it is.
fn unquote(value: &[u8]) -> Vec<u8> {
    let [b'"', inner @ .., b'"'] = value else { return value.to_vec() };
    let mut escaped = false;
    let unescape = |&byte: &u8| {
        escaped = byte == b'\\' && !escaped;
        (!escaped).then_some(byte)
    };
    inner.iter().filter_map(unescape).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn id(value: &'static [u8]) -> Result<Option<Box<str>>, Reason> {
        let mut headers = HeaderMap::new();
        headers.insert("ce-id", HeaderValue::from_bytes(value).unwrap());
        attributes(&headers).map(|draft| draft.id)
    }

    #[test]
    fn a_value_is_unquoted_and_then_percent_decoded_once() {
        for (value, expected) in [
            (&b"plain"[..], "plain"),
            (b"Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro \u{20ac} \u{1f600}"),
            (b"%2541", "%41"),
            (b"100%", "100%"),
            (b"\"a \\\"b\\\" \\\\ c\"", "a \"b\" \\ c"),
            (b"\"%41\"", "A"),
            (b"\"", "\""),
            ("é".as_bytes(), "é"),
        ] {
            assert_eq!(id(value).unwrap().as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_value_that_is_no_utf_8_is_refused_by_its_name() {
        assert_eq!(id(b"%ff"), Err(Reason::Header("ce-id".into())));
        assert_eq!(id(b"\xff"), Err(Reason::Header("ce-id".into())));
    }

    #[test]
    fn a_line_break_can_not_be_smuggled_in_by_percent_encoding() {
        assert!(id(b"a%0Adata:%20b").is_err());
        assert!(refused_key("a%0D").contains("must not hold control characters"));
    }

    fn refused_key(value: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", HeaderValue::from_str(value).unwrap());
        idempotency_key(&headers).unwrap_err().to_string()
    }

    #[test]
    fn a_key_is_refused_for_what_is_wrong_with_it() {
        for (key, said) in [
            ("".to_owned(), "must not be empty"),
            ("\"\"".to_owned(), "must not be empty"),
            ("k".repeat(2_049), "is too long: at most 2048 bytes"),
            ("%ff".to_owned(), "must be UTF-8"),
        ] {
            let refused = refused_key(&key);
            assert!(refused.starts_with("the header idempotency-key "), "{refused}");
            assert!(refused.contains(said), "{refused}");
        }
    }
}
