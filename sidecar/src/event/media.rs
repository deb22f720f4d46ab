//! Sorts media types: which of them are JSON, which are text, and which are neither.

/// The type and subtype, without parameters and surrounding space.
pub(crate) fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// Whether the subtype is `json` or has the suffix `+json` (CloudEvents JSON format, section 3.1).
pub(crate) fn is_json(media_type: &str) -> bool {
    essence(media_type).split_once('/').is_some_and(|(_, subtype)| is_or_suffixed(subtype, "json"))
}

/// Whether the type is meant to be read as text.
pub(crate) fn is_text(media_type: &str) -> bool {
    essence(media_type).split_once('/').is_some_and(|(main, subtype)| {
        main.eq_ignore_ascii_case("text")
            || is_or_suffixed(subtype, "xml")
            || is_or_suffixed(subtype, "yaml")
            || ["javascript", "x-ndjson", "x-www-form-urlencoded"]
                .iter()
                .any(|text| subtype.eq_ignore_ascii_case(text))
    })
}

/// Whether `subtype` is `syntax` itself or is built on it, as `soap+xml` is (RFC 6839).
fn is_or_suffixed(subtype: &str, syntax: &str) -> bool {
    subtype.rsplit('+').next().is_some_and(|last| last.eq_ignore_ascii_case(syntax))
}
