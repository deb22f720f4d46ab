//! The requests that wait for the one before them.
//!
//! Law: there are no more than a few, and they have no more bytes than one of the largest, but for the last.

use std::collections::VecDeque;

use super::{MAX_MESSAGE, request::Request};

/// How many may wait.
const MOST_WAITING: usize = 32;

/// Requests, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Each with the size of its message.
    requests: VecDeque<(Request, usize)>,
    bytes: usize,
}

impl Queue {
    /// Whether one more may wait.
    pub(super) fn has_room(&self) -> bool {
        self.requests.len() < MOST_WAITING && self.bytes < MAX_MESSAGE
    }

    /// Adds the request of a message of so many bytes.
    pub(super) fn push(&mut self, request: Request, size: usize) {
        self.bytes += size;
        self.requests.push_back((request, size));
    }

    /// How many bytes the messages had.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The one that came first, and the size of its message.
    pub(super) fn pop(&mut self) -> Option<(Request, usize)> {
        let (request, size) = self.requests.pop_front()?;
        self.bytes -= size;
        Some((request, size))
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
