//! Readers who are behind, by turns.

use std::sync::Arc;

use super::*;
use crate::hub::tests::{event, filter, hub};

/// Somebody who is behind.
struct Reader {
    next: Offset,
    until: Offset,
    got: Vec<Offset>,
    passed: Passed,
}

impl Reader {
    fn new(hub: &Hub, next: Offset) -> Self {
        Self { next, until: hub.head(), got: Vec::new(), passed: Passed::default() }
    }

    /// A turn of so many fetches. Says whether there is more.
    fn turn(&mut self, hub: &Arc<Hub>, filter: Option<&Arc<Filter>>, fetches: usize) -> bool {
        for _ in 0..fetches {
            if self.next >= self.until {
                return false;
            }
            let range = self.next..self.until;
            match hub.fetch_conflated(Format::SseData, filter, range) {
                Fetch::Chunk(chunk) => {
                    self.got.extend(chunk.offsets());
                    self.next = chunk.end();
                }
                Fetch::Skipped(passed) => {
                    self.next += passed.count();
                    self.passed.filtered += passed.filtered;
                    self.passed.conflated += passed.conflated;
                }
                other @ (Fetch::Empty | Fetch::Loading | Fetch::Evicted { .. }) => {
                    panic!("{other:?}")
                }
            }
        }
        true
    }
}

/// A turn of each, as above.
fn round(
    readers: &mut [Reader],
    hub: &Arc<Hub>,
    filter: Option<&Arc<Filter>>,
    fetches: usize,
) -> bool {
    let mut more = false;
    for reader in readers {
        more |= reader.turn(hub, filter, fetches);
    }
    more
}

#[test]
fn two_who_are_far_apart_both_come_to_the_end_whoever_is_first() {
    let (runtime, hub) = hub("maxBytes: 64Mi");
    let events = (0..400).map(|n| event(n, 3, 100 * 1024)).collect();
    runtime.block_on(hub.publish(events)).unwrap();
    let half = filter(&runtime, &hub, "event.id.endsWith('0') || event.id.endsWith('5')");
    for filter in [None, Some(&half)] {
        // Four fetches a turn are a connection's, one is a session's.
        for (places, fetches) in [([1, 200], 4), ([200, 1], 4), ([1, 20], 1), ([300, 150], 1)] {
            let mut readers = places.map(|from| Reader::new(&hub, from));
            let mut turns = 0;
            while round(&mut readers, &hub, filter, fetches) {
                turns += 1;
                assert!(turns < 500, "they get nowhere");
            }
            let newest: &[Offset] =
                if filter.is_some() { &[386, 391, 396] } else { &[398, 399, 400] };
            readers.iter().for_each(|reader| assert_eq!(reader.got, newest));
            // Nobody asks any more.
            (0..2).for_each(|_| hub.expire());
        }
    }
}

#[test]
fn what_an_index_has_no_room_for_comes_as_it_is() {
    const EVENTS: u64 = 150_000;
    let (runtime, hub) = hub("maxEvents: 200000, maxBytes: 256Mi");
    for start in (0..EVENTS).step_by(10_000) {
        let events = (start..start + 10_000).map(|n| event(n, EVENTS, 1)).collect();
        runtime.block_on(hub.publish(events)).unwrap();
    }
    let mut readers = [1, 120_000].map(|from| Reader::new(&hub, from));
    let mut turns = 0;
    while round(&mut readers, &hub, None, 4) {
        turns += 1;
        assert!(turns < 5_000, "they get nowhere");
    }
    for (reader, from) in readers.iter().zip([1, 120_000]) {
        assert!(reader.got.iter().copied().eq(from..=EVENTS), "each has a key of its own");
    }
}
