//! An expression that was read.

use std::fmt;

use super::{ClaimsRead, Evaluated, Failure, MAX_STEPS, Scope, eval, tree::Node};

/// An expression that was read and found to be within the bounds.
///
/// Two that mean the same, however they are spaced, have the same [`Expression::meaning`].
#[derive(Debug)]
pub struct Expression {
    root: Node,
    meaning: Box<str>,
    claims_read: ClaimsRead,
}

impl Expression {
    pub(super) fn new(root: Node) -> Self {
        let meaning = format!("{root:?}").into();
        let claims_read = root.claims_read();
        Self { root, meaning, claims_read }
    }

    /// The expression as it was understood: equal for two that differ in spaces and parentheses only.
    #[must_use]
    pub fn meaning(&self) -> &str {
        &self.meaning
    }

    /// On which of the subscriber's claims it depends.
    #[must_use]
    pub const fn claims_read(&self) -> &ClaimsRead {
        &self.claims_read
    }

    /// Whether its value may be true, as far as that can be seen without an event.
    #[must_use]
    pub fn may_be_true(&self) -> bool {
        self.root.may_be_true()
    }

    /// Whether it is true of an event.
    #[must_use]
    pub fn evaluate(&self, scope: &Scope<'_>) -> Evaluated {
        eval::evaluate(&self.root, scope, MAX_STEPS)
    }

    /// The value for an event as a text by which events are compared: its key, or why it has none; and the
    /// steps that it took.
    pub fn key(&self, scope: &Scope<'_>) -> (Result<String, Failure>, u32) {
        eval::key(&self.root, scope, MAX_STEPS)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.meaning)
    }
}
