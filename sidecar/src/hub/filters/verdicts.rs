//! Which of the newest events a filter matches: two bits each, aligned with the log's offsets.

use std::{collections::VecDeque, ops::Range};

use crate::log::Offset;

/// How many events' verdicts are remembered: 32 KiB of them.
const WINDOW: usize = 128 * 1024;

const BITS: u64 = u64::BITS as u64;
const MOST_WORDS: usize = WINDOW / u64::BITS as usize;

/// The verdicts on a window of events, which moves on with the log.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    /// The number of the first word: its first offset is this times 64.
    first: u64,
    words: VecDeque<Word>,
}

/// How many events of a range have a verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// Those that match.
    pub matched: u64,
    /// Those that don't.
    pub unmatched: u64,
}

/// The verdicts on 64 neighbouring events.
#[derive(Debug, Clone, Copy, Default)]
struct Word {
    known: u64,
    matching: u64,
}

impl Verdicts {
    /// The verdict on an event, where it is remembered.
    pub(super) fn get(&self, offset: Offset) -> Option<bool> {
        let word = self.word(offset / BITS)?;
        let bit = 1 << (offset % BITS);
        (word.known & bit != 0).then_some(word.matching & bit != 0)
    }

    /// Remembers a verdict, unless the event is older than the window.
    pub(super) fn put(&mut self, offset: Offset, matches: bool) {
        let number = offset / BITS;
        if self.words.is_empty() || number >= self.end() + MOST_WORDS as u64 {
            self.words.clear();
            self.first = number;
        }
        if number < self.oldest() {
            return;
        }
        while number < self.first {
            self.words.push_front(Word::default());
            self.first -= 1;
        }
        while self.end() <= number {
            if self.words.len() == MOST_WORDS {
                self.words.pop_front();
                self.first += 1;
            }
            self.words.push_back(Word::default());
        }
        let place = number.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        if let Some(word) = place.and_then(|place| self.words.get_mut(place)) {
            let bit = 1 << (offset % BITS);
            word.known |= bit;
            word.matching |= if matches { bit } else { 0 };
        }
    }

    /// Forgets the verdicts on events before `limit`.
    pub(super) fn forget_before(&mut self, limit: Offset) {
        while self.first < limit / BITS && self.words.pop_front().is_some() {
            self.first += 1;
        }
        if self.words.capacity() > 4 * self.words.len() {
            self.words.shrink_to(2 * self.words.len());
        }
    }

    /// What is known of a range of events.
    pub(super) fn known(&self, range: Range<Offset>) -> Known {
        let from = range.start.max(self.first * BITS);
        let to = range.end.min(self.end() * BITS);
        let mut sum = Known::default();
        if from >= to {
            return sum;
        }
        for number in from / BITS..=(to - 1) / BITS {
            let word = self.word(number).unwrap_or_default();
            let start = from.saturating_sub(number * BITS);
            let end = (to - number * BITS).min(BITS);
            let known = word.known & ((u64::MAX >> (BITS - (end - start))) << start);
            sum.matched += u64::from((known & word.matching).count_ones());
            sum.unmatched += u64::from((known & !word.matching).count_ones());
        }
        sum
    }

    /// The first event of a range that has no verdict, and may get one.
    pub(super) fn first_unknown(&self, range: Range<Offset>) -> Option<Offset> {
        let mut offset = range.start.max(self.oldest() * BITS);
        while offset < range.end {
            let (word, bit) = (self.word(offset / BITS).unwrap_or_default(), offset % BITS);
            let known = u64::from((word.known >> bit).trailing_ones());
            offset += known;
            if known < BITS - bit {
                return Some(offset).filter(|offset| *offset < range.end);
            }
        }
        None
    }

    /// The number of the first word that the window has room for.
    fn oldest(&self) -> u64 {
        self.end().saturating_sub(MOST_WORDS as u64)
    }

    fn end(&self) -> u64 {
        self.first + self.words.len() as u64
    }

    fn word(&self, number: u64) -> Option<Word> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.words.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_those_of_a_map(
            puts in prop::collection::vec((1_u64..400, any::<bool>()), 0..200),
            from in 0_u64..400,
            length in 0_u64..400,
        ) {
            let (mut verdicts, mut map) = (Verdicts::default(), HashMap::new());
            for (offset, matches) in puts {
                // An event's verdict never changes.
                let matches = *map.entry(offset).or_insert(matches);
                verdicts.put(offset, matches);
            }
            for offset in 0..400 {
                prop_assert_eq!(verdicts.get(offset), map.get(&offset).copied());
            }
            let range = from..from + length;
            let count = |wanted| {
                let inside = map.iter().filter(|(offset, _)| range.contains(offset));
                inside.filter(|(_, matches)| **matches == wanted).count() as u64
            };
            let known = Known { matched: count(true), unmatched: count(false) };
            prop_assert_eq!(verdicts.known(range.clone()), known);
            let unknown = range.clone().find(|offset| !map.contains_key(offset));
            prop_assert_eq!(verdicts.first_unknown(range), unknown);
        }
    }

    #[test]
    fn the_window_moves_on_and_is_bounded() {
        let mut verdicts = Verdicts::default();
        let far = 3 * WINDOW as u64;
        for offset in 0..far {
            verdicts.put(offset, offset % 2 == 0);
        }
        assert_eq!(verdicts.words.len(), MOST_WORDS);
        assert_eq!((verdicts.get(0), verdicts.get(far - 1)), (None, Some(false)));
        verdicts.put(0, true);
        assert_eq!(verdicts.get(0), None, "it is older than the window");
        assert_eq!(verdicts.first_unknown(0..far), None);
        assert_eq!(verdicts.known(0..far).unmatched, WINDOW as u64 / 2);
        verdicts.forget_before(far - 100);
        assert_eq!((verdicts.get(far - 200), verdicts.get(far - 100)), (None, Some(true)));
        assert!(verdicts.words.capacity() < 10);
        verdicts.put(far - 200, true);
        assert_eq!(verdicts.get(far - 200), Some(true));
        verdicts.put(u64::MAX / 2, true);
        assert_eq!((verdicts.words.len(), verdicts.get(far - 1)), (1, None));
    }
}
