//! What is asked of a pipeline.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::args::{Format, Tail};

/// What stands in a URL as it is (RFC 3986, section 2.3).
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Encodes a piece of a URL.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, KEPT).to_string()
}

/// The path and the query; where `last` is known, the header says where to go on.
pub(super) fn path(asked: &Tail, last: Option<&str>) -> String {
    let format = match asked.format {
        Format::Cloudevents => Some("cloudevents"),
        Format::Data | Format::Cursor => None,
    };
    let from = asked.from.as_deref().filter(|_| last.is_none());
    let pairs = [("filter", asked.filter.as_deref()), ("from", from), ("format", format)];
    let pairs = pairs.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let query: Vec<_> = pairs.map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    format!("/{}/sse{query}", encode(&asked.pipeline))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Args, Command};

    fn asked(words: &[&str]) -> Tail {
        let words = [&["kubectl-weir", "tail", "orders"], words].concat();
        let Command::Tail(tail) = Args::parse_from(words).command else { panic!("no tail") };
        tail
    }

    #[test]
    fn a_place_to_start_is_asked_for_until_there_is_a_cursor() {
        let tail = asked(&["--from=2026-01-31T12:00:00+01:00"]);
        assert_eq!(path(&tail, None), "/orders/sse?from=2026-01-31T12%3A00%3A00%2B01%3A00");
        assert_eq!(path(&tail, Some("a-1")), "/orders/sse");
    }

    #[test]
    fn a_filter_is_encoded() {
        let tail = asked(&["--filter=event.data.n > 1 && true", "--format=cloudevents"]);
        let expected =
            "/orders/sse?filter=event.data.n%20%3E%201%20%26%26%20true&format=cloudevents";
        assert_eq!(path(&tail, None), expected);
    }
}
