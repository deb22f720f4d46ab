//! Which events a newer one stands for, so that a subscriber who is behind gets the newest of each key.
//!
//! The index is made when the first subscriber falls behind, and moves on with the log. It knows for each
//! event the next one of the same key: an event is superseded up to some offset where that next one comes
//! before it.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use crate::{
    event::Event,
    filter::{Claims, Expression, Scope},
    log::{Entry, Offset},
};

/// What tells events apart: 128 bits of a hash with a secret of this process.
type Key = (u64, u64);

/// How an event's key is found.
#[derive(Debug, Default)]
pub(super) struct Keys {
    expression: Option<Arc<Expression>>,
    hashers: [RandomState; 2],
}

/// The index of one filter's events, or of all.
#[derive(Debug, Default)]
pub(super) struct Conflation {
    /// The offset of the first event in `next`.
    first: Offset,
    /// For each event the next of the same key; 0 where there is none.
    next: VecDeque<Offset>,
    newest: HashMap<Key, Offset>,
}

impl Keys {
    pub(super) fn new(expression: Option<Arc<Expression>>) -> Self {
        Self { expression, hashers: Default::default() }
    }

    /// The key of an event; none where the expression can't be evaluated on it: then no other event
    /// stands for it.
    pub(super) fn of(&self, event: &Event) -> Option<Key> {
        let text = match &self.expression {
            Some(expression) => expression.key(&Scope::new(event, &Claims::Null)).ok()?,
            None => match &event.subject {
                Some(subject) => format!("s{subject}"),
                None => format!("t{}\n{}", event.source, event.type_),
            },
        };
        let [a, b] = self.hashers.each_ref().map(|hasher| hasher.hash_one(&text));
        Some((a, b))
    }
}

impl Conflation {
    /// The offset up to which the index knows.
    pub(super) fn end(&self) -> Offset {
        self.first + self.next.len() as u64
    }

    /// Makes sure that the index reaches back to `from`, and forgets what is before `held`.
    pub(super) fn start(&mut self, from: Offset, held: Offset) {
        if from < self.first || from > self.end() {
            *self = Self { first: from, ..Self::default() };
        }
        while self.first < held && self.next.pop_front().is_some() {
            self.first += 1;
        }
        // Now and then, so that it costs little.
        if self.newest.len() > 2 * self.next.len() + 64 {
            let first = self.first;
            self.newest.retain(|_, newest| *newest >= first);
        }
    }

    /// Takes the next event; `None` for one that has no key, or that is nobody's.
    pub(super) fn push(&mut self, entry: &Entry, key: Option<Key>) {
        let offset = self.end();
        debug_assert_eq!(entry.offset, offset);
        self.next.push_back(0);
        let Some(before) = key.and_then(|key| self.newest.insert(key, offset)) else { return };
        let place = before.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        if let Some(next) = place.and_then(|place| self.next.get_mut(place)) {
            *next = offset;
        }
    }

    /// Whether an event before `until` stands for this one.
    pub(super) fn is_superseded(&self, offset: Offset, until: Offset) -> bool {
        let place = offset.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        let next = place.and_then(|place| self.next.get(place)).copied().unwrap_or(0);
        next != 0 && next < until
    }
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

    proptest! {
        #[test]
        fn it_knows_what_a_search_finds(
            keys in prop::collection::vec(prop::option::of(0_u64..5), 1..60),
            until in 1_u64..61,
            held in 1_u64..30,
        ) {
            let mut index = Conflation::default();
            index.start(1, 1);
            for (place, key) in keys.iter().enumerate() {
                index.push(&entry(place as u64 + 1), key.map(|key| (key, 0)));
            }
            index.start(held.min(keys.len() as u64), held);
            for offset in held..=keys.len() as u64 {
                let key = keys[offset as usize - 1];
                let newer = (offset + 1..until.min(keys.len() as u64 + 1))
                    .any(|other| key.is_some() && keys[other as usize - 1] == key);
                prop_assert_eq!(index.is_superseded(offset, until), newer, "{}", offset);
            }
        }
    }

    #[test]
    fn an_event_is_told_apart_by_its_subject_or_its_source_and_type() {
        let keys = Keys::default();
        let mut event = posted("a", b"{}").event;
        let without = keys.of(&event);
        event.subject = Some("x".into());
        let with = keys.of(&event);
        assert_ne!(without, with);
        event.type_ = "other".into();
        assert_eq!(keys.of(&event), with);
        let by_data = crate::filter::compile("event.data.k").unwrap();
        let keys = Keys::new(Some(Arc::new(by_data)));
        assert_eq!(keys.of(&event), None, "it has no such field");
    }
}
