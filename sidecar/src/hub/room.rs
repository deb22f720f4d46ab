//! Lets publishers wait for the slowest subscriber, where the pipeline says so.
//!
//! Laws: only subscribers that have once caught up are waited for; who replays is behind by its own wish.
//! A publisher waits for a bounded time. A subscriber that takes nothing while publishers wait is cut off
//! after a bounded time, so that a dead one doesn't stop the stream for good.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use slab::Slab;
use tokio::{sync::Notify, time};

use crate::log::Offset;

/// How long a publisher waits before it is told to come back.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The subscribers that publishers wait for.
#[derive(Debug, Default)]
pub(super) struct Room {
    marks: Mutex<Slab<Arc<AtomicU64>>>,
    waiting: AtomicUsize,
    moved: Notify,
}

/// How far one subscriber is, for as long as it is connected.
#[derive(Debug)]
pub struct Mark {
    room: Arc<Room>,
    key: usize,
    offset: Arc<AtomicU64>,
}

impl Room {
    pub(super) fn mark(self: &Arc<Self>, offset: Offset) -> Mark {
        let offset = Arc::new(AtomicU64::new(offset));
        let key = self.marks.lock().insert(Arc::clone(&offset));
        Mark { room: Arc::clone(self), key, offset }
    }

    /// Where the slowest subscriber is; `None` where there is none.
    pub(super) fn slowest(&self) -> Option<Offset> {
        self.marks.lock().iter().map(|(_, mark)| mark.load(Ordering::SeqCst)).min()
    }

    /// Whether a publisher waits.
    pub(super) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Comes when there is room, given where the slowest subscriber is; says whether there is.
    pub(super) async fn wait(&self, has_room: impl Fn(Option<Offset>) -> bool) -> bool {
        if has_room(self.slowest()) {
            return true;
        }
        let _waiting = Waiting::new(&self.waiting);
        let room = async {
            loop {
                let mut moved = std::pin::pin!(self.moved.notified());
                // Before it looks, so that no move is missed.
                moved.as_mut().enable();
                if has_room(self.slowest()) {
                    return;
                }
                moved.await;
            }
        };
        time::timeout(PATIENCE, room).await.is_ok()
    }

    fn tell(&self) {
        if self.is_wanted() {
            self.moved.notify_waiters();
        }
    }
}

impl Mark {
    /// Moves on.
    pub fn set(&self, offset: Offset) {
        self.offset.store(offset, Ordering::SeqCst);
        self.room.tell();
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.room.marks.lock().try_remove(self.key);
        self.room.tell();
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_publisher_waits_until_the_slowest_has_moved_and_no_longer_than_its_patience() {
        let room = Arc::new(Room::default());
        let (slow, fast) = (room.mark(1), room.mark(9));
        let at_least = |least| move |slowest: Option<Offset>| slowest.is_none_or(|at| at >= least);
        assert!(room.wait(at_least(1)).await);
        assert!(!room.wait(at_least(5)).await);
        let (there, ()) = tokio::join!(room.wait(at_least(5)), async {
            tokio::task::yield_now().await;
            assert!(room.is_wanted());
            slow.set(5);
        });
        assert!(there && !room.is_wanted());
        let (there, ()) = tokio::join!(room.wait(at_least(100)), async {
            tokio::task::yield_now().await;
            drop((slow, fast));
        });
        assert!(there, "who is gone is not waited for");
    }
}
