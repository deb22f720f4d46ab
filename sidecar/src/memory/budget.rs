//! Bounds the memory of what is on its way: what clients have begun to send and not ended, and what they were
//! answered and have not read.
//!
//! # Laws
//!
//! - A body counts until its last byte is gone. So however many clients send slowly, or read nothing of what they
//!   asked for, the process keeps to its bound, and others are asked to come back.
//! - Each kind has a budget of its own: who only reads takes nothing away from publishers.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many times its size what is posted takes at most: itself, what its escapes or its base64 stand for, and its
/// payloads once more without all around them, as the log gets them. While it grows, what it had stands beside what
/// it has, which is less.
pub const COPIES: usize = 3;

/// What is counted in.
const UNIT: usize = 1_024;

/// The most that all of a kind may take, whatever there is.
const MOST: u64 = 64 * 1024 * 1024;

/// The parts of the process's memory that each kind may take at most.
const BODIES: u64 = 8;
const PAGES: u64 = 8;
const MESSAGES: u64 = 16;
const HEADS: u64 = 16;

/// The memory for what is on its way through a listener.
#[derive(Debug, Clone)]
pub struct Budgets {
    /// What is posted, until the log has it.
    pub bodies: Budget,
    /// What is read, until the reader has it.
    pub pages: Budget,
    /// What clients of `weir.v1` have sent and was not carried out, and what they don't read of the answers.
    pub messages: Budget,
    /// The heads of requests, until they are answered.
    pub heads: Budget,
}

impl Budgets {
    /// Budgets for a process that may use this many bytes, if that is bounded.
    #[must_use]
    pub fn of(limit: Option<u64>) -> Self {
        let part = |part| Budget::part_of(limit, part);
        Self {
            bodies: part(BODIES),
            pages: part(PAGES),
            messages: part(MESSAGES),
            heads: part(HEADS),
        }
    }
}

/// The memory for one kind of what is on its way.
#[derive(Debug, Clone)]
pub struct Budget {
    units: Arc<Semaphore>,
    all: usize,
}

/// A part of the memory, which is given back when this is dropped.
#[derive(Debug)]
pub struct Part {
    budget: Budget,
    held: Option<OwnedSemaphorePermit>,
}

impl Budget {
    fn part_of(limit: Option<u64>, part: u64) -> Self {
        let bytes = limit.map_or(MOST, |limit| MOST.min(limit / part));
        Self::new(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    fn new(bytes: usize) -> Self {
        let all = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(all)), all }
    }

    /// How many bytes all parts may have together.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.all.saturating_mul(UNIT)
    }

    /// Nothing yet; see [`Part::grow`].
    #[must_use]
    pub fn part(&self) -> Part {
        Part { budget: self.clone(), held: None }
    }
}

impl Part {
    /// Makes this the part of what has so many bytes, which may be fewer than before; `false` where there is no
    /// room.
    pub fn fit(&mut self, bytes: usize) -> bool {
        let wanted = self.units_of(bytes);
        let surplus = self.units().saturating_sub(wanted);
        if surplus > 0 {
            drop(self.held.as_mut().and_then(|held| held.split(surplus)));
        }
        self.grow(bytes)
    }

    /// Makes this the part of a body of so many bytes; `false` where there is no room. A body that is larger
    /// than the whole budget has its turn when there is no other.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let missing = self.units_of(bytes).saturating_sub(self.units());
        if missing == 0 {
            return true;
        }
        let Self { budget, held } = self;
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

    /// Comes when there is room for what this lacks to be the part of a body of so many bytes; with what it lacks.
    /// Whoever asks first is first.
    pub fn lacking(&self, bytes: usize) -> impl Future<Output = Self> + Send + use<> {
        let missing = self.units_of(bytes).saturating_sub(self.units());
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        let budget = self.budget.clone();
        async move {
            let units = Arc::clone(&budget.units);
            // It is never closed.
            let held = units.acquire_many_owned(missing).await.ok();
            Self { budget, held }
        }
    }

    /// Takes another part of the same budget into this.
    pub fn join(&mut self, other: Self) {
        let Self { budget: _, held: more } = other;
        match (&mut self.held, more) {
            (Some(held), Some(more)) => held.merge(more),
            (held @ None, more) => *held = more,
            (Some(_), None) => {}
        }
    }

    /// How many units so many bytes take.
    fn units_of(&self, bytes: usize) -> usize {
        bytes.div_ceil(UNIT).min(self.budget.all)
    }

    fn units(&self) -> usize {
        self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// The body, which holds its part until it is gone.
    #[must_use]
    pub fn with(self, body: Vec<u8>) -> Bytes {
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
    use std::pin::pin;

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
    fn a_part_gives_back_what_it_needs_no_longer() {
        let budget = Budget::new(4 * UNIT);
        let (mut one, mut other) = (budget.part(), budget.part());
        assert!(one.fit(4 * UNIT) && !other.fit(1));
        assert!(one.fit(UNIT) && other.fit(3 * UNIT) && !one.fit(UNIT + 1));
        assert!(one.fit(0));
        assert_eq!(budget.units.available_permits(), 1);
    }

    #[tokio::test]
    async fn who_waits_for_room_gets_it_in_its_turn() {
        let budget = Budget::new(4 * UNIT);
        let (mut one, mut two) = (budget.part(), budget.part());
        assert!(one.grow(3 * UNIT) && two.grow(UNIT));
        let mut waiting = pin!(two.lacking(100 * UNIT));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        assert!(one.fit(2 * UNIT));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        assert!(!one.fit(3 * UNIT) && !budget.part().grow(1), "what is free is for who waits");
        drop(one);
        two.join(waiting.await);
        assert_eq!((two.units(), budget.units.available_permits()), (4, 0));
        assert!(two.fit(0));
        assert_eq!(budget.units.available_permits(), 4);
    }

    #[test]
    fn the_budgets_are_parts_of_what_the_process_may_use() {
        let all = |limit| {
            let Budgets { bodies, pages, messages, heads } = Budgets::of(limit);
            [bodies, pages, messages, heads].map(|budget| budget.all)
        };
        assert_eq!(all(None), [64 * 1_024; 4]);
        assert_eq!(all(Some(64 * 1024 * 1024)), [8 * 1_024, 8 * 1_024, 4 * 1_024, 4 * 1_024]);
        assert_eq!(all(Some(1 << 40)), [64 * 1_024; 4]);
        assert_eq!(all(Some(0)), [1; 4]);
    }
}
