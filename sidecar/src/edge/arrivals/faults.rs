//! How connections end that have asked for nothing, or read nothing of what they asked for, counted by reason.

use h2::Reason;

use crate::count::Counter;

/// Why a connection to the public port was of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its address opens more a second than it may.
    TooManyOfAddress,
    /// It said nothing in time.
    Silent,
    /// It began, and did not get to a request in time, or to the end of its head.
    Slow,
    /// The head of a request was too large.
    HeadTooLarge,
    /// What it said is no HTTP.
    Malformed,
    /// It reset streams, or sent frames that do nothing, faster than it may.
    Flood,
    /// There was no memory for the head of a request; over HTTP/2 for one of several frames, and not for a while.
    Busy,
    /// It was idle, and its place was needed.
    Idle,
    /// It didn't take an answer in time.
    Unread,
}

impl Fault {
    /// Every reason, in the order in which they are declared.
    pub const ALL: [Self; 9] = [
        Self::TooManyOfAddress,
        Self::Silent,
        Self::Slow,
        Self::HeadTooLarge,
        Self::Malformed,
        Self::Flood,
        Self::Busy,
        Self::Idle,
        Self::Unread,
    ];

    /// The value of the metric's label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooManyOfAddress => "too_many_of_address",
            Self::Silent => "silent",
            Self::Slow => "slow",
            Self::HeadTooLarge => "head_too_large",
            Self::Malformed => "malformed",
            Self::Flood => "flood",
            Self::Busy => "busy",
            Self::Idle => "idle",
            Self::Unread => "unread",
        }
    }

    /// What was wrong with a connection over HTTP/1; nothing where the peer just left.
    pub(in crate::edge) fn of_http1(error: &hyper::Error) -> Option<Self> {
        match (error.is_parse_too_large(), error.is_parse()) {
            (true, _) => Some(Self::HeadTooLarge),
            (false, true) => Some(Self::Malformed),
            (false, false) => None,
        }
    }

    /// The same over HTTP/2.
    pub(in crate::edge) fn of_http2(error: &h2::Error) -> Option<Self> {
        // What the peer itself said, or the socket, is no fault that was found here.
        let reason = error.reason().filter(|_| error.is_library())?;
        Some(if reason == Reason::ENHANCE_YOUR_CALM { Self::Flood } else { Self::Malformed })
    }
}

/// How often each was met.
#[derive(Debug, Default)]
pub(super) struct Faults([Counter; Fault::ALL.len()]);

impl Faults {
    pub(super) fn count(&self, fault: Fault) {
        if let Some(counter) = self.0.get(fault as usize) {
            counter.add(1);
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Fault, u64)> {
        Fault::ALL.into_iter().zip(self.0.iter().map(Counter::get))
    }
}
