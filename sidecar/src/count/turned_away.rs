//! Why subscribers were turned away, or sent away: counted by transport and reason.

use std::{ops::Range, time::Instant};

use super::{Transport, crowd::Crowd, reasons::ByTransport};

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
    /// There are as many different filters of the client as there may be.
    TooManyFiltersOfClient,
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
    pub const ALL: [Self; 11] = [
        Self::Draining,
        Self::TooManyConnections,
        Self::TooManyFromAddress,
        Self::MemoryPressure,
        Self::TooManyFilters,
        Self::TooManyFiltersOfClient,
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
            Self::TooManyFiltersOfClient => "too_many_filters_of_client",
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

    /// Whether those who are turned away for it wait for the same thing, so that many of them are to be spread. They
    /// don't where another replica has room, and where each is at a bound of its own: nobody else is to wait longer
    /// because one client tries over and over.
    const fn makes_a_crowd(self) -> bool {
        match self {
            Self::TooManyConnections | Self::MemoryPressure | Self::LogUnavailable | Self::Busy => {
                true
            }
            Self::Draining
            | Self::TooManyFromAddress
            | Self::TooManyFilters
            | Self::TooManyFiltersOfClient
            | Self::FilterTooCostly
            | Self::TooManyMessages
            | Self::SlowMessage => false,
        }
    }

    const fn range(self) -> Range<u64> {
        match self {
            Self::Draining
            | Self::TooManyConnections
            | Self::TooManyFilters
            | Self::LogUnavailable
            | Self::SlowMessage => SOON,
            Self::TooManyFromAddress
            | Self::TooManyFiltersOfClient
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
    counts: ByTransport<{ TurnedAway::ALL.len() }>,
    /// By reason: who is turned away for one of them makes nobody wait who is for another.
    lately: [Crowd; TurnedAway::ALL.len()],
}

impl Turnings {
    /// Counts one, and says after how many milliseconds it is to come back: where they make a crowd, the later, the
    /// more there are.
    pub fn send_back(&self, transport: Transport, reason: TurnedAway) -> u64 {
        self.count(transport, reason);
        match self.lately.get(reason as usize).filter(|_| reason.makes_a_crowd()) {
            Some(crowd) => {
                crowd.add(Instant::now());
                crowd.spread(reason.range())
            }
            None => reason.retry_ms(),
        }
    }

    /// Counts one.
    pub fn count(&self, transport: Transport, reason: TurnedAway) {
        self.counts.count(transport, reason as usize);
    }

    /// How many there were.
    #[must_use]
    pub fn get(&self, transport: Transport, reason: TurnedAway) -> u64 {
        self.counts.get(transport, reason as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_one_of_its_reason_and_of_no_client_at_its_own_bound() {
        let longest = |turnings: &Turnings, reason| {
            let hints = (0..1_000).map(|_| turnings.send_back(Transport::Sse, reason));
            hints.max().unwrap()
        };
        for reason in TurnedAway::ALL {
            let turnings = Turnings::default();
            let most = longest(&turnings, reason);
            assert_eq!(most > reason.range().end, reason.makes_a_crowd(), "{reason:?}: {most}");
            for other in TurnedAway::ALL.into_iter().filter(|other| *other != reason) {
                let hint = turnings.send_back(Transport::WebSocket, other);
                assert!(other.range().contains(&hint), "{other:?} after {reason:?}: {hint}");
            }
        }
        for alone in [
            TurnedAway::Draining,
            TurnedAway::TooManyFromAddress,
            TurnedAway::TooManyFiltersOfClient,
        ] {
            assert!(!alone.makes_a_crowd());
        }
    }

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
