//! Requests that were refused, counted by the word that says why.
//!
//! Law: the words are the program's, never a client's; so there are few.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// How often each word was said.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<BTreeMap<&'static str, u64>>);

impl Refusals {
    /// Counts one.
    pub fn count(&self, reason: &'static str) {
        *self.0.lock().entry(reason).or_default() += 1;
    }

    /// How many there were, by word.
    #[must_use]
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        self.0.lock().iter().map(|(reason, count)| (*reason, *count)).collect()
    }
}
