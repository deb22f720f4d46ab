//! The event: one CloudEvent 1.0, whose payload stays as it was posted, byte for byte.

mod json;
mod media;
mod readable;
mod time;
mod trace;

use bytes::Bytes;

pub(crate) use json::{CURSOR_ATTRIBUTE, push_base64, push_member, push_number, push_string};
pub(crate) use media::{essence, is_json, is_text};
pub use readable::JsonLimit;
pub(crate) use readable::{Flaw, Unreadable, check as check_json, check_list as check_json_list};
pub(crate) use time::is_rfc3339;
pub(crate) use trace::TRACEPARENT;
pub use trace::TraceId;

/// One event, with the attributes of CloudEvents 1.0.
///
/// Whoever makes one keeps this law: where [`Event::data_content_type`] is absent or names JSON, `data`
/// is empty or one valid JSON text, because the encoders splice it into JSON as it is, and one that breaks no
/// [`JsonLimit`], because filters read it. The intake does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Identifies the event within its `source`.
    pub id: Box<str>,
    /// The kind of occurrence, such as `order.placed`.
    pub type_: Box<str>,
    /// The context in which the event happened: a URI reference.
    pub source: Box<str>,
    /// What in the source the event is about.
    pub subject: Option<Box<str>>,
    /// When it happened, or where the producer gave no time, when it was accepted: RFC 3339.
    pub time: Box<str>,
    /// The media type of `data`; absent means `application/json`, as CloudEvents has it.
    pub data_content_type: Option<Box<str>>,
    /// The schema that `data` keeps: a URI.
    pub data_schema: Option<Box<str>>,
    /// Extension attributes, in the order in which they were given.
    pub extensions: Vec<(Box<str>, Extension)>,
    /// The payload, exactly as posted. Empty where the event has none.
    pub data: Bytes,
}

/// What an allocator rounds up to and what lies around an event or an attribute of it, about.
const SLACK: usize = 64;

/// The value of an extension attribute, in the type in which it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extension {
    /// A text; also what CloudEvents calls URI, Timestamp and Binary.
    Text(Box<str>),
    /// An integer of 32 bits.
    Integer(i32),
    /// A truth value.
    Boolean(bool),
}

/// How a payload is written inside JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload<'a> {
    /// There is none.
    Absent,
    /// A JSON text, to be spliced in.
    Json(&'a str),
    /// Text, to be written as a JSON string.
    Text(&'a str),
    /// Bytes that are no text, to be written as base64.
    Binary(&'a [u8]),
}

impl Event {
    /// How the payload is written inside JSON. The media type decides, so that all events of one type
    /// come in the same form; only bytes that claim to be text and aren't UTF-8 fall back to base64.
    #[must_use]
    pub fn payload(&self) -> Payload<'_> {
        let media_type = self.data_content_type.as_deref();
        let json = media_type.is_none_or(is_json);
        if self.data.is_empty() && json {
            return Payload::Absent;
        }
        match std::str::from_utf8(&self.data) {
            Ok(text) if json => Payload::Json(text),
            Ok(text) if media_type.is_some_and(is_text) => Payload::Text(text),
            Ok(_) | Err(_) => Payload::Binary(&self.data),
        }
    }

    /// Appends the event in the JSON format of CloudEvents 1.0 (structured mode).
    pub fn to_json(&self, out: &mut Vec<u8>) {
        json::structured(self, None, out);
    }

    /// Appends the same with the cursor as an extension attribute.
    pub fn to_json_at(&self, cursor: &str, out: &mut Vec<u8>) {
        json::structured(self, Some(cursor), out);
    }

    /// The bytes of the event's payload and attributes: what a bound on bytes should count.
    #[must_use]
    pub fn size(&self) -> usize {
        let Self {
            id,
            type_,
            source,
            subject,
            time,
            data_content_type,
            data_schema,
            extensions,
            data,
        } = self;
        let required = [id, type_, source, time].into_iter();
        let optional = [subject, data_content_type, data_schema].into_iter().flatten();
        let extensions = extensions.iter().map(|(name, value)| name.len() + value.size());
        required.chain(optional).map(|text| text.len()).sum::<usize>()
            + extensions.sum::<usize>()
            + data.len()
    }

    /// About the bytes of memory that the event takes: what it has to say, and the parts that hold it.
    #[must_use]
    pub fn footprint(&self) -> usize {
        let attributes = self.extensions.len() * (size_of::<(Box<str>, Extension)>() + SLACK);
        size_of::<Self>() + SLACK + attributes + self.size()
    }
}

impl Extension {
    fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Integer(_) => size_of::<i32>(),
            Self::Boolean(_) => size_of::<bool>(),
        }
    }
}

#[cfg(test)]
mod tests;
