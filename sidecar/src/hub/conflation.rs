//! Which events a newer one stands for, so that a subscriber who is behind gets the newest of each key.
//!
//! The index is made when the first subscriber falls behind, and moves on with the log. It knows for each
//! event the next one of the same key: an event is superseded up to some offset where that next one comes
//! before it.
//!
//! # Laws
//!
//! - It grows towards whoever asks, to either side, and never begins anew while somebody needs what it has:
//!   two who are far apart don't undo each other's work.
//! - What nobody has asked for of late it forgets.
//! - It takes no more events once it has [`MOST_BYTES`], or all of a pipeline have what they may together.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    mem,
    ops::Range,
    sync::Arc,
};

use super::{
    filters::PARSED_PER_STEP,
    lately::Lately,
    pool::{Part, Pool},
};
use crate::{
    event::Event,
    filter::{Claims, Expression, Scope},
    log::{Entry, Offset},
};

/// The most memory of one index, but for what a fetch adds: of half a million events where keys are few, and
/// of more than eighty thousand where each has its own, of which conflation leaves nothing out.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// The most memory of a pipeline's indices, of which each filter whose subscribers are behind has one.
pub(super) const MOST_BYTES_OF_ALL: usize = 2 * MOST_BYTES;

/// What an event takes, with what a deque has in reserve.
const EVENT_BYTES: usize = 2 * size_of::<Offset>();

/// What a key takes, with what a map has in reserve.
const KEY_BYTES: usize = 80;

/// What tells events apart: 128 bits of a hash with a secret of this process.
type Key = (u64, u64);

/// How an event's key is found.
#[derive(Debug, Default)]
pub(super) struct Keys {
    expression: Option<Arc<Expression>>,
    hashers: [RandomState; 2],
}

/// The index of one filter's events, or of all.
#[derive(Debug)]
pub(super) struct Conflation {
    /// The offset of the first event in `next`.
    first: Offset,
    /// For each event the next of the same key; 0 where there is none.
    next: VecDeque<Offset>,
    keys: HashMap<Key, Ends>,
    lately: Lately,
    part: Part,
}

/// The oldest and the newest event of a key in the index.
#[derive(Debug, Clone, Copy)]
struct Ends {
    oldest: Offset,
    newest: Offset,
}

/// On which side an index lacks events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Those before its first.
    Older,
    /// Those from its end on.
    Newer,
}

impl Keys {
    pub(super) fn new(expression: Option<Arc<Expression>>) -> Self {
        Self { expression, hashers: Default::default() }
    }

    /// The key of an event; none where the expression can't be evaluated on it: then no other event
    /// stands for it. With it, what it took to find out, in steps.
    pub(super) fn of(&self, event: &Event) -> (Option<Key>, u32) {
        let (text, steps) = match &self.expression {
            Some(expression) => {
                let scope = Scope::new(event, &Claims::Null);
                let (key, steps) = expression.key(&scope);
                (key.ok(), steps + scope.parsed() / PARSED_PER_STEP)
            }
            None => (Some(usual(event)), 0),
        };
        let hash = |text| {
            let [a, b] = self.hashers.each_ref().map(|hasher| hasher.hash_one(&text));
            (a, b)
        };
        (text.map(hash), steps)
    }
}

/// By what an event is told apart where the manifest says nothing about that.
fn usual(event: &Event) -> String {
    match &event.subject {
        Some(subject) => format!("s{subject}"),
        None => format!("t{}\n{}", event.source, event.type_),
    }
}

impl Conflation {
    /// An empty one, which takes its memory out of a pool.
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        let (next, keys) = (VecDeque::new(), HashMap::default());
        Self { first: 0, next, keys, lately: Lately::default(), part: Part::of(pool) }
    }

    /// The offset of the first event that the index knows.
    pub(super) const fn first(&self) -> Offset {
        self.first
    }

    /// The offset up to which the index knows.
    pub(super) fn end(&self) -> Offset {
        self.first + self.next.len() as u64
    }

    /// Takes note that somebody reads from `from` on. Makes room, if it is full, by what nobody has asked for
    /// of late. Begins there, where it is empty, or where all that it knows is before `held`, the oldest
    /// event in memory.
    pub(super) fn start(&mut self, from: Offset, held: Offset) {
        self.lately.note(from);
        if !self.has_room() {
            self.forget_before(self.lately.least());
        }
        if self.next.is_empty() || self.end() < held {
            self.forget();
            self.first = from;
        }
    }

    /// On which side it has to grow, to know a range.
    pub(super) fn lacks(&self, range: &Range<Offset>) -> Option<Side> {
        if range.start < self.first {
            Some(Side::Older)
        } else {
            (self.end() < range.end).then_some(Side::Newer)
        }
    }

    /// Whether it may grow.
    pub(super) fn has_room(&self) -> bool {
        self.weight() <= MOST_BYTES && !self.part.is_over()
    }

    fn weight(&self) -> usize {
        self.next.len() * EVENT_BYTES + self.keys.len() * KEY_BYTES
    }

    /// Takes the next event, with its key; `None` for one that has none, or that is nobody's.
    pub(super) fn push(&mut self, entry: &Entry, key: Option<Key>) {
        let offset = self.end();
        debug_assert_eq!(entry.offset, offset);
        self.next.push_back(0);
        let Some(key) = key else { return };
        let ends = self.keys.entry(key).or_insert(Ends { oldest: offset, newest: offset });
        let before = mem::replace(&mut ends.newest, offset);
        if before != offset
            && let Some(next) = place(self.first, before).and_then(|at| self.next.get_mut(at))
        {
            *next = offset;
        }
    }

    /// The same with the event before the first.
    pub(super) fn push_older(&mut self, entry: &Entry, key: Option<Key>) {
        self.first -= 1;
        let offset = self.first;
        debug_assert_eq!(entry.offset, offset);
        let next = key.map_or(0, |key| match self.keys.get_mut(&key) {
            Some(ends) => mem::replace(&mut ends.oldest, offset),
            None => {
                self.keys.insert(key, Ends { oldest: offset, newest: offset });
                0
            }
        });
        self.next.push_front(next);
    }

    /// Counts what it has grown by.
    pub(super) fn settle(&mut self) {
        self.part.set(self.weight());
    }

    /// Forgets what nobody has asked for of late. To be called when time has passed.
    pub(super) fn age(&mut self) {
        self.lately.turn();
        self.forget_before(self.lately.least());
    }

    /// Forgets everything.
    pub(super) fn forget(&mut self) {
        self.next = VecDeque::new();
        self.keys = HashMap::default();
        self.settle();
    }

    fn forget_before(&mut self, limit: Offset) {
        if limit <= self.first {
            return;
        }
        if limit >= self.end() {
            return self.forget();
        }
        let (first, next) = (self.first, &self.next);
        self.keys.retain(|_, ends| {
            while ends.oldest < limit {
                let later = place(first, ends.oldest).and_then(|at| next.get(at)).copied();
                match later {
                    None | Some(0) => return false,
                    Some(later) => ends.oldest = later,
                }
            }
            true
        });
        let count = place(first, limit).unwrap_or(0).min(self.next.len());
        self.next.drain(..count);
        self.first = limit;
        if self.next.capacity() > 4 * self.next.len() {
            self.next.shrink_to(2 * self.next.len());
        }
        if self.keys.capacity() > 4 * self.keys.len() {
            self.keys.shrink_to(2 * self.keys.len());
        }
        self.settle();
    }

    /// Whether an event before `until` stands for this one.
    pub(super) fn is_superseded(&self, offset: Offset, until: Offset) -> bool {
        let next = place(self.first, offset).and_then(|at| self.next.get(at)).copied().unwrap_or(0);
        next != 0 && next < until
    }
}

/// The place of an event in an index that begins at `first`.
fn place(first: Offset, offset: Offset) -> Option<usize> {
    usize::try_from(offset.checked_sub(first)?).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::log::tests::posted;

    fn entry(offset: Offset) -> Entry {
        Entry { offset, accepted_at: Instant::now(), time: 0, posted: posted("a", b"{}") }
    }

    fn index() -> Conflation {
        Conflation::new(Arc::new(Pool::new(MOST_BYTES_OF_ALL)))
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        /// Somebody asks for a range.
        Ask(Offset, Offset),
        Age,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => (1_u64..61, 1_u64..61).prop_map(|(a, b)| Step::Ask(a.min(b), a.max(b) + 1)),
            1 => Just(Step::Age),
        ]
    }

    proptest! {
        #[test]
        fn it_knows_what_a_search_finds_wherever_it_grows_and_whatever_it_forgets(
            keys in prop::collection::vec(prop::option::of(0_u64..5), 61),
            steps in prop::collection::vec(step(), 1..20),
        ) {
            let pool = Arc::new(Pool::new(MOST_BYTES_OF_ALL));
            let mut index = Conflation::new(Arc::clone(&pool));
            let key_of = |offset: Offset| keys[offset as usize - 1].map(|key| (key, 0));
            for step in steps {
                let Step::Ask(start, end) = step else { index.age(); continue };
                index.start(start, 1);
                while let Some(side) = index.lacks(&(start..end)) {
                    match side {
                        Side::Newer => index.push(&entry(index.end()), key_of(index.end())),
                        Side::Older => {
                            let offset = index.first() - 1;
                            index.push_older(&entry(offset), key_of(offset));
                        }
                    }
                    index.settle();
                }
                for offset in start..end {
                    let newer = (offset + 1..end)
                        .any(|other| key_of(offset).is_some() && key_of(other) == key_of(offset));
                    prop_assert_eq!(index.is_superseded(offset, end), newer, "{}", offset);
                }
                prop_assert_eq!(pool.taken(), index.weight());
            }
        }
    }

    #[test]
    fn what_nobody_asks_for_any_more_is_forgotten() {
        let mut index = index();
        index.start(1, 1);
        (1..101).for_each(|offset| index.push(&entry(offset), Some((offset % 7, 0))));
        index.age();
        index.start(90, 1);
        assert_eq!((index.first(), index.end()), (1, 101), "it was asked for a moment ago");
        index.age();
        assert_eq!((index.first(), index.end(), index.keys.len()), (90, 101, 7));
        index.age();
        assert_eq!((index.weight(), index.next.capacity()), (0, 0));
    }

    #[test]
    fn it_grows_no_further_than_its_bound_and_makes_room_behind_those_who_move_on() {
        let mut index = index();
        index.start(1, 1);
        while index.has_room() {
            let end = index.end().max(1);
            (end..end + 1_000).for_each(|offset| index.push(&entry(offset), Some((offset, 0))));
            index.settle();
        }
        assert!(index.weight() < MOST_BYTES + 1_000 * (EVENT_BYTES + KEY_BYTES));
        let end = index.end();
        index.age();
        index.start(end - 10, 1);
        assert!(!index.has_room(), "its first reader may still be there");
        index.age();
        index.start(end - 10, 1);
        assert!(index.has_room());
        assert_eq!((index.first(), index.next.len()), (end - 10, 10));
    }

    #[test]
    fn an_event_is_told_apart_by_its_subject_or_its_source_and_type() {
        let keys = Keys::default();
        let mut event = posted("a", b"{}").event;
        let without = keys.of(&event).0;
        event.subject = Some("x".into());
        let with = keys.of(&event).0;
        assert_ne!(without, with);
        event.type_ = "other".into();
        assert_eq!(keys.of(&event).0, with);
        let by_data = crate::filter::compile("event.data.k").unwrap();
        let keys = Keys::new(Some(Arc::new(by_data)));
        assert_eq!(keys.of(&event).0, None, "it has no such field");
    }
}
