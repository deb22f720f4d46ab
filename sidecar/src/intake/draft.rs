//! An event in the making, and the rules for its attributes (CloudEvents 1.0, section 3).

use std::borrow::Cow;

use super::Reason;
use crate::{
    event::{CURSOR_ATTRIBUTE, Extension, is_rfc3339},
    intake::rejection::Fault,
};

/// The most bytes of one attribute. With [`MAX_EXTENSIONS`] it bounds what an event may weigh beside its
/// payload; the longest in use are URIs, and the trace state of W3C with its 512 bytes.
const MAX_ATTRIBUTE: usize = 2_048;
/// The most extension attributes of one event.
pub(super) const MAX_EXTENSIONS: usize = 32;

/// An event of which some attributes are set, and whose payload still lies in the request.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft<'a> {
    pub(super) spec_version: Option<Box<str>>,
    pub(super) id: Option<Box<str>>,
    pub(super) type_: Option<Box<str>>,
    pub(super) source: Option<Box<str>>,
    pub(super) subject: Option<Box<str>>,
    pub(super) time: Option<Box<str>>,
    pub(super) data_content_type: Option<Box<str>>,
    pub(super) data_schema: Option<Box<str>>,
    pub(super) extensions: Vec<(Box<str>, Extension)>,
    pub(super) data: Cow<'a, [u8]>,
}

impl Draft<'_> {
    /// Sets an attribute. Each may be set once.
    pub(super) fn set(&mut self, name: &str, value: Extension) -> Result<(), Reason> {
        let fault = |fault| Reason::Attribute { name: name.into(), fault };
        let Some(slot) = self.slot(name) else { return self.extend(name, value) };
        let Extension::Text(text) = value else { return Err(fault(Fault::NoString)) };
        check_text(&text).and_then(|()| check_form(name, &text)).map_err(fault)?;
        match slot.replace(text) {
            None => Ok(()),
            Some(_) => Err(fault(Fault::Twice)),
        }
    }

    /// How many bytes its attributes have.
    pub(super) fn weight(&self) -> usize {
        let Self {
            spec_version,
            id,
            type_,
            source,
            subject,
            time,
            data_content_type,
            data_schema,
            extensions,
            data: _,
        } = self;
        let named =
            [spec_version, id, type_, source, subject, time, data_content_type, data_schema];
        let named = named.into_iter().flatten().map(|text| text.len());
        let extended = extensions.iter().map(|(name, value)| {
            let value = match value {
                Extension::Text(text) => text.len(),
                Extension::Boolean(_) | Extension::Integer(_) => 0,
            };
            name.len() + value + size_of::<(Box<str>, Extension)>()
        });
        named.chain(extended).sum()
    }

    /// Where an attribute of the specification is kept; `None` for an extension.
    fn slot(&mut self, name: &str) -> Option<&mut Option<Box<str>>> {
        match name {
            "specversion" => Some(&mut self.spec_version),
            "id" => Some(&mut self.id),
            "type" => Some(&mut self.type_),
            "source" => Some(&mut self.source),
            "subject" => Some(&mut self.subject),
            "time" => Some(&mut self.time),
            "datacontenttype" => Some(&mut self.data_content_type),
            "dataschema" => Some(&mut self.data_schema),
            _ => None,
        }
    }

    /// Adds an extension. Where the event stood in another log says nothing here, and is left away.
    fn extend(&mut self, name: &str, value: Extension) -> Result<(), Reason> {
        let fault = |fault| Reason::Attribute { name: name.chars().take(64).collect(), fault };
        let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        if name.is_empty() || !name.bytes().all(known) || name == "data" {
            return Err(fault(Fault::Name));
        }
        if let Extension::Text(text) = &value {
            check_text(text).map_err(fault)?;
        }
        if name == CURSOR_ATTRIBUTE {
            return Ok(());
        }
        if self.extensions.iter().any(|(other, _)| **other == *name) {
            return Err(fault(Fault::Twice));
        }
        if self.extensions.len() == MAX_EXTENSIONS || name.len() > MAX_ATTRIBUTE {
            return Err(fault(Fault::TooMany(MAX_EXTENSIONS)));
        }
        self.extensions.push((name.into(), value));
        Ok(())
    }

    /// Requires what every CloudEvent has. A plain event may leave it to the intake.
    pub(super) fn require_all(&self) -> Result<(), Reason> {
        let required = [
            ("specversion", &self.spec_version),
            ("id", &self.id),
            ("source", &self.source),
            ("type", &self.type_),
        ];
        match required.into_iter().find(|(_, value)| value.is_none()) {
            Some((name, _)) => Err(Reason::Attribute { name: name.into(), fault: Fault::Missing }),
            None => Ok(()),
        }
    }
}

fn check_text(text: &str) -> Result<(), Fault> {
    if text.len() > MAX_ATTRIBUTE {
        return Err(Fault::TooLong(MAX_ATTRIBUTE));
    }
    if text.chars().any(char::is_control) {
        return Err(Fault::Control);
    }
    Ok(())
}

/// The rules on the text of the attributes of the specification.
fn check_form(name: &str, text: &str) -> Result<(), Fault> {
    match name {
        _ if text.is_empty() => Err(Fault::Empty),
        "specversion" if text != "1.0" => Err(Fault::SpecVersion),
        "time" if !is_rfc3339(text) => Err(Fault::Time),
        "datacontenttype" if !is_media_type(text) => Err(Fault::MediaType),
        _ => Ok(()),
    }
}

fn is_media_type(text: &str) -> bool {
    crate::event::essence(text)
        .split_once('/')
        .is_some_and(|(main, sub)| !main.is_empty() && !sub.is_empty() && !sub.contains('/'))
}
