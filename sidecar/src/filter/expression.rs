//! An expression that was read.

use std::fmt;

use super::{Evaluated, Failure, MAX_STEPS, Scope, eval, tree::Node};

/// An expression that was read and found to be within the bounds.
///
/// Two that mean the same, however they are spaced, have the same [`Expression::meaning`].
#[derive(Debug)]
pub struct Expression {
    root: Node,
    meaning: Box<str>,
    reads_claims: bool,
}

impl Expression {
    pub(super) fn new(root: Node) -> Self {
        let meaning = format!("{root:?}").into();
        let reads_claims = root.any(&|node| matches!(node, Node::Claims));
        Self { root, meaning, reads_claims }
    }

    /// The expression as it was understood: equal for two that differ in spaces and parentheses only.
    #[must_use]
    pub fn meaning(&self) -> &str {
        &self.meaning
    }

    /// Whether it depends on the subscriber's claims.
    #[must_use]
    pub const fn reads_claims(&self) -> bool {
        self.reads_claims
    }

    /// Whether it is true of an event.
    #[must_use]
    pub fn evaluate(&self, scope: &Scope<'_>) -> Evaluated {
        eval::evaluate(&self.root, scope, MAX_STEPS)
    }

    /// The value for an event as a text by which events are compared: its key.
    ///
    /// # Errors
    ///
    /// Says why it has none.
    pub fn key(&self, scope: &Scope<'_>) -> Result<String, Failure> {
        eval::key(&self.root, scope, MAX_STEPS)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.meaning)
    }
}
