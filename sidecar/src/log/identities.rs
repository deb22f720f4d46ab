//! Which events a log holds, by source and id.

use std::{
    collections::{HashMap, hash_map},
    hash::{BuildHasher, RandomState},
};

use super::Offset;
use crate::{event::Event, intake::Posted};

/// What an event is known by: two independently keyed hashes of its source and id.
pub(super) type Key = [u64; 2];

/// Which events a log holds, by source and id.
///
/// An event is known by 128 bits of two independently keyed hashes. The keys are random, so nobody
/// can make two events collide; by chance it happens once in 10^20 logs of a billion events.
#[derive(Debug, Default)]
pub(super) struct Identities {
    hashers: [RandomState; 2],
    offsets: HashMap<[u64; 2], Offset>,
}

impl Identities {
    /// The offset of an equal event, or `None` after the event was remembered at `offset`.
    pub(super) fn find_or_remember(&mut self, posted: &Posted, offset: Offset) -> Option<Offset> {
        if !posted.idempotent {
            return None;
        }
        self.find_or_insert(self.key(&posted.event), offset)
    }

    /// Forgets an event that has left the log.
    pub(super) fn forget(&mut self, posted: &Posted) {
        if posted.idempotent {
            self.offsets.remove(&self.key(&posted.event));
        }
    }

    /// What a repetition of the event is known by; `None` where none can come.
    pub(super) fn key_of(&self, posted: &Posted) -> Option<Key> {
        posted.idempotent.then(|| self.key(&posted.event))
    }

    /// The offset of the event with this key, or `None` after the key was remembered at `offset`.
    pub(super) fn find_or_insert(&mut self, key: Key, offset: Offset) -> Option<Offset> {
        match self.offsets.entry(key) {
            hash_map::Entry::Occupied(known) => Some(*known.get()),
            hash_map::Entry::Vacant(place) => {
                place.insert(offset);
                None
            }
        }
    }

    /// Remembers the newest event with this key.
    pub(super) fn insert(&mut self, key: Key, offset: Offset) {
        self.offsets.insert(key, offset);
    }

    /// Forgets the key of the event at `offset`, unless it is that of a newer one by now.
    pub(super) fn remove(&mut self, key: Key, offset: Offset) {
        if let hash_map::Entry::Occupied(known) = self.offsets.entry(key)
            && *known.get() == offset
        {
            known.remove();
        }
    }

    fn key(&self, event: &Event) -> Key {
        self.hashers.each_ref().map(|state| state.hash_one((&event.source, &event.id)))
    }
}
