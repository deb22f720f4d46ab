//! The trace that an event belongs to, by W3C Trace Context and the CloudEvents extension for it.

use std::fmt;

use super::{Event, Extension};

/// The extension attribute, and the header of a request, that names a trace.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// The id of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(u128);

impl TraceId {
    /// The trace that a `traceparent` names (W3C Trace Context, section 3.2); `None` where it is none.
    #[must_use]
    pub fn of(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.split('-');
        let [version, trace, parent, flags] = [(); 4].map(|()| parts.next().unwrap_or_default());
        let well_formed = [(version, 2), (trace, 32), (parent, 16), (flags, 2)]
            .into_iter()
            .all(|(part, length)| part.len() == length && part.bytes().all(is_lower_hex));
        // Only a later version may go on after the flags, and none is called ff.
        let known = version != "ff" && (version != "00" || parts.next().is_none());
        let nobody = parent.bytes().all(|digit| digit == b'0');
        let id = u128::from_str_radix(trace, 16).ok()?;
        (well_formed && known && !nobody && id != 0).then_some(Self(id))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl Event {
    /// The trace that the event belongs to, where it says so.
    #[must_use]
    pub fn trace(&self) -> Option<TraceId> {
        let (_, value) = self.extensions.iter().find(|(name, _)| **name == *TRACEPARENT)?;
        match value {
            Extension::Text(text) => TraceId::of(text),
            Extension::Integer(_) | Extension::Boolean(_) => None,
        }
    }
}

const fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn of(version: &str, trace: &str, rest: &str) -> Option<String> {
        TraceId::of(&format!("{version}-{trace}-{rest}")).map(|trace| trace.to_string())
    }

    #[test]
    fn a_traceparent_names_a_trace() {
        assert_eq!(of("00", TRACE, "00f067aa0ba902b7-01").as_deref(), Some(TRACE));
        let later = of("cc", TRACE, "00f067aa0ba902b7-01-what-the-future-will-be-like");
        assert_eq!(later.as_deref(), Some(TRACE));
        let small = format!("{:032x}", 1);
        assert_eq!(of("00", &small, "00f067aa0ba902b7-00"), Some(small));
    }

    #[test]
    fn what_is_no_traceparent_names_none() {
        for (version, trace, rest) in [
            ("ff", TRACE, "00f067aa0ba902b7-01"),
            ("00", TRACE, "00f067aa0ba902b7-01-more"),
            ("00", TRACE, "00f067aa0ba902b7"),
            ("00", TRACE, "0000000000000000-01"),
            ("00", &"0".repeat(32), "00f067aa0ba902b7-01"),
            ("00", &TRACE.to_uppercase(), "00f067aa0ba902b7-01"),
            ("00", "+bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7-01"),
            ("0", TRACE, "00f067aa0ba902b7-01"),
        ] {
            assert_eq!(of(version, trace, rest), None, "{version}-{trace}-{rest}");
        }
        assert_eq!(TraceId::of(""), None);
    }
}
