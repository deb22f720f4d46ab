//! Ids for events whose producer gave none.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Told apart from every other process by 64 random bits, and within this one by a counter.
static INSTANCE: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(()));
static NEXT: AtomicU64 = AtomicU64::new(0);

/// An id that was never given before.
pub(super) fn id() -> Box<str> {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}-{number:x}", *INSTANCE).into_boxed_str()
}
