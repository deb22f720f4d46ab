//! What a client of `weir.v1` may say.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::value::RawValue;

/// The longest name that a client may give to a subscription or a publish.
const MAX_ID: usize = 64;

/// The largest window.
pub(super) const MAX_WINDOW: u32 = 10_000;

/// A message of a client.
#[derive(Debug)]
pub(super) enum Request {
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
    Ack(Ack),
    Publish(Publish),
    Ping(Ping),
}

/// Asks for a stream.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subscribe {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    pub(super) id: String,
    /// The pipeline; where there is none, that of the URL.
    pub(super) pipeline: Option<String>,
    /// Resume after the event of this cursor.
    pub(super) cursor: Option<String>,
    /// Start at `earliest`, `latest`, or a time.
    pub(super) from: Option<String>,
    /// Which events to send.
    pub(super) filter: Option<String>,
    /// How many events may be unacknowledged.
    pub(super) window: Option<u32>,
}

/// Ends a stream.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unsubscribe {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    pub(super) id: String,
}

/// Acknowledges every event up to that of the cursor.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ack {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    pub(super) id: String,
    pub(super) cursor: String,
}

/// Publishes events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Publish {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    pub(super) id: String,
    /// The pipeline; where there is none, that of the URL.
    pub(super) pipeline: Option<String>,
    /// A list of CloudEvents.
    pub(super) events: Option<Box<RawValue>>,
    /// One payload, instead of the list; `null` is one.
    #[serde(default, deserialize_with = "given")]
    pub(super) data: Option<Box<RawValue>>,
    /// The event type of `data`.
    pub(super) event: Option<String>,
    /// What makes `data` the same event when it is published again.
    pub(super) key: Option<String>,
}

/// Asks for a sign of life.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ping {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    pub(super) id: Option<String>,
}

/// A message that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a message must be a JSON object with the member type: {0}")]
    Json(String),
    #[error("type must be subscribe, unsubscribe, ack, publish or ping, not {0}")]
    Type(String),
    #[error("{kind}: {message}")]
    Member { kind: &'static str, message: String },
    #[error("{kind}: id must have 1 to {MAX_ID} bytes")]
    Id { kind: &'static str },
    #[error("subscribe: window must be from 1 to {MAX_WINDOW}")]
    Window,
    #[error("publish: give either events or data; event and key go with data")]
    Payload,
    #[error(
        "publish: events must be a list of CloudEvents, such as [{{...}}]; one payload that is no CloudEvent stands in data"
    )]
    Events,
}

/// The type and the id of a request that can't be carried out, as far as it has them: whoever sent it waits for
/// an answer with that id.
pub(super) fn subject(text: &str) -> (&'static str, String) {
    #[derive(Deserialize)]
    struct Named {
        #[serde(rename = "type")]
        type_: Option<serde_json::Value>,
        id: Option<serde_json::Value>,
    }
    const TYPES: [&str; 5] = ["subscribe", "unsubscribe", "ack", "publish", "ping"];
    let Ok(Named { type_, id }) = serde_json::from_str(text) else {
        return ("message", String::new());
    };
    let said = type_.as_ref().and_then(serde_json::Value::as_str);
    let of = TYPES.into_iter().find(|known| Some(*known) == said).unwrap_or("message");
    let id = id.as_ref().and_then(serde_json::Value::as_str).filter(|id| id.len() <= MAX_ID);
    (of, id.unwrap_or_default().to_owned())
}

impl Request {
    /// Reads a message.
    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        #[derive(Deserialize)]
        struct Head<'a> {
            #[serde(rename = "type", borrow)]
            type_: Cow<'a, str>,
        }
        if !text.trim_start().starts_with('{') {
            return Err(Malformed::Json("it is no JSON object".to_owned()));
        }
        let head: Head<'_> =
            serde_json::from_str(text).map_err(|error| Malformed::Json(error.to_string()))?;
        match &*head.type_ {
            "subscribe" => subscribe(text).map(Self::Subscribe),
            "unsubscribe" => {
                let request: Unsubscribe = members("unsubscribe", text)?;
                check_id("unsubscribe", &request.id)?;
                Ok(Self::Unsubscribe(request))
            }
            "ack" => {
                let request: Ack = members("ack", text)?;
                check_id("ack", &request.id)?;
                Ok(Self::Ack(request))
            }
            "publish" => publish(text).map(Self::Publish),
            "ping" => {
                let request: Ping = members("ping", text)?;
                request.id.as_deref().map_or(Ok(()), |id| check_id("ping", id))?;
                Ok(Self::Ping(request))
            }
            other => Err(Malformed::Type(other.chars().take(MAX_ID).collect())),
        }
    }
}

fn subscribe(text: &str) -> Result<Subscribe, Malformed> {
    let request: Subscribe = members("subscribe", text)?;
    check_id("subscribe", &request.id)?;
    let in_range = request.window.is_none_or(|window| (1..=MAX_WINDOW).contains(&window));
    if in_range { Ok(request) } else { Err(Malformed::Window) }
}

fn publish(text: &str) -> Result<Publish, Malformed> {
    let request: Publish = members("publish", text)?;
    check_id("publish", &request.id)?;
    let Publish { events, data, event, key, .. } = &request;
    let plain = event.is_none() && key.is_none();
    match (events, data) {
        (Some(events), None) if !events.get().starts_with('[') => Err(Malformed::Events),
        (Some(_), None) if plain => Ok(request),
        (None, Some(_)) => Ok(request),
        (Some(_) | None, Some(_) | None) => Err(Malformed::Payload),
    }
}

/// What is given, be it `null`.
fn given<'a, D: Deserializer<'a>>(value: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

fn members<'a, T: Deserialize<'a>>(kind: &'static str, text: &'a str) -> Result<T, Malformed> {
    serde_json::from_str(text)
        .map_err(|error| Malformed::Member { kind, message: error.to_string() })
}

fn check_id(kind: &'static str, id: &str) -> Result<(), Malformed> {
    if (1..=MAX_ID).contains(&id.len()) { Ok(()) } else { Err(Malformed::Id { kind }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str) -> String {
        Request::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn every_message_is_read() {
        for text in [
            r#"{"type":"subscribe","id":"a"}"#,
            r#"{"id":"a","type":"subscribe","pipeline":"p","cursor":"c","window":10000}"#,
            r#"{"type":"subscribe","id":"a","from":"earliest","filter":"true"}"#,
            r#"{"type":"unsubscribe","id":"a"}"#,
            r#"{"type":"ack","id":"a","cursor":"c"}"#,
            r#"{"type":"publish","id":"a","events":[]}"#,
            r#"{"type":"publish","id":"a","pipeline":"p","data":{"x":1},"event":"e","key":"k"}"#,
            r#"{"type":"publish","id":"a","data":null,"event":"e"}"#,
            r#"{"type":"ping"}"#,
            r#"{"type":"ping","id":"a"}"#,
        ] {
            assert!(Request::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_told_with_the_member() {
        for (text, words) in [
            ("", "JSON object"),
            ("[]", "JSON object"),
            ("{}", "type"),
            (r#"{"type":"shout"}"#, "not shout"),
            (r#"{"type":"subscribe"}"#, "subscribe: missing field `id`"),
            (r#"{"type":"subscribe","id":""}"#, "1 to 64"),
            (r#"{"type":"subscribe","id":"a","window":0}"#, "window"),
            (r#"{"type":"subscribe","id":"a","window":10001}"#, "window"),
            (r#"{"type":"subscribe","id":"a","windows":1}"#, "unknown field `windows`"),
            (r#"{"type":"ack","id":"a"}"#, "ack: missing field `cursor`"),
            (r#"{"type":"publish","id":"a"}"#, "either events or data"),
            (r#"{"type":"publish","id":"a","data":1,"events":[]}"#, "either events or data"),
            (r#"{"type":"publish","id":"a","events":[],"key":"k"}"#, "key go with data"),
            (r#"{"type":"publish","id":"a","events":{}}"#, "events must be a list of CloudEvents"),
            (r#"{"type":"publish","id":"a","events": "x"}"#, "events must be a list"),
        ] {
            assert!(refused(text).contains(words), "{text}: {}", refused(text));
        }
        assert!(refused(&format!(r#"{{"type":"ping","id":"{}"}}"#, "x".repeat(65))).contains("id"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), member in "[a-z\":,{}\\[\\]0-9]{0,40}") {
            let _any = Request::parse(&text);
            let _any = Request::parse(&format!("{{\"type\":\"publish\",{member}}}"));
        }
    }
}
