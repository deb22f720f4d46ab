//! Lines that are published together.

/// The most lines of a request: an answer for each few hundred is enough.
const MOST_LINES: usize = 500;
/// The most bytes of a request with more than one line; far below what a server takes.
const MOST_BYTES: usize = 256 << 10;

/// Lines that are published together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    text: String,
    lines: usize,
}

/// Whether a line fits into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// It does.
    Some,
    /// The batch is to be published first.
    None,
}

impl Batch {
    /// Whether there is room for one more. An empty batch takes any line: whether it is too long is the
    /// server's to say.
    pub(super) const fn has_room(&self, line: &str) -> Room {
        let fits = self.lines < MOST_LINES && self.text.len() + line.len() < MOST_BYTES;
        if self.lines == 0 || fits { Room::Some } else { Room::None }
    }

    /// Adds a line.
    pub(super) fn push(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
        self.lines += 1;
    }

    /// Whether there is nothing to publish.
    pub(super) const fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// The request's body.
    pub(super) fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_full_by_lines_or_by_bytes() {
        let mut batch = Batch::default();
        let long = "x".repeat(MOST_BYTES);
        assert_eq!(batch.has_room(&long), Room::Some);
        for _ in 0..MOST_LINES {
            assert_eq!(batch.has_room("1"), Room::Some);
            batch.push("1");
        }
        assert_eq!(batch.has_room("1"), Room::None);
        let mut batch = Batch::default();
        batch.push(&long);
        assert_eq!(batch.has_room("1"), Room::None);
        assert_eq!(batch.into_text().len(), MOST_BYTES + 1);
    }
}
