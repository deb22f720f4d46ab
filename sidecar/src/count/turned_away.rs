//! Why subscribers were turned away: counted by transport and reason.

use super::{Counter, Transport};

/// Why a subscriber that asks for nothing wrong is not served now. It may come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TurnedAway {
    /// This replica stops.
    Draining,
    /// The pipeline has as many connections as it may have.
    TooManyConnections,
    /// There are as many different filters as there may be.
    TooManyFilters,
    /// The log can't be read now.
    LogUnavailable,
}

impl TurnedAway {
    /// Every reason, in the order in which they are declared.
    pub const ALL: [Self; 4] =
        [Self::Draining, Self::TooManyConnections, Self::TooManyFilters, Self::LogUnavailable];

    /// The word in band, in a problem's type, and in the metrics' label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::TooManyConnections => "too_many_connections",
            Self::TooManyFilters => "too_many_filters",
            Self::LogUnavailable => "log_unavailable",
        }
    }
}

/// How many were turned away.
#[derive(Debug, Default)]
pub struct Turnings([[Counter; TurnedAway::ALL.len()]; Transport::ALL.len()]);

impl Turnings {
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
        self.0.get(transport as usize)?.get(reason as usize)
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
