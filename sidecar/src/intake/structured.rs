//! CloudEvents in JSON, one or a batch (CloudEvents JSON format, sections 2 to 4).

use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    Context, Draft, Reason, Rejection,
    body::json_text,
    bound,
    draft::MAX_EXTENSIONS,
    rejection::{Fault, Part},
};
use crate::event::{Extension, check_json, is_json};

/// One event.
pub(super) fn one(body: &[u8]) -> Result<Draft<'_>, Reason> {
    if body.trim_ascii().is_empty() {
        return Err(Reason::Empty);
    }
    let raw = serde_json::from_slice(body).map_err(|error| Reason::json(&error, 0))?;
    event(raw)
}

/// A list of events; none of them is one too.
pub(super) fn batch<'a>(
    body: &'a [u8],
    context: &Context<'_>,
) -> Result<Vec<Draft<'a>>, Rejection> {
    let Context { source: _, now: _, max_event_bytes, max_batch } = *context;
    if body.trim_ascii().is_empty() {
        return Err(Reason::Empty.into());
    }
    if !body.trim_ascii().starts_with(b"[") {
        return Err(Reason::NoBatch.into());
    }
    let Some(raw) = elements(body, max_batch).map_err(|error| Reason::json(&error, 0))? else {
        return Err(Reason::TooMany { limit: max_batch }.into());
    };
    let largest = bound::of_one(max_event_bytes);
    let indexed = raw.into_iter().enumerate();
    let bounded = |raw: &'a RawValue| match raw.get().len() {
        size if size > largest => Err(Reason::TooLarge { size, limit: max_event_bytes }),
        _ => event(raw),
    };
    indexed
        .map(|(index, raw)| bounded(raw).map_err(|reason| Rejection { index: Some(index), reason }))
        .collect()
}

/// The elements of an array as they stand; `None` where there are more than `most`. The others are read, to know
/// whether it is JSON, and not kept.
fn elements(body: &[u8], most: usize) -> Result<Option<Vec<&RawValue>>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let elements = UpTo(most).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(elements)
}

fn event(raw: &RawValue) -> Result<Draft<'_>, Reason> {
    let members: Members<'_> = serde_json::from_str(raw.get()).map_err(|_| Reason::NoObject)?;
    let mut draft = Draft::default();
    if let Some(name) = members.beyond {
        let name = name.chars().take(64).collect();
        return Err(Reason::Attribute { name, fault: Fault::TooMany(MAX_EXTENSIONS) });
    }
    let (mut data, mut base64) = (None, None);
    for (name, value) in members.known {
        let twice = match &*name {
            "data" => data.replace(value).is_some(),
            "data_base64" => base64.replace(value).is_some(),
            attribute => {
                if let Some(value) = attribute_value(attribute, value)? {
                    draft.set(attribute, value)?;
                }
                false
            }
        };
        if twice {
            return Err(Reason::Attribute { name: name.into(), fault: Fault::Twice });
        }
    }
    draft.require_all()?;
    draft.data = payload(draft.data_content_type.as_deref(), data, base64)?;
    Ok(draft)
}

/// The value of an attribute; `None` for null, which means that it is not set (section 2.2).
fn attribute_value(name: &str, raw: &RawValue) -> Result<Option<Extension>, Reason> {
    let value = match raw.get() {
        "null" => return Ok(None),
        "true" => Some(Extension::Boolean(true)),
        "false" => Some(Extension::Boolean(false)),
        text if text.starts_with('"') => string(text).map(|text| Extension::Text(text.into())),
        number => number.parse().ok().map(Extension::Integer),
    };
    let fault = || Reason::Attribute { name: name.chars().take(64).collect(), fault: Fault::Value };
    value.map(Some).ok_or_else(fault)
}

/// The payload: a JSON value as it stands, or the text or the bytes that a string stands for.
fn payload<'a>(
    content_type: Option<&str>,
    data: Option<&'a RawValue>,
    base64: Option<&'a RawValue>,
) -> Result<Cow<'a, [u8]>, Reason> {
    let json = content_type.is_none_or(is_json);
    let fault = |name: &str, fault| Reason::Attribute { name: name.into(), fault };
    match (data, base64.filter(|raw| raw.get() != "null")) {
        (None, None) => Ok(Cow::Borrowed(&[])),
        (Some(_), Some(_)) => Err(fault("data", Fault::BothData)),
        (Some(raw), None) if json => {
            let text = raw.get().as_bytes();
            check_json(text).map_err(|unreadable| Reason::unreadable(unreadable, Part::Data, 0))?;
            Ok(Cow::Borrowed(text))
        }
        (Some(raw), None) => match string(raw.get()) {
            Some(Cow::Borrowed(text)) => Ok(Cow::Borrowed(text.as_bytes())),
            Some(Cow::Owned(text)) => Ok(Cow::Owned(text.into_bytes())),
            None => Err(fault("data", Fault::TextData)),
        },
        (None, Some(raw)) => {
            let bytes = string(raw.get()).and_then(|text| STANDARD.decode(&*text).ok());
            let bytes = bytes.ok_or_else(|| fault("data_base64", Fault::Base64))?;
            if json && !bytes.is_empty() {
                return Ok(Cow::Owned(json_text(&bytes, Part::DataBase64)?.to_vec()));
            }
            Ok(Cow::Owned(bytes))
        }
    }
}

/// The text that a JSON string stands for, in place where it holds no escapes.
fn string(json: &str) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(json).ok().map(|Text(text)| text)
}

/// Borrows where it can; serde's own impl for `Cow` never does.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The most members of an event that are looked at: more than all attributes that there may be, and those that are
/// null, which count as absent.
const MAX_MEMBERS: usize = 128;

/// The members of an object in their order, with repetitions; values as they stand.
struct Members<'a> {
    known: Vec<(Cow<'a, str>, &'a RawValue)>,
    /// The first that is one too many.
    beyond: Option<Cow<'a, str>>,
}

/// Reads an array, and keeps up to so many of its elements.
struct UpTo(usize);

impl<'de> DeserializeSeed<'de> for UpTo {
    type Value = Option<Vec<&'de RawValue>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for UpTo {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < self.0 {
            match elements.next_element()? {
                Some(element) => kept.push(element),
                None => return Ok(Some(kept)),
            }
        }
        let mut beyond = false;
        while elements.next_element::<IgnoredAny>()?.is_some() {
            beyond = true;
        }
        Ok((!beyond).then_some(kept))
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut known = Vec::new();
                while known.len() < MAX_MEMBERS {
                    match map.next_entry()? {
                        Some((Text(name), value)) => known.push((name, value)),
                        None => return Ok(Members { known, beyond: None }),
                    }
                }
                let mut beyond = None;
                while let Some((Text(name), IgnoredAny)) = map.next_entry()? {
                    beyond.get_or_insert(name);
                }
                Ok(Members { known, beyond })
            }
        }

        deserializer.deserialize_map(Object)
    }
}
