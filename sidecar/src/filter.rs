//! Filters: which events a subscriber asked for, in CEL (the Common Expression Language).
//!
//! CEL's own parser reads an expression; what it means is decided here, by a small evaluator that counts
//! its steps. So a filter that anybody may send costs no more than is stated.
//!
//! # Laws
//!
//! - What an expression may be is bounded when it is read: its length and depth before the parser sees it, then its
//!   size and the depth of its loops. What it costs is bounded whenever it is evaluated.
//! - An expression that fails on every event, because of a field that there can't be or a type that can't fit, is
//!   refused when it is read.
//! - Whether an event matches depends on the event, the expression and the subscriber's claims alone, so
//!   that all who share them share the verdict.
//! - An expression that can't be evaluated on an event, because a field is missing or the cost is too
//!   high, doesn't match it. That is counted, by its reason.

#[cfg(not(feature = "cel"))]
mod absent;
#[cfg(feature = "cel")]
mod attribute;
#[cfg(feature = "cel")]
mod eval;
#[cfg(feature = "cel")]
mod expression;
#[cfg(feature = "cel")]
mod functions;
#[cfg(feature = "cel")]
mod kind;
#[cfg(feature = "cel")]
mod parse;
mod place;
#[cfg(feature = "cel")]
mod scan;
#[cfg(feature = "cel")]
mod scope;
#[cfg(feature = "cel")]
mod tree;
#[cfg(feature = "cel")]
mod value;
#[cfg(feature = "cel")]
mod words;

use std::collections::BTreeSet;

#[cfg(not(feature = "cel"))]
pub use absent::{Expression, Scope, compile};
#[cfg(feature = "cel")]
pub use expression::Expression;
#[cfg(feature = "cel")]
pub use parse::compile;
pub use place::Place;
#[cfg(feature = "cel")]
pub use scope::Scope;

/// The most bytes of an expression: it stands in a URL.
pub const MAX_SOURCE: usize = 2_048;

/// The deepest nesting of an expression.
pub const MAX_DEPTH: usize = 32;

/// The most operators, calls, names and constants of an expression.
pub const MAX_NODES: usize = 512;

/// The deepest nesting of loops (`all`, `exists`, `map` and so on).
pub const MAX_LOOPS: usize = 2;

/// The most steps that an evaluation takes. A step is some ten nanoseconds.
pub const MAX_STEPS: u32 = 10_000;

/// What a subscriber's token says about it. Empty where there is none.
pub type Claims = serde_json::Value;

/// Which of a subscriber's claims an expression reads. By what others say, no two subscribers differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimsRead {
    /// Those of these names.
    These(BTreeSet<Box<str>>),
    /// Perhaps any.
    All,
}

impl Default for ClaimsRead {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl ClaimsRead {
    /// What either of two expressions reads.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        match (self, other) {
            (Self::These(mut names), Self::These(others)) => {
                names.extend(others.iter().cloned());
                Self::These(names)
            }
            (Self::All, _) | (_, Self::All) => Self::All,
        }
    }

    /// Whether none is read.
    #[must_use]
    pub fn is_none(&self) -> bool {
        match self {
            Self::These(names) => names.is_empty(),
            Self::All => false,
        }
    }

    /// Those of the claims that are read.
    #[must_use]
    pub fn pick(&self, claims: Claims) -> Claims {
        match (self, claims) {
            (Self::These(names), Claims::Object(mut claims)) => {
                claims.retain(|name, _| names.contains(name.as_str()));
                Claims::Object(claims)
            }
            (Self::These(_) | Self::All, claims) => claims,
        }
    }
}

/// Reads an expression that is to be true or false of an event. As [`compile`], not to be called where a thread
/// must not block.
///
/// # Errors
///
/// Says what is wrong with it, and where.
pub fn compile_filter(source: &str) -> Result<Expression, Refused> {
    let expression = compile(source)?;
    if expression.may_be_true() {
        return Ok(expression);
    }
    let message = "it is neither true nor false: compare it, as in event.type == \"order.placed\"";
    Err(Refused::Meaning { place: Place::of(source, 0), message: message.to_owned() })
}

/// Why an expression is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is too long to be read.
    #[error("it has {bytes} bytes, and may have {MAX_SOURCE}")]
    Length {
        /// Its bytes.
        bytes: usize,
    },
    /// It is no CEL.
    #[error("at {place}: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What is wrong.
        message: String,
    },
    /// It is CEL, and means nothing here.
    #[error("at {place}: {message}")]
    Meaning {
        /// Where.
        place: Place,
        /// What is wrong, and what to do instead.
        message: String,
    },
    /// This build reads none.
    #[error("this build has no filters: build it with --features full")]
    Absent,
    /// There are too many expressions to be read at once.
    #[error("too many filters are being read just now: try again")]
    Busy,
}

/// Why an expression could not be evaluated on an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The event has no such field.
    Missing,
    /// An operator or function doesn't take values of these types.
    Type,
    /// A number is too large, a divisor zero, a text no number or time, a payload no JSON that can be read.
    Value,
    /// It would take more than [`MAX_STEPS`].
    Cost,
}

impl Failure {
    /// Every failure.
    pub const ALL: [Self; 4] = [Self::Missing, Self::Type, Self::Value, Self::Cost];

    /// The word in metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Type => "type",
            Self::Value => "value",
            Self::Cost => "cost",
        }
    }
}

/// The outcome for one event, and the steps it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evaluated {
    /// Whether the event matches.
    pub outcome: Result<bool, Failure>,
    /// What it cost.
    pub steps: u32,
}

#[cfg(test)]
#[cfg(feature = "cel")]
mod tests;
