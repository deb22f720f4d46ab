//! The room on a disk that a log shares with what is kept beside it.
//!
//! Laws: both together never take more than there is; the log gives way, because its oldest events may
//! leave, and what lies beside it may not.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

/// The room of a log, and of what is kept beside it.
#[derive(Debug)]
pub struct Room {
    size: AtomicU64,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    log: u64,
    beside: u64,
}

impl Taken {
    const fn fits(&self, size: u64) -> bool {
        self.log.saturating_add(self.beside) <= size
    }
}

impl Room {
    /// So many bytes.
    #[must_use]
    pub fn new(size: u64) -> Arc<Self> {
        Arc::new(Self { size: AtomicU64::new(size), taken: Mutex::default() })
    }

    /// Makes it larger or smaller.
    pub fn resize(&self, size: u64) {
        self.size.store(size, Ordering::Relaxed);
    }

    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Notes what the log takes.
    pub(super) fn set_log(&self, bytes: u64) {
        self.taken.lock().log = bytes;
    }

    /// Lets the log take so much in all, if that fits.
    pub(super) fn grow_log(&self, bytes: u64) -> bool {
        let mut taken = self.taken.lock();
        let grown = Taken { log: bytes, beside: taken.beside };
        let fits = grown.fits(self.size());
        if fits {
            *taken = grown;
        }
        fits
    }

    /// Whether the log could take so much in all, if it took nothing now.
    pub(super) fn could_hold_log(&self, bytes: u64) -> bool {
        let beside = self.taken.lock().beside;
        Taken { log: bytes, beside }.fits(self.size())
    }

    /// Takes so much more beside the log, if that fits.
    pub(super) fn take(&self, bytes: u64) -> bool {
        let mut taken = self.taken.lock();
        let grown = Taken { log: taken.log, beside: taken.beside.saturating_add(bytes) };
        let fits = grown.fits(self.size());
        if fits {
            *taken = grown;
        }
        fits
    }

    /// Notes what lies beside the log, whether it fits or not.
    pub(super) fn set_beside(&self, bytes: u64) {
        self.taken.lock().beside = bytes;
    }

    /// Gives back what was taken beside the log.
    pub(super) fn give_back(&self, bytes: u64) {
        let mut taken = self.taken.lock();
        taken.beside = taken.beside.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_together_take_no_more_than_there_is() {
        let room = Room::new(10);
        assert!(room.grow_log(6) && room.take(4));
        assert!(!room.grow_log(7) && !room.take(1));
        // The log's oldest events leave.
        room.set_log(3);
        assert!(room.take(3) && !room.grow_log(4));
        assert!(room.could_hold_log(3) && !room.could_hold_log(4));
        room.give_back(7);
        assert!(room.grow_log(10));
    }
}
