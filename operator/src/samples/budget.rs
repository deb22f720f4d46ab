//! Bounds what the answers of replicas take of memory: anybody can run a pod that looks like a replica.
//!
//! # Laws
//!
//! - An answer is as large as what its replica was given to count takes, at most.
//! - Answers that are being read or in use take so many bytes in all, and who comes next waits for his turn as he
//!   waits for the answer.
//! - Fewer are kept for others to use, and none that is large: it is asked for again instead.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What an answer takes besides the objectives: sources, counts, and objectives that are on their way out.
const BESIDES: usize = 1 << 20;
/// A replica keeps 720 snapshots of about 60 bytes for each objective.
const EACH: usize = 64 << 10;
/// Whatever there is to count: room for 500 objectives on one replica.
pub(super) const LARGEST: usize = 32 << 20;

/// In use at the same time: the largest answer, and as much again of others.
const IN_USE: usize = 2 * LARGEST;
/// Kept for others to use.
const KEPT: usize = 16 << 20;
/// The largest that is kept.
const MOST_KEPT: usize = 1 << 20;

/// What is counted at once.
const UNIT: usize = 1 << 10;

/// The most bytes of an answer by a replica that was given so many objectives.
pub(super) const fn largest(objectives: usize) -> usize {
    let all = objectives.saturating_mul(EACH).saturating_add(BESIDES);
    if all < LARGEST { all } else { LARGEST }
}

/// What there is left.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    in_use: Arc<Semaphore>,
    kept: Arc<Semaphore>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { in_use: full(IN_USE), kept: full(KEPT) }
    }
}

fn full(bytes: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(bytes / UNIT))
}

/// A part of the budget, which is given back with it.
#[derive(Debug, Default)]
pub struct Held(Option<OwnedSemaphorePermit>);

impl Held {
    /// Adds what was taken for more of the same answer.
    pub(super) fn add(&mut self, more: Self) {
        self.0 = match (self.0.take(), more.0) {
            (Some(mut held), Some(more)) => {
                held.merge(more);
                Some(held)
            }
            (held, more) => held.or(more),
        };
    }
}

impl Budget {
    /// Takes so many bytes for an answer that is being read, as soon as there are so many.
    pub(super) async fn take(&self, bytes: usize) -> Held {
        let taken = Arc::clone(&self.in_use).acquire_many_owned(units(bytes)).await;
        // It is never closed.
        Held(taken.ok())
    }

    /// Takes so many bytes for an answer that is kept; `None` where it is not worth them, or there are none left.
    pub(super) fn keep(&self, bytes: usize) -> Option<Held> {
        let worth = bytes <= MOST_KEPT;
        let kept = worth.then(|| Arc::clone(&self.kept).try_acquire_many_owned(units(bytes)));
        kept.and_then(Result::ok).map(|kept| Held(Some(kept)))
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn an_answer_is_as_large_as_what_is_counted_takes() {
        assert_eq!(largest(0), 1 << 20);
        assert_eq!(largest(16), 2 << 20);
        assert_eq!(largest(usize::MAX), LARGEST);
    }

    #[tokio::test]
    async fn who_finds_nothing_left_waits_until_somebody_gives_back() {
        let budget = Budget::default();
        let mut held = budget.take(LARGEST).await;
        held.add(budget.take(LARGEST - UNIT).await);
        let last = budget.take(1).await;
        assert!(budget.take(1).now_or_never().is_none());
        drop(last);
        assert!(budget.take(1).now_or_never().is_some());
        drop(held);
        assert!(budget.take(IN_USE).now_or_never().is_some());
    }

    #[test]
    fn what_is_large_is_not_kept_nor_what_is_too_much_in_all() {
        let budget = Budget::default();
        assert!(budget.keep(MOST_KEPT + 1).is_none());
        let kept: Vec<_> = (0..KEPT / MOST_KEPT).map(|_| budget.keep(MOST_KEPT).unwrap()).collect();
        assert!(budget.keep(1).is_none());
        assert!(budget.keep(0).is_some(), "a failure takes nothing");
        drop(kept);
        assert!(budget.keep(MOST_KEPT).is_some());
    }
}
