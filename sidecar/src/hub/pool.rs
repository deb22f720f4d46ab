//! A bound in bytes that several things share.
//!
//! Law: what is taken comes back when its [`Part`] is dropped.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// So many bytes for all.
#[derive(Debug)]
pub(super) struct Pool {
    most: usize,
    taken: AtomicUsize,
}

/// What one of them has taken.
#[derive(Debug)]
pub(super) struct Part {
    pool: Arc<Pool>,
    bytes: usize,
}

impl Pool {
    pub(super) const fn new(most: usize) -> Self {
        Self { most, taken: AtomicUsize::new(0) }
    }

    /// How much all have taken.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Part {
    /// A part of nothing yet.
    pub(super) const fn of(pool: Arc<Pool>) -> Self {
        Self { pool, bytes: 0 }
    }

    /// Whether all together have taken more than they may.
    pub(super) fn is_over(&self) -> bool {
        self.pool.taken() > self.pool.most
    }

    /// Takes so much, instead of what it had. It may be over the bound then.
    pub(super) fn set(&mut self, bytes: usize) {
        // The sum wraps, and so the difference may be below zero.
        self.pool.taken.fetch_add(bytes.wrapping_sub(self.bytes), Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let pool = Arc::new(Pool::new(10));
        let (mut a, mut b) = (Part::of(Arc::clone(&pool)), Part::of(Arc::clone(&pool)));
        a.set(7);
        b.set(3);
        assert!(!b.is_over());
        b.set(4);
        assert!(a.is_over());
        a.set(1);
        assert_eq!((pool.taken(), b.is_over()), (5, false));
        drop(a);
        drop(b);
        assert_eq!(pool.taken(), 0);
    }
}
