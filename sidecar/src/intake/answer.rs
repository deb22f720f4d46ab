//! The answer to a publish that was accepted.

use crate::event::{push_member, push_number};

/// The body of the answer, of type `application/json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// How many events the log has taken.
    pub accepted: usize,
    /// How many it had already.
    pub duplicates: usize,
    /// The cursor of the last of them; after an empty batch, that of the last event in the log.
    pub cursor: &'a str,
}

impl Answer<'_> {
    /// The body: `{"accepted":2,"duplicates":0,"cursor":"…"}`.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let Self { accepted, duplicates, cursor } = *self;
        let mut out = b"{\"accepted\":".to_vec();
        push_number(&mut out, accepted);
        out.extend_from_slice(b",\"duplicates\":");
        push_number(&mut out, duplicates);
        push_member(&mut out, "cursor", cursor);
        out.push(b'}');
        out
    }
}
