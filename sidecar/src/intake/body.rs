//! Events whose payload is the body, or a line of it.

use std::borrow::Cow;

use http::HeaderMap;

use super::{Draft, Reason, Rejection, headers, rejection::Part};
use crate::event::{Extension, Flaw, Unreadable, check_json, essence, is_json};

/// The most bytes that what stands in the headers may have with all of the lines that it is given to: four hundred
/// for each of as many as there may be.
const MAX_REPEATED: usize = 4 * 1024 * 1024;

/// A CloudEvent in binary mode: the attributes are in the headers, and the body may be missing.
pub(super) fn binary<'a>(
    headers: &HeaderMap,
    content_type: Option<&str>,
    body: &'a [u8],
) -> Result<Draft<'a>, Reason> {
    let draft = headers::attributes(headers)?;
    draft.require_all()?;
    let data = match content_type {
        _ if body.is_empty() => body,
        None => undeclared_json(body)?,
        Some(content_type) if is_json(content_type) => json_text(body, Part::Body)?,
        Some(_) => body,
    };
    declare(draft, content_type, data)
}

/// A plain JSON value.
pub(super) fn json<'a>(
    headers: &HeaderMap,
    content_type: &str,
    body: &'a [u8],
) -> Result<Draft<'a>, Reason> {
    // Absent means application/json, and takes no room.
    let usual = essence(content_type).eq_ignore_ascii_case("application/json");
    declare(plain(headers)?, (!usual).then_some(content_type), json_text(body, Part::Body)?)
}

/// Text or bytes.
pub(super) fn opaque<'a>(
    headers: &HeaderMap,
    content_type: &str,
    body: &'a [u8],
) -> Result<Draft<'a>, Reason> {
    if body.is_empty() {
        return Err(Reason::Empty);
    }
    declare(plain(headers)?, Some(content_type), body)
}

/// A body of which nothing says what it is: taken if it is JSON.
pub(super) fn undeclared<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<Draft<'a>, Reason> {
    if body.is_empty() {
        return Err(Reason::Empty);
    }
    declare(plain(headers)?, None, undeclared_json(body)?)
}

/// A plain JSON value on each line that isn't blank. Attributes in headers hold for all of them; an
/// idempotency key is numbered, so that a repetition of the request gives the same ids.
pub(super) fn lines<'a>(
    headers: &HeaderMap,
    body: &'a [u8],
    max_batch: usize,
) -> Result<Vec<Draft<'a>>, Rejection> {
    let common = headers::attributes(headers)?;
    if common.id.is_some() {
        return Err(Reason::IdForLines.into());
    }
    let key = headers::idempotency_key(headers)?;
    // Each line gets a copy of them.
    let repeated = common.weight() + key.as_deref().map_or(0, str::len);
    let mut drafts = Vec::new();
    for (number, line) in body.split(|&byte| byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let index = drafts.len();
        if index == max_batch {
            return Err(Reason::TooMany { limit: max_batch }.into());
        }
        let size = repeated.saturating_mul(index + 1);
        if size > MAX_REPEATED {
            return Err(Reason::Repeated { size, limit: MAX_REPEATED }.into());
        }
        let data = json_text_below(number, line, Part::Body)
            .map_err(|reason| Rejection { index: Some(index), reason })?;
        let id = key.as_ref().map(|key| format!("{key}/{index}").into());
        drafts.push(Draft { id, data: Cow::Borrowed(data), ..common.clone() });
    }
    if drafts.is_empty() { Err(Reason::Empty.into()) } else { Ok(drafts) }
}

/// The attributes of an event that is no full CloudEvent.
fn plain<'a>(headers: &HeaderMap) -> Result<Draft<'a>, Reason> {
    let mut draft = headers::attributes(headers)?;
    if draft.id.is_none() {
        draft.id = headers::idempotency_key(headers)?;
    }
    Ok(draft)
}

/// Completes a draft with its payload and the type of that.
fn declare<'a>(
    mut draft: Draft<'a>,
    content_type: Option<&str>,
    data: &'a [u8],
) -> Result<Draft<'a>, Reason> {
    if let Some(content_type) = content_type {
        draft.set("datacontenttype", Extension::Text(content_type.into()))?;
    }
    draft.data = Cow::Borrowed(data);
    Ok(draft)
}

/// The JSON text in a body that doesn't claim to be one.
fn undeclared_json(body: &[u8]) -> Result<&[u8], Reason> {
    match check_json(body) {
        Ok(()) => Ok(body.trim_ascii()),
        Err(Unreadable { flaw: Flaw::Grammar(_), .. }) => Err(Reason::NoMediaType),
        Err(unreadable @ Unreadable { flaw: Flaw::Limit(_), .. }) => {
            Err(Reason::unreadable(unreadable, Part::Body, 0))
        }
    }
}

/// The one JSON text in `bytes`, without the white space around it.
pub(super) fn json_text(bytes: &[u8], part: Part) -> Result<&[u8], Reason> {
    json_text_below(0, bytes, part)
}

/// The same, where `lines` lines of the body stand above.
fn json_text_below(lines: usize, bytes: &[u8], part: Part) -> Result<&[u8], Reason> {
    if bytes.trim_ascii().is_empty() {
        return Err(Reason::Empty);
    }
    check_json(bytes).map_err(|unreadable| Reason::unreadable(unreadable, part, lines))?;
    Ok(bytes.trim_ascii())
}
