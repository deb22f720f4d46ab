//! The close codes that the server sends, and which of all codes may stand in a frame.

/// Why a connection is closed (RFC 6455, section 7.4, and IANA's registry of close codes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// 1000: the purpose is fulfilled. Final.
    Normal,
    /// 1001: the server goes away. Reconnect, with the cursor.
    GoingAway,
    /// 1002: the client broke the protocol. Final.
    ProtocolError,
    /// 1003: the client sent a kind of message that is not taken here. Final.
    UnsupportedData,
    /// 1007: the client sent text that is not UTF-8. Final.
    InvalidPayload,
    /// 1008: the client is not allowed to do this. Final.
    PolicyViolation,
    /// 1009: the client's message is too big. Final.
    TooBig,
    /// 1011: the server met a condition that it did not expect. Reconnect after a pause.
    InternalError,
    /// 1012: the server restarts. Reconnect soon, with the cursor.
    ServiceRestart,
    /// 1013: the server, or this subscriber, is overloaded. Reconnect after a pause, with the cursor.
    TryAgainLater,
}

impl CloseCode {
    /// Every code.
    pub const ALL: [Self; 10] = [
        Self::Normal,
        Self::GoingAway,
        Self::ProtocolError,
        Self::UnsupportedData,
        Self::InvalidPayload,
        Self::PolicyViolation,
        Self::TooBig,
        Self::InternalError,
        Self::ServiceRestart,
        Self::TryAgainLater,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::ProtocolError => 1002,
            Self::UnsupportedData => 1003,
            Self::InvalidPayload => 1007,
            Self::PolicyViolation => 1008,
            Self::TooBig => 1009,
            Self::InternalError => 1011,
            Self::ServiceRestart => 1012,
            Self::TryAgainLater => 1013,
        }
    }

    /// Whether a client that reconnects may expect to be served.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::GoingAway | Self::InternalError | Self::ServiceRestart | Self::TryAgainLater => {
                true
            }
            Self::Normal
            | Self::ProtocolError
            | Self::UnsupportedData
            | Self::InvalidPayload
            | Self::PolicyViolation
            | Self::TooBig => false,
        }
    }
}

/// Whether a code may stand in a close frame (RFC 6455, section 7.4.2): 1004 is undefined, 1005, 1006
/// and 1015 only exist inside a program, and numbers below 3000 that IANA doesn't list mean nothing.
pub(super) const fn is_sendable(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
