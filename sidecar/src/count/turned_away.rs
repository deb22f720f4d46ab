//! Why subscribers were turned away, or sent away: counted by transport and reason.

use std::{ops::Range, time::Instant};

use super::{Counter, Transport, crowd::Crowd};

/// Why a subscriber is not served now, or no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TurnedAway {
    /// This replica stops.
    Draining,
    /// The pipeline has as many connections as it may have.
    TooManyConnections,
    /// The client's address has as many connections as it may have.
    TooManyFromAddress,
    /// Memory is scarce.
    MemoryPressure,
    /// There are as many different filters as there may be.
    TooManyFilters,
    /// The filter costs more than it may.
    FilterTooCostly,
    /// The log can't be read now.
    LogUnavailable,
    /// The client sends more than it may.
    TooManyMessages,
    /// There is no memory for what the client has begun to send.
    Busy,
    /// A message of the client didn't end in time.
    SlowMessage,
}

impl TurnedAway {
    /// Every reason, in the order in which they are declared.
    pub const ALL: [Self; 10] = [
        Self::Draining,
        Self::TooManyConnections,
        Self::TooManyFromAddress,
        Self::MemoryPressure,
        Self::TooManyFilters,
        Self::FilterTooCostly,
        Self::LogUnavailable,
        Self::TooManyMessages,
        Self::Busy,
        Self::SlowMessage,
    ];

    /// The word in band, in a problem's type, and in the metrics' label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::TooManyConnections => "too_many_connections",
            Self::TooManyFromAddress => "too_many_connections_of_address",
            Self::MemoryPressure => "memory_pressure",
            Self::TooManyFilters => "too_many_filters",
            Self::FilterTooCostly => "filter_too_costly",
            Self::LogUnavailable => "log_unavailable",
            Self::TooManyMessages => "too_many_messages",
            Self::Busy => "busy",
            Self::SlowMessage => "slow_message",
        }
    }
}

/// Most may come back soon: spread, so that subscribers who are turned away together don't return together.
const SOON: Range<u64> = 1_000..3_000;

/// For some another try helps only later: when memory is free again, or the client itself has done something.
const LATER: Range<u64> = 5_000..15_000;

/// As long as a filter that has cost too much is refused, and somewhat longer.
const A_MINUTE: Range<u64> = 60_000..75_000;

impl TurnedAway {
    /// After how many milliseconds to come back.
    #[must_use]
    pub fn retry_ms(self) -> u64 {
        fastrand::u64(self.range())
    }

    const fn range(self) -> Range<u64> {
        match self {
            Self::Draining
            | Self::TooManyConnections
            | Self::TooManyFilters
            | Self::LogUnavailable
            | Self::SlowMessage => SOON,
            Self::TooManyFromAddress
            | Self::MemoryPressure
            | Self::TooManyMessages
            | Self::Busy => LATER,
            Self::FilterTooCostly => A_MINUTE,
        }
    }
}

/// After how many milliseconds most may come back.
#[must_use]
pub fn retry_soon_ms() -> u64 {
    fastrand::u64(SOON)
}

/// How many were turned away.
#[derive(Debug, Default)]
pub struct Turnings {
    counts: [[Counter; TurnedAway::ALL.len()]; Transport::ALL.len()],
    lately: Crowd,
}

impl Turnings {
    /// Counts one, and says after how many milliseconds it is to come back: the later, the more there are.
    pub fn send_back(&self, transport: Transport, reason: TurnedAway) -> u64 {
        self.count(transport, reason);
        self.lately.add(Instant::now());
        self.lately.spread(reason.range())
    }

    /// Counts one.
    pub fn count(&self, transport: Transport, reason: TurnedAway) {
        if let Some(counter) = self.counter(transport, reason) {
            counter.add(1);
        }
    }

    /// How many there were.
    #[must_use]
    pub fn get(&self, transport: Transport, reason: TurnedAway) -> u64 {
        self.counter(transport, reason).map_or(0, Counter::get)
    }

    fn counter(&self, transport: Transport, reason: TurnedAway) -> Option<&Counter> {
        self.counts.get(transport as usize)?.get(reason as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_by_itself() {
        let turnings = Turnings::default();
        for (n, reason) in TurnedAway::ALL.into_iter().enumerate() {
            (0..=n).for_each(|_| turnings.count(Transport::WebSocket, reason));
        }
        for (n, reason) in TurnedAway::ALL.into_iter().enumerate() {
            assert_eq!(turnings.get(Transport::WebSocket, reason), n as u64 + 1, "{reason:?}");
            assert_eq!(turnings.get(Transport::Sse, reason), 0);
        }
    }
}
