//! What was asked for of late: by that is told what nobody needs any more, without a list of who is there.

use crate::log::Offset;

/// The smallest offset that was asked for since the last look but one at the time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lately {
    now: Offset,
    before: Offset,
}

impl Default for Lately {
    fn default() -> Self {
        Self { now: Offset::MAX, before: Offset::MAX }
    }
}

impl Lately {
    /// Takes note that an offset was asked for.
    pub(super) const fn note(&mut self, offset: Offset) {
        if offset < self.now {
            self.now = offset;
        }
    }

    /// Takes note that time has passed.
    pub(super) const fn turn(&mut self) {
        self.before = self.now;
        self.now = Offset::MAX;
    }

    /// The smallest; above all offsets where none was asked for.
    pub(super) const fn least(&self) -> Offset {
        if self.now < self.before { self.now } else { self.before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_counts_until_time_has_passed_twice() {
        let mut lately = Lately::default();
        lately.note(7);
        lately.turn();
        lately.note(9);
        assert_eq!(lately.least(), 7);
        lately.turn();
        assert_eq!(lately.least(), 9);
        lately.turn();
        assert_eq!(lately.least(), Offset::MAX);
    }
}
