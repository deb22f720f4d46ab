//! What an expression is evaluated on: one event, and the subscriber's claims.

use std::{borrow::Cow, cell::OnceCell};

use super::{Claims, Failure, attribute::Attribute, value::Value};
use crate::event::{Event, Extension, Payload};

/// One event, and the subscriber's claims. A payload that is JSON is parsed when it is first asked for.
#[derive(Debug)]
pub struct Scope<'a> {
    event: &'a Event,
    claims: &'a Claims,
    data: OnceCell<Option<serde_json::Value>>,
}

impl<'a> Scope<'a> {
    /// The scope of an event.
    #[must_use]
    pub const fn new(event: &'a Event, claims: &'a Claims) -> Self {
        Self { event, claims, data: OnceCell::new() }
    }

    /// How many bytes of the payload were parsed.
    #[must_use]
    pub fn parsed(&self) -> u32 {
        let bytes = self.data.get().map_or(0, |_| self.event.data.len());
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    pub(super) const fn claims(&self) -> Value<'_> {
        Value::Json(self.claims)
    }

    /// An attribute's value.
    pub(super) fn attribute(&self, attribute: &Attribute) -> Result<Value<'_>, Failure> {
        let text = |text: &'a str| Value::Text(Cow::Borrowed(text));
        let optional = |field: &'a Option<Box<str>>| field.as_deref().map(text);
        let event = self.event;
        let value = match attribute {
            Attribute::Id => Some(text(&event.id)),
            Attribute::Type => Some(text(&event.type_)),
            Attribute::Source => Some(text(&event.source)),
            Attribute::Time => Some(text(&event.time)),
            Attribute::Subject => optional(&event.subject),
            Attribute::DataContentType => optional(&event.data_content_type),
            Attribute::DataSchema => optional(&event.data_schema),
            Attribute::Data => return self.data(),
            Attribute::Extension(name) => {
                let found = event.extensions.iter().find(|(known, _)| known == name);
                found.map(|(_, value)| match value {
                    Extension::Text(value) => text(value),
                    Extension::Integer(value) => Value::Int((*value).into()),
                    Extension::Boolean(value) => Value::Bool(*value),
                })
            }
        };
        value.ok_or(Failure::Missing)
    }

    /// The payload: JSON, or a text. Bytes that are neither are not there; JSON that can't be read is of a log that
    /// took more once, and no reason to say that nothing is there.
    fn data(&self) -> Result<Value<'_>, Failure> {
        match self.event.payload() {
            Payload::Absent | Payload::Binary(_) => Err(Failure::Missing),
            Payload::Text(text) => Ok(Value::Text(Cow::Borrowed(text))),
            Payload::Json(json) => {
                let parsed = self.data.get_or_init(|| serde_json::from_str(json).ok());
                parsed.as_ref().map(Value::of_json).ok_or(Failure::Value)
            }
        }
    }
}
