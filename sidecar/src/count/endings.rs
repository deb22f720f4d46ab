//! Why connections of subscribers have ended: counted by transport and reason.

use super::{Transport, reasons::ByTransport};

/// Why a connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The client closed it.
    Client,
    /// It broke: the client is gone without a word.
    Broken,
    /// The client left a ping unanswered.
    Unanswered,
    /// The client's socket took nothing for too long.
    Stalled,
    /// The subscriber fell too far behind.
    SlowConsumer,
    /// This replica stops.
    Drain,
    /// It reached its age.
    Age,
    /// Another replica has fewer.
    Share,
    /// The pipeline, its endpoint or the terms of its subscribers have gone or changed, or its log has.
    Changed,
    /// The token's time was over.
    TokenExpired,
    /// The filter costs more than it may.
    FilterTooCostly,
    /// The client broke the protocol.
    Breach,
    /// The client sent more than it may.
    TooManyMessages,
    /// There was no memory for what the client has begun to send.
    Busy,
    /// A message of the client didn't end in time.
    SlowMessage,
}

impl EndReason {
    /// Every reason, in the order in which they are declared.
    pub const ALL: [Self; 15] = [
        Self::Client,
        Self::Broken,
        Self::Unanswered,
        Self::Stalled,
        Self::SlowConsumer,
        Self::Drain,
        Self::Age,
        Self::Share,
        Self::Changed,
        Self::TokenExpired,
        Self::FilterTooCostly,
        Self::Breach,
        Self::TooManyMessages,
        Self::Busy,
        Self::SlowMessage,
    ];

    /// The value of the metric's label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Broken => "broken",
            Self::Unanswered => "unanswered",
            Self::Stalled => "stalled",
            Self::SlowConsumer => "slow_consumer",
            Self::Drain => "drain",
            Self::Age => "age",
            Self::Share => "share",
            Self::Changed => "changed",
            Self::TokenExpired => "token_expired",
            Self::FilterTooCostly => "filter_too_costly",
            Self::Breach => "breach",
            Self::TooManyMessages => "too_many_messages",
            Self::Busy => "busy",
            Self::SlowMessage => "slow_message",
        }
    }
}

/// How many have ended.
#[derive(Debug, Default)]
pub struct Endings(ByTransport<{ EndReason::ALL.len() }>);

impl Endings {
    /// Counts one.
    pub fn count(&self, transport: Transport, reason: EndReason) {
        self.0.count(transport, reason as usize);
    }

    /// How many there were.
    #[must_use]
    pub fn get(&self, transport: Transport, reason: EndReason) -> u64 {
        self.0.get(transport, reason as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_by_itself() {
        let endings = Endings::default();
        for (n, reason) in EndReason::ALL.into_iter().enumerate() {
            (0..=n).for_each(|_| endings.count(Transport::Sse, reason));
        }
        for (n, reason) in EndReason::ALL.into_iter().enumerate() {
            assert_eq!(endings.get(Transport::Sse, reason), n as u64 + 1, "{reason:?}");
            assert_eq!(endings.get(Transport::WebSocket, reason), 0);
        }
    }
}
