//! The roll: who is there to get events. From it comes what is due, without a counter on the way of a publish.
//!
//! To a subscriber that starts at an offset, each event from there up to the head is due. So to all who read
//! one log, their number times its head is due, less the sum of their starts. Whoever leaves takes along a
//! start that is the head of that moment: what was due to it stays due, and nothing is added any more.
//!
//! Sums wrap: what is taken out of them gives a small number all the same.

use std::{ptr, sync::Arc};

use crate::log::{Offset, Tail};

/// Those whom one part counts for.
#[derive(Debug, Default)]
pub(super) struct Roll {
    /// By the log that they read: one, unless a pipeline has just got another.
    present: Vec<Present>,
    /// What was due of logs that nobody reads any more.
    past: u64,
}

#[derive(Debug)]
struct Present {
    tail: Arc<Tail>,
    members: u64,
    starts: u64,
}

impl Roll {
    /// Enters a subscriber that starts at an offset up to the head.
    pub(super) fn enter(&mut self, tail: &Arc<Tail>, start: Offset) {
        let known = self.present.iter_mut().find(|present| Arc::ptr_eq(&present.tail, tail));
        match known {
            Some(Present { tail: _, members, starts }) => {
                *members += 1;
                *starts = starts.wrapping_add(start);
            }
            None => {
                let tail = Arc::clone(tail);
                self.present.push(Present { tail, members: 1, starts: start });
            }
        }
    }

    /// Strikes out one that leaves when the head is here.
    pub(super) fn strike(&mut self, tail: &Arc<Tail>, head: Offset) {
        let place = self.present.iter().position(|present| Arc::ptr_eq(&present.tail, tail));
        let Some(place) = place else { return };
        if let Some(Present { tail: _, members, starts }) = self.present.get_mut(place) {
            *starts = starts.wrapping_sub(head);
            *members -= 1;
            if *members == 0 {
                self.past = self.past.wrapping_sub(*starts);
                self.present.swap_remove(place);
            }
        }
    }

    /// What has been due so far, where the log of `tail` has come to `head`.
    pub(super) fn due(&self, tail: &Tail, head: Offset) -> u64 {
        self.present.iter().fold(self.past, |due, present| {
            let Present { tail: own, members, starts } = present;
            let head = if ptr::eq(&raw const **own, tail) { head } else { own.head() };
            due.wrapping_add(members.wrapping_mul(head)).wrapping_sub(*starts)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        count::Accounts,
        engine::Wakers,
        log::{Retention, tests::posted},
    };

    const BOUNDS: Retention =
        Retention { max_age: Duration::MAX, max_events: 2, max_bytes: u64::MAX };

    fn tail() -> Arc<Tail> {
        Arc::new(Tail::new(BOUNDS, Arc::new(Accounts::new(1)), Wakers::none()))
    }

    fn append(tail: &Tail, count: usize) {
        tail.append((0..count).map(|n| posted(&n.to_string(), b"{}")));
    }

    #[test]
    fn what_is_due_is_due_to_those_who_are_there_and_stays_due_when_they_leave() {
        let (tail, mut roll) = (tail(), Roll::default());
        let due = |roll: &Roll| roll.due(&tail, tail.head());
        assert_eq!(due(&roll), 0);
        append(&tail, 5);
        roll.enter(&tail, tail.head());
        roll.enter(&tail, 1);
        assert_eq!(due(&roll), 5, "the second one replays");
        append(&tail, 3);
        assert_eq!(due(&roll), 5 + 2 * 3);
        roll.strike(&tail, tail.head());
        append(&tail, 2);
        assert_eq!(due(&roll), 5 + 2 * 3 + 2);
        roll.strike(&tail, tail.head());
        append(&tail, 4);
        assert_eq!(due(&roll), 5 + 2 * 3 + 2);
        assert!(roll.present.is_empty(), "nobody holds a log that nobody reads");
    }

    #[test]
    fn the_readers_of_two_logs_are_counted_by_their_own() {
        let (old, new, mut roll) = (tail(), tail(), Roll::default());
        append(&old, 10);
        roll.enter(&old, old.head());
        append(&old, 1);
        roll.enter(&new, new.head());
        append(&new, 3);
        assert_eq!(roll.due(&new, new.head()), 1 + 3);
        append(&old, 1);
        roll.strike(&old, old.head());
        assert_eq!(roll.due(&new, new.head()), 2 + 3);
    }
}
