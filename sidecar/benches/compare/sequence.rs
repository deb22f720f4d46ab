//! Checks what one subscriber receives: every event, once, in order.

use std::collections::BTreeSet;

/// The events that a subscriber has received.
#[derive(Debug, Default)]
pub(crate) struct Sequence {
    /// The number after the highest that was received.
    next: u64,
    /// Numbers below `next` that were not received.
    missing: BTreeSet<u64>,
    duplicated: u64,
    out_of_order: u64,
}

/// What was wrong with what subscribers received.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Events that never came.
    pub(crate) lost: u64,
    /// Events that came again.
    pub(crate) duplicated: u64,
    /// Events that came after a later one.
    pub(crate) out_of_order: u64,
}

impl Sequence {
    /// What a subscriber receives that has all before `next`.
    pub(crate) fn from(next: u64) -> Self {
        Self { next, ..Self::default() }
    }

    /// Takes note of an event; whether it is the first time.
    pub(crate) fn receive(&mut self, number: u64) -> bool {
        if number >= self.next {
            self.missing.extend(self.next..number);
            self.next = number + 1;
            return true;
        }
        let late = self.missing.remove(&number);
        if late {
            self.out_of_order += 1;
        } else {
            self.duplicated += 1;
        }
        late
    }

    /// Whether all of the first `published` events have come.
    pub(crate) fn has_all(&self, published: u64) -> bool {
        self.next >= published && self.missing.is_empty()
    }

    /// What was wrong, given that `published` events were published.
    pub(crate) fn faults(&self, published: u64) -> Faults {
        let Self { next, missing, duplicated, out_of_order } = self;
        let behind = published.saturating_sub(*next);
        Faults {
            lost: missing.len() as u64 + behind,
            duplicated: *duplicated,
            out_of_order: *out_of_order,
        }
    }
}

impl Faults {
    /// Whether nothing was wrong.
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }
}

impl std::iter::Sum for Faults {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, Self { lost, duplicated, out_of_order }| Self {
            lost: sum.lost + lost,
            duplicated: sum.duplicated + duplicated,
            out_of_order: sum.out_of_order + out_of_order,
        })
    }
}
