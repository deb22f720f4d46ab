//! Which events a log holds, by source and id.

use std::{
    collections::{HashMap, hash_map},
    hash::{BuildHasher, RandomState},
};

use super::Offset;
use crate::{event::Event, intake::Posted};

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
        match self.offsets.entry(self.key(&posted.event)) {
            hash_map::Entry::Occupied(known) => Some(*known.get()),
            hash_map::Entry::Vacant(place) => {
                place.insert(offset);
                None
            }
        }
    }

    /// Forgets an event that has left the log.
    pub(super) fn forget(&mut self, posted: &Posted) {
        if posted.idempotent {
            self.offsets.remove(&self.key(&posted.event));
        }
    }

    fn key(&self, event: &Event) -> [u64; 2] {
        self.hashers.each_ref().map(|state| state.hash_one((&event.source, &event.id)))
    }
}
