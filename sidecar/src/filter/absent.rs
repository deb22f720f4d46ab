//! Filters in a build without them: there is no expression, because none is read.

use std::{convert::Infallible, fmt, marker::PhantomData};

use super::{Claims, ClaimsRead, Evaluated, Failure, Refused};
use crate::event::Event;

/// What no source becomes.
#[derive(Debug)]
pub struct Expression(Infallible);

/// What an expression would be evaluated on.
#[derive(Debug)]
pub struct Scope<'a>(PhantomData<&'a Event>);

impl<'a> Scope<'a> {
    /// The scope of an event.
    #[must_use]
    pub const fn new(_: &'a Event, _: &'a Claims) -> Self {
        Self(PhantomData)
    }

    /// Nothing is parsed.
    #[must_use]
    pub const fn parsed(&self) -> u32 {
        0
    }
}

/// Reads nothing.
///
/// # Errors
///
/// Always says that this build can't.
pub const fn compile(_: &str) -> Result<Expression, Refused> {
    Err(Refused::Absent)
}

impl Expression {
    /// There is none that depends on any.
    #[must_use]
    pub const fn claims_read(&self) -> &ClaimsRead {
        match self.0 {}
    }

    /// There is none that may be.
    #[must_use]
    pub const fn may_be_true(&self) -> bool {
        match self.0 {}
    }

    /// There is none to evaluate.
    #[must_use]
    pub const fn evaluate(&self, _: &Scope<'_>) -> Evaluated {
        match self.0 {}
    }

    /// There is none that has a value.
    pub const fn key(&self, _: &Scope<'_>) -> (Result<String, Failure>, u32) {
        match self.0 {}
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}
