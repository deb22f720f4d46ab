//! Counters of what has one of a few reasons.

use std::array;

use super::{Counter, Transport, TurnedAway};
use crate::{filter::Refused, frame::GapReason};

/// What has one of so many reasons, on each transport.
#[derive(Debug)]
pub(super) struct ByTransport<const REASONS: usize>([[Counter; REASONS]; Transport::ALL.len()]);

impl<const REASONS: usize> Default for ByTransport<REASONS> {
    fn default() -> Self {
        Self(array::from_fn(|_| array::from_fn(|_| Counter::default())))
    }
}

impl<const REASONS: usize> ByTransport<REASONS> {
    /// Counts one, for the reason in this place.
    pub(super) fn count(&self, transport: Transport, place: usize) {
        if let Some(counter) = self.counter(transport, place) {
            counter.add(1);
        }
    }

    /// How many there were.
    pub(super) fn get(&self, transport: Transport, place: usize) -> u64 {
        self.counter(transport, place).map_or(0, Counter::get)
    }

    fn counter(&self, transport: Transport, place: usize) -> Option<&Counter> {
        self.0.get(transport as usize)?.get(place)
    }
}

/// Gaps that subscribers were told about.
#[derive(Debug, Default)]
pub struct Gaps([Counter; GapReason::ALL.len()]);

impl Gaps {
    /// Counts one.
    pub fn count(&self, reason: GapReason) {
        if let Some(counter) = self.0.get(reason as usize) {
            counter.add(1);
        }
    }

    /// How many there were, by reason.
    pub fn all(&self) -> impl Iterator<Item = (GapReason, u64)> {
        GapReason::ALL.into_iter().zip(self.0.iter().map(Counter::get))
    }
}

/// Filters that subscribers didn't get.
#[derive(Debug, Default)]
pub struct FiltersRefused([Counter; WORDS.len()]);

/// Why there is no filter.
const WORDS: [&str; 8] = [
    "length",
    "syntax",
    "meaning",
    "absent",
    "busy",
    TurnedAway::TooManyFilters.name(),
    TurnedAway::TooManyFiltersOfClient.name(),
    TurnedAway::FilterTooCostly.name(),
];

impl FiltersRefused {
    /// Counts one that can't be used.
    pub fn count(&self, refused: &Refused) {
        self.count_word(match refused {
            Refused::Length { .. } => "length",
            Refused::Syntax { .. } => "syntax",
            Refused::Meaning { .. } => "meaning",
            Refused::Absent => "absent",
            Refused::Busy => "busy",
        });
    }

    /// Counts one that can be used, but not now.
    pub fn turned_away(&self, reason: TurnedAway) {
        self.count_word(reason.name());
    }

    fn count_word(&self, word: &str) {
        let place = WORDS.iter().position(|known| *known == word);
        if let Some(counter) = place.and_then(|place| self.0.get(place)) {
            counter.add(1);
        }
    }

    /// How many there were, by reason.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        WORDS.into_iter().zip(self.0.iter().map(Counter::get))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Place;

    #[test]
    fn each_is_counted_by_its_reason() {
        let (gaps, filters) = (Gaps::default(), FiltersRefused::default());
        GapReason::ALL.into_iter().for_each(|reason| gaps.count(reason));
        assert!(gaps.all().all(|(_, count)| count == 1));
        filters.count(&Refused::Length { bytes: 9_999 });
        let place = Place::of("", 0);
        filters.count(&Refused::Syntax { place: place.clone(), message: String::new() });
        filters.count(&Refused::Meaning { place, message: String::new() });
        filters.count(&Refused::Absent);
        filters.count(&Refused::Busy);
        filters.turned_away(TurnedAway::TooManyFilters);
        filters.turned_away(TurnedAway::TooManyFiltersOfClient);
        filters.turned_away(TurnedAway::FilterTooCostly);
        assert!(filters.all().all(|(_, count)| count == 1));
    }
}
