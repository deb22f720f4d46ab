//! The values of an evaluation. They borrow from the event where they can.

use std::{borrow::Cow, cmp::Ordering, rc::Rc};

use serde_json::Value as Json;

use super::Failure;

#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Cow<'a, str>),
    Time(jiff::Timestamp),
    List(Rc<[Self]>),
    /// An array or an object.
    Json(&'a Json),
}

impl<'a> Value<'a> {
    pub(super) fn of_json(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::String(text) => Self::Text(Cow::Borrowed(text)),
            Json::Array(_) | Json::Object(_) => Self::Json(json),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Self::Int(number),
                (None, Some(number)) => Self::Uint(number),
                (None, None) => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
        }
    }

    /// A member of an object.
    pub(super) fn field(&self, name: &str) -> Result<Self, Failure> {
        match self {
            Self::Json(Json::Object(members)) => {
                members.get(name).map(Self::of_json).ok_or(Failure::Missing)
            }
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Uint(_)
            | Self::Double(_)
            | Self::Text(_)
            | Self::Time(_)
            | Self::List(_)
            | Self::Json(_) => Err(Failure::Type),
        }
    }

    /// An element of a list, or a member of an object.
    pub(super) fn index(&self, index: &Self) -> Result<Self, Failure> {
        match (self, index) {
            (Self::Json(Json::Object(_)), Self::Text(name)) => self.field(name),
            (Self::Json(Json::Array(elements)), _) => {
                elements.get(index.place()?).map(Self::of_json).ok_or(Failure::Missing)
            }
            (Self::List(elements), _) => {
                elements.get(index.place()?).cloned().ok_or(Failure::Missing)
            }
            _ => Err(Failure::Type),
        }
    }

    fn place(&self) -> Result<usize, Failure> {
        let place = match self {
            Self::Int(number) => usize::try_from(*number).ok(),
            Self::Uint(number) => usize::try_from(*number).ok(),
            Self::Null
            | Self::Bool(_)
            | Self::Double(_)
            | Self::Text(_)
            | Self::Time(_)
            | Self::List(_)
            | Self::Json(_) => return Err(Failure::Type),
        };
        place.ok_or(Failure::Missing)
    }

    /// How many elements, members or characters there are.
    pub(super) fn size(&self) -> Result<usize, Failure> {
        match self {
            Self::Text(text) => Ok(text.chars().count()),
            Self::List(elements) => Ok(elements.len()),
            Self::Json(Json::Array(elements)) => Ok(elements.len()),
            Self::Json(Json::Object(members)) => Ok(members.len()),
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Uint(_)
            | Self::Double(_)
            | Self::Time(_)
            | Self::Json(_) => Err(Failure::Type),
        }
    }

    /// What there is to loop over: elements, or the names of members.
    pub(super) fn elements(&self) -> Result<Vec<Self>, Failure> {
        match self {
            Self::List(elements) => Ok(elements.to_vec()),
            Self::Json(Json::Array(elements)) => Ok(elements.iter().map(Self::of_json).collect()),
            Self::Json(Json::Object(members)) => {
                Ok(members.keys().map(|name| Self::Text(Cow::Borrowed(name))).collect())
            }
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Uint(_)
            | Self::Double(_)
            | Self::Text(_)
            | Self::Time(_)
            | Self::Json(_) => Err(Failure::Type),
        }
    }

    /// What comparing with it costs beside the first step.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Text(text) => text.len() / 64,
            Self::List(elements) => elements.len(),
            Self::Json(json) => weigh(json),
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Uint(_)
            | Self::Double(_)
            | Self::Time(_) => 0,
        }
    }

    /// Whether two values are equal. Values of different types never are, but numbers are compared as
    /// such.
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Time(a), Self::Time(b)) => a == b,
            (Self::Json(a), Self::Json(b)) => a == b,
            (
                Self::List(_) | Self::Json(Json::Array(_)),
                Self::List(_) | Self::Json(Json::Array(_)),
            ) => {
                let (Ok(a), Ok(b)) = (self.elements(), other.elements()) else { return false };
                a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.equals(b))
            }
            _ => matches!(self.number_order(other), Some(Ordering::Equal)),
        }
    }

    /// The order of two values of a kind that has one.
    pub(super) fn order(&self, other: &Self) -> Result<Ordering, Failure> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Ok(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => Ok(a.cmp(b)),
            (Self::Time(a), Self::Time(b)) => Ok(a.cmp(b)),
            _ => self.number_order(other).ok_or(Failure::Type),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a fraction is compared as a fraction")]
    fn number_order(&self, other: &Self) -> Option<Ordering> {
        let whole = |value: &Self| match value {
            Self::Int(number) => Some(i128::from(*number)),
            Self::Uint(number) => Some(i128::from(*number)),
            Self::Null
            | Self::Bool(_)
            | Self::Double(_)
            | Self::Text(_)
            | Self::Time(_)
            | Self::List(_)
            | Self::Json(_) => None,
        };
        match (self, whole(self), other, whole(other)) {
            (_, Some(a), _, Some(b)) => Some(a.cmp(&b)),
            (Self::Double(a), _, Self::Double(b), _) => a.partial_cmp(b),
            (Self::Double(a), _, _, Some(b)) => a.partial_cmp(&(b as f64)),
            (_, Some(a), Self::Double(b), _) => (a as f64).partial_cmp(b),
            _ => None,
        }
    }
}

/// How many values there are in a JSON text.
fn weigh(json: &Json) -> usize {
    match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => 1,
        Json::String(text) => 1 + text.len() / 64,
        Json::Array(elements) => 1 + elements.iter().map(weigh).sum::<usize>(),
        Json::Object(members) => 1 + members.values().map(weigh).sum::<usize>(),
    }
}
