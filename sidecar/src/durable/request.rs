//! What a client asks for, out of the path, the query and the headers of its request.

use bytes::Bytes;
use http::HeaderMap;
use percent_encoding::percent_decode_str;

use super::{
    Create,
    expiry::{self, plain_number},
    offset::Anchor,
    producer::Producer,
    refusal::Refusal,
    state::Append,
    stream::{Asked, Origin},
};
use crate::log::Micros;

/// The longest path of a stream, decoded.
const MOST_PATH_BYTES: usize = 512;

/// The longest text in a header that is kept with a stream.
const MOST_HEADER_BYTES: usize = 256;

/// How a reader waits for what is not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Live {
    /// One answer, as soon as there is something.
    LongPoll,
    /// Server-Sent Events.
    Sse,
}

/// A request to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Read {
    /// Where to start.
    pub(crate) from: Anchor,
    /// Whether and how to wait.
    pub(crate) live: Option<Live>,
    /// The cursor of the answer before.
    pub(crate) cursor: Option<u64>,
}

/// The path of a stream, from what stands in the URL behind the folder of all streams.
pub(crate) fn path(encoded: &str) -> Result<Box<str>, Refusal> {
    let path = percent_decode_str(encoded).decode_utf8().map_err(|_| Refusal::Path)?;
    let odd = |segment: &str| matches!(segment, "" | "." | "..");
    let wrong = path.len() > MOST_PATH_BYTES
        || path.split('/').any(odd)
        || path.chars().any(char::is_control);
    if wrong { Err(Refusal::Path) } else { Ok(path.into()) }
}

/// Reads a query.
pub(crate) fn read(query: &[(String, String)]) -> Result<Read, Refusal> {
    let values = |name: &'static str| -> Result<Option<&str>, Refusal> {
        let mut found = query.iter().filter(|(key, _)| key == name);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(Refusal::parameter(name, "must be given once")),
            (first, None) => Ok(first.map(|(_, value)| value.as_str())),
        }
    };
    let rule = "must be -1, now, or an offset out of an answer of this server";
    let from = values("offset")?.map(str::parse::<Anchor>).transpose();
    let from = from.map_err(|_| Refusal::parameter("offset", rule))?;
    let live = match values("live")? {
        None => None,
        Some("long-poll") => Some(Live::LongPoll),
        Some("sse") => Some(Live::Sse),
        Some(_) => return Err(Refusal::parameter("live", "must be long-poll or sse")),
    };
    if live.is_some() && from.is_none() {
        return Err(Refusal::parameter("offset", "must be given with live"));
    }
    let cursor = values("cursor")?.and_then(plain_number);
    Ok(Read { from: from.unwrap_or(Anchor::Start), live, cursor })
}

/// A request to create a stream. `root` is the folder of all streams, as in `/orders/streams/`.
pub(crate) fn create(
    headers: &HeaderMap,
    root: &str,
    body: Bytes,
    now: Micros,
) -> Result<Create, Refusal> {
    let (ttl, at) = (text(headers, "stream-ttl")?, text(headers, "stream-expires-at")?);
    let expiry = expiry::parse(ttl, at, now)?;
    Ok(Create {
        content_type: bounded(headers, "content-type")?,
        asked: Asked { expiry, origin: origin(headers, root)? },
        closed: is_closed(headers),
        body,
    })
}

/// A request to append, to close, or both.
pub(crate) fn append(headers: &HeaderMap, body: Bytes) -> Result<Append, Refusal> {
    let of_a_creation = ["stream-ttl", "stream-expires-at"];
    if let Some(name) = of_a_creation.into_iter().find(|name| headers.contains_key(*name)) {
        return Err(Refusal::header(name, "belongs to the PUT that creates the stream"));
    }
    Ok(Append {
        content_type: bounded(headers, "content-type")?,
        producer: Producer::parse(
            text(headers, "producer-id")?,
            text(headers, "producer-epoch")?,
            text(headers, "producer-seq")?,
        )?,
        seq: bounded(headers, "stream-seq")?,
        close: is_closed(headers),
        body,
    })
}

/// What a fork is to begin with.
fn origin(headers: &HeaderMap, root: &str) -> Result<Option<Origin>, Refusal> {
    let [source, at, sub] = ["stream-forked-from", "stream-fork-offset", "stream-fork-sub-offset"]
        .map(|name| text(headers, name));
    let (source, at, sub) = (source?, at?, sub?);
    let Some(source) = source else {
        return match (at, sub) {
            (None, None) => Ok(None),
            _ => Err(Refusal::header(
                "stream-forked-from",
                "must be given with the others of a fork",
            )),
        };
    };
    // A path below the folder of the streams, or a whole one.
    let source = source.strip_prefix(root).or_else(|| source.strip_prefix('/')).unwrap_or(source);
    let rule = "must be an offset of the stream that is forked";
    let at = at.map(str::parse::<Anchor>).transpose();
    let at = at.map_err(|_| Refusal::header("stream-fork-offset", rule))?;
    let rule = "must be a whole number, without sign or zeros before";
    let number = |sub| plain_number(sub).ok_or(Refusal::header("stream-fork-sub-offset", rule));
    let sub = sub.map(number).transpose()?.unwrap_or(0);
    Ok(Some(Origin { source: path(source)?, at, sub }))
}

fn is_closed(headers: &HeaderMap) -> bool {
    headers.get("stream-closed").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Refusal::header(name, "must be given once")),
        (None, None) => Ok(None),
        (Some(value), None) => {
            let text = value.to_str().map(Some);
            text.map_err(|_| Refusal::header(name, "must be of visible ASCII characters"))
        }
    }
}

fn bounded(headers: &HeaderMap, name: &'static str) -> Result<Option<Box<str>>, Refusal> {
    match text(headers, name)? {
        Some(text) if text.len() > MOST_HEADER_BYTES => {
            Err(Refusal::header(name, "must have at most 256 bytes"))
        }
        Some("") | None => Ok(None),
        Some(text) => Ok(Some(text.into())),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::durable::expiry::Expiry;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    fn query(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_path_names_one_stream_however_it_is_encoded() {
        assert_eq!(path("a/b%20c").as_deref(), Ok("a/b c"));
        assert_eq!(path("%61/b%20c").as_deref(), Ok("a/b c"));
        for bad in ["", "a//b", "a/", "../a", "a/%2e%2e/b", "a%00", "%ff", &"a".repeat(513)] {
            assert_eq!(path(bad), Err(Refusal::Path), "{bad}");
        }
    }

    #[test]
    fn a_live_reader_says_from_where() {
        assert_eq!(
            read(&query(&[("foo", "bar"), ("foo", "baz")])),
            Ok(Read { from: Anchor::Start, live: None, cursor: None })
        );
        assert_eq!(
            read(&query(&[("offset", "now"), ("live", "sse"), ("cursor", "12")])),
            Ok(Read { from: Anchor::Now, live: Some(Live::Sse), cursor: Some(12) })
        );
        for bad in [
            &[("live", "sse")][..],
            &[("offset", "-1"), ("live", "poll")],
            &[("offset", "")],
            &[("offset", "-1"), ("offset", "-1")],
        ] {
            assert!(read(&query(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_fork_is_of_a_path_below_the_streams_or_of_a_whole_one() {
        let root = "/orders/streams/";
        for from in ["/v1/a", "v1/a", "/orders/streams/v1/a"] {
            let created =
                create(&headers(&[("stream-forked-from", from)]), root, Bytes::new(), 0).unwrap();
            assert_eq!(&*created.asked.origin.unwrap().source, "v1/a", "{from}");
        }
        for alone in ["stream-fork-offset", "stream-fork-sub-offset"] {
            assert!(create(&headers(&[(alone, "0")]), root, Bytes::new(), 0).is_err(), "{alone}");
        }
        let bad = [("stream-forked-from", "/a"), ("stream-fork-sub-offset", "05")];
        assert!(create(&headers(&bad), root, Bytes::new(), 0).is_err());
    }

    #[test]
    fn the_headers_of_a_request_are_taken_as_they_are_meant() {
        let created = create(
            &headers(&[
                ("content-type", "text/plain"),
                ("stream-ttl", "60"),
                ("stream-closed", "TRUE"),
            ]),
            "/orders/streams/",
            Bytes::new(),
            0,
        );
        let created = created.unwrap();
        assert_eq!(created.content_type.as_deref(), Some("text/plain"));
        assert_eq!((created.asked.expiry, created.closed), (Some(Expiry::Idle(60)), true));
        let appended =
            append(&headers(&[("stream-seq", "7"), ("stream-closed", "yes")]), Bytes::new());
        let appended = appended.unwrap();
        assert_eq!((appended.seq.as_deref(), appended.close), (Some("7"), false));
    }

    #[test]
    fn a_header_that_says_nothing_here_or_two_things_is_refused_by_its_name() {
        let twice = headers(&[("stream-ttl", "60"), ("stream-ttl", "60")]);
        let Err(refused) = create(&twice, "/orders/streams/", Bytes::new(), 0) else { panic!() };
        assert_eq!(refused.to_string(), "the header stream-ttl must be given once");
        for (name, value) in [("stream-ttl", "60"), ("stream-expires-at", "2126-01-01T00:00:00Z")] {
            let Err(refused) = append(&headers(&[(name, value)]), Bytes::new()) else { panic!() };
            let expected = format!("the header {name} belongs to the PUT that creates the stream");
            assert_eq!(refused.to_string(), expected);
        }
    }
}
