//! Decides where a subscriber starts to read, and what it must be told about what it missed.

use crate::{
    frame::GapReason,
    log::{Cursor, LogId, Micros, Offset},
};

/// How far the clocks of replicas that share a log may be apart, in microseconds.
pub const SKEW: Micros = 10_000_000;

/// How far the clock of whoever asks may be ahead, in microseconds. To a browser's EventSource a refusal is final,
/// and a moment later its time is no longer to come: so it is let in who means now.
const AHEAD: Micros = 300_000_000;

/// Where a subscriber asked to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// At the next event.
    Latest,
    /// At the oldest event that is held.
    Earliest,
    /// At the first event accepted at or after a moment of the wall clock.
    At(Micros),
    /// After the event that the cursor names.
    After(Cursor),
    /// A cursor that could not be read.
    Malformed,
}

/// Where a subscriber starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// The offset of the first event it gets.
    pub next: Offset,
    /// What it must be told first.
    pub gap: Option<Gap>,
}

/// Events that a subscriber asked for and can't have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The last event the subscriber has seen, where that is known.
    pub from: Option<Cursor>,
    /// How many events are missing, where that is known.
    pub missed: Option<u64>,
    /// Why.
    pub reason: GapReason,
}

/// The moment of a wall-clock time (RFC 3339); before 1970 there was nothing.
#[must_use]
pub fn moment(time: &str) -> Option<Micros> {
    let read = time.parse::<jiff::Timestamp>().ok().or_else(|| last_moment(time));
    Some(u64::try_from(read?.as_microsecond()).unwrap_or(0))
}

/// The last moment there is, for a time at the end of the year 9999, of which [`jiff::Timestamp`] knows no more than
/// what has a date by every offset.
fn last_moment(time: &str) -> Option<jiff::Timestamp> {
    let date = time.strip_suffix(['Z', 'z'])?.parse::<jiff::civil::DateTime>().ok()?.date();
    (date.year() == jiff::civil::Date::MAX.year()).then_some(jiff::Timestamp::MAX)
}

impl Start {
    /// A start about which there is nothing to tell.
    #[must_use]
    pub const fn without_gap(next: Offset) -> Self {
        Self { next, gap: None }
    }
}

impl Position {
    /// Where a subscriber starts that asks for it by a cursor or, without one, by a word or a time. A time that is to
    /// come by more than clocks differ is none: whoever started there would get what comes before it.
    ///
    /// # Errors
    ///
    /// Says what may be asked for.
    pub fn asked(
        cursor: Option<&str>,
        from: Option<&str>,
        now: Micros,
    ) -> Result<Self, &'static str> {
        // An empty one is what a client sends that has none yet.
        match (cursor.filter(|text| !text.is_empty()), from) {
            (Some(text), _) => Ok(Self::of_cursor(text)),
            (None, None | Some("latest")) => Ok(Self::Latest),
            (None, Some("earliest")) => Ok(Self::Earliest),
            (None, Some(time)) => match moment(time) {
                Some(time) if time > now.saturating_add(AHEAD) => {
                    Err("from must be no time to come: leave it out to start at the next event")
                }
                Some(time) => Ok(Self::At(time)),
                None => {
                    Err("from must be earliest, latest, or a time such as 2026-01-31T12:00:00Z")
                }
            },
        }
    }

    /// Behind the event of a cursor.
    #[must_use]
    pub fn of_cursor(text: &str) -> Self {
        text.parse().map_or(Self::Malformed, Self::After)
    }

    /// The start in the log `id` that holds the events from `first` up to before `head`.
    ///
    /// A cursor that can't be honoured leads to the oldest event held: what the subscriber may have
    /// seen already it can recognise by its id, what it never gets it could not.
    #[must_use]
    pub fn resolve(&self, id: LogId, first: Offset, head: Offset) -> Start {
        let cursor = match self {
            Self::Latest => return Start::without_gap(head),
            Self::Earliest | Self::At(_) => return Start::without_gap(first),
            Self::Malformed => return Start { next: first, gap: Some(Gap::malformed()) },
            Self::After(cursor) => *cursor,
        };
        let gap = |missed, reason| Gap { from: Some(cursor), missed, reason };
        if cursor.log != id {
            return Start { next: first, gap: Some(gap(None, GapReason::UnknownLog)) };
        }
        match cursor.offset.checked_add(1) {
            Some(next) if next < first => {
                let missed = Some(first - next);
                Start { next: first, gap: Some(gap(missed, GapReason::Evicted)) }
            }
            Some(next) if next <= head => Start::without_gap(next),
            // Of this log, but from a future it never had: no cursor that was ever handed out.
            Some(_) | None => Start { next: first, gap: Some(Gap::malformed()) },
        }
    }
}

/// The start at the first event since `time`, which is `next`. Before it stood `evicted`, where that is
/// the newest event that left the log: unless it is known to be older than `time`, events are missing.
pub(super) fn since(
    time: Micros,
    next: Offset,
    evicted: Option<Offset>,
    time_of: impl FnOnce(Offset) -> Option<Micros>,
) -> Start {
    let missing = evicted
        .filter(|evicted| *evicted > 0)
        .is_some_and(|evicted| time_of(evicted).is_none_or(|left| left >= time));
    let gap = missing.then_some(Gap { from: None, missed: None, reason: GapReason::Evicted });
    Start { next, gap }
}

impl Gap {
    const fn malformed() -> Self {
        Self { from: None, missed: None, reason: GapReason::Malformed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The start in a log that holds the offsets 5 to 9.
    fn start(position: impl FnOnce(LogId) -> Position) -> Start {
        let id = LogId::random();
        position(id).resolve(id, 5, 10)
    }

    fn after(offset: Offset) -> Start {
        start(|log| Position::After(Cursor { log, offset }))
    }

    #[test]
    fn latest_and_earliest_are_the_ends_of_the_log() {
        assert_eq!(start(|_| Position::Latest), Start::without_gap(10));
        assert_eq!(start(|_| Position::Earliest), Start::without_gap(5));
    }

    #[test]
    fn a_time_before_what_is_held_is_told_of_a_gap_unless_what_left_is_older() {
        let start = |evicted, left: Option<Micros>| since(100, 5, evicted, |_| left).gap;
        let gap = Some(Gap { from: None, missed: None, reason: GapReason::Evicted });
        assert_eq!(start(Some(4), Some(100)), gap);
        assert_eq!(start(Some(4), None), gap, "nobody knows");
        assert_eq!(start(Some(4), Some(99)), None);
        assert_eq!(start(None, None), None, "the time is within what is held");
        assert_eq!(since(100, 1, Some(0), |_| None).gap, None, "nothing ever left");
    }

    #[test]
    fn a_time_is_one_that_is_over_as_far_as_clocks_agree() {
        let asked = |from, now| Position::asked(None, Some(from), now);
        let at = 1_000_000_000;
        let second = 1_000_000;
        let from = "1970-01-01T00:16:40Z";
        for now in [at, at + 1, at - 300 * second] {
            assert_eq!(asked(from, now), Ok(Position::At(at)));
        }
        for now in [0, at - 300 * second - 1] {
            assert!(asked(from, now).unwrap_err().contains("no time to come"));
        }
        for last in ["9999-12-31T00:00:00Z", "9999-12-30T23:59:59Z", "9999-12-31T23:59:59Z"] {
            assert!(asked(last, at).unwrap_err().contains("no time to come"), "{last}");
        }
        assert!(moment("9999-12-30T00:00:00Z") < moment("9999-12-31T23:59:59Z"));
        assert!(asked("noon", at).unwrap_err().contains("earliest, latest, or a time"));
        assert_eq!(Position::asked(Some("x"), Some("noon"), at), Ok(Position::Malformed));
    }

    #[test]
    fn a_cursor_leads_to_the_event_after_it() {
        assert_eq!(after(4), Start::without_gap(5));
        assert_eq!(after(7), Start::without_gap(8));
        assert_eq!(after(9), Start::without_gap(10));
    }

    #[test]
    fn an_evicted_cursor_is_told_how_many_events_are_missing() {
        let start = after(1);
        let gap = start.gap.unwrap();
        assert_eq!((start.next, gap.missed, gap.reason), (5, Some(3), GapReason::Evicted));
    }

    #[test]
    fn a_cursor_into_another_incarnation_starts_at_the_oldest_event() {
        let other = Cursor { log: LogId::random(), offset: 7 };
        let start = start(|_| Position::After(other));
        let gap = start.gap.unwrap();
        assert_eq!((start.next, gap.missed, gap.reason), (5, None, GapReason::UnknownLog));
        assert_eq!(gap.from, Some(other));
    }

    #[test]
    fn a_cursor_from_the_future_or_from_nowhere_is_called_malformed() {
        for start in [after(10), after(u64::MAX), start(|_| Position::Malformed)] {
            assert_eq!((start.next, start.gap.unwrap().reason), (5, GapReason::Malformed));
        }
    }
}
