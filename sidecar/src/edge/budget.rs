//! Bounds the memory of bodies that are on their way: what is posted and not yet whole or not yet taken, and
//! what is answered and not yet sent.
//!
//! Law: a body counts until its last byte is gone. So however many clients send slowly, or read nothing of
//! what they asked for, the process keeps to its bound, and others are asked to come back.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is counted in.
const UNIT: usize = 1_024;

/// The most that all bodies of a listener may take, whatever there is.
const MOST: u64 = 64 * 1024 * 1024;

/// The part of the process's memory that they may take at most.
const PART: u64 = 4;

/// The memory for the bodies of a listener.
#[derive(Debug, Clone)]
pub struct Budget {
    units: Arc<Semaphore>,
    all: usize,
}

/// A part of the memory, which is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Part {
    budget: Budget,
    held: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// A budget for a process that may use this many bytes, if that is bounded.
    #[must_use]
    pub fn of(limit: Option<u64>) -> Self {
        let bytes = limit.map_or(MOST, |limit| MOST.min(limit / PART));
        Self::new(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    fn new(bytes: usize) -> Self {
        let all = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(all)), all }
    }

    /// Nothing yet; see [`Part::grow`].
    pub(super) fn part(&self) -> Part {
        Part { budget: self.clone(), held: None }
    }
}

impl Part {
    /// Makes this the part of a body of so many bytes; `false` where there is no room. A body that is larger
    /// than the whole budget has its turn when there is no other.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let Self { budget, held } = self;
        let wanted = bytes.div_ceil(UNIT).min(budget.all);
        let missing =
            wanted.saturating_sub(held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        let Ok(missing) = u32::try_from(missing) else { return false };
        let Ok(more) = Arc::clone(&budget.units).try_acquire_many_owned(missing) else {
            return false;
        };
        match held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
        true
    }

    /// The body, which holds its part until it is gone.
    pub(super) fn with(self, body: Vec<u8>) -> Bytes {
        Bytes::from_owner(Held { body, _part: self })
    }
}

/// A body and its part.
struct Held {
    body: Vec<u8>,
    _part: Part,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_counts_until_its_last_byte_is_gone() {
        let budget = Budget::new(8 * UNIT);
        let mut part = budget.part();
        assert!(part.grow(5 * UNIT));
        let mut body = part.with(vec![b'a'; 5 * UNIT]);
        let mut other = budget.part();
        assert!(!other.grow(4 * UNIT));
        let end = body.split_off(body.len() - 1);
        drop(body);
        assert!(!other.grow(4 * UNIT), "a byte is left");
        drop(end);
        assert!(other.grow(4 * UNIT));
    }

    #[test]
    fn a_part_grows_with_its_body_and_keeps_what_it_has_where_there_is_no_more() {
        let budget = Budget::new(4 * UNIT);
        let (mut one, mut other) = (budget.part(), budget.part());
        assert!(one.grow(1) && one.grow(UNIT) && one.grow(UNIT + 1));
        assert_eq!(budget.units.available_permits(), 2);
        assert!(other.grow(2 * UNIT));
        assert!(!one.grow(3 * UNIT));
        assert_eq!(budget.units.available_permits(), 0);
        drop(other);
        assert!(one.grow(3 * UNIT));
    }

    #[test]
    fn the_largest_body_has_its_turn_when_there_is_no_other() {
        let budget = Budget::new(4 * UNIT);
        let (mut small, mut large) = (budget.part(), budget.part());
        assert!(small.grow(1));
        assert!(!large.grow(100 * UNIT));
        drop(small);
        assert!(large.grow(100 * UNIT));
    }

    #[test]
    fn the_budget_is_a_part_of_what_the_process_may_use() {
        assert_eq!(Budget::of(None).all, 64 * 1_024);
        assert_eq!(Budget::of(Some(64 * 1024 * 1024)).all, 16 * 1_024);
        assert_eq!(Budget::of(Some(1 << 40)).all, 64 * 1_024);
        assert_eq!(Budget::of(Some(0)).all, 1);
    }
}
