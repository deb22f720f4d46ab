//! The cursor: the opaque string by which a subscriber says where it was.

use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    str::FromStr,
};

use super::Offset;

/// Names one incarnation of a log. A log that has lost its events has a new one, so that a cursor
/// into the old is recognised instead of being taken for a position in the new.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct LogId(u64);

impl LogId {
    /// 48 bits: with a million incarnations of one log, the chance that any two are equal is 0.2 %.
    const BITS: u32 = 48;

    /// The incarnation that a log has written down, by [`Self::number`]. Of larger numbers the upper bits
    /// are left out.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number & ((1 << Self::BITS) - 1))
    }

    /// What a log writes down to be the same after a restart.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// A new incarnation, at random.
    #[must_use]
    pub fn random() -> Self {
        // The standard library seeds each state from the system's randomness.
        Self(RandomState::new().build_hasher().finish() >> (u64::BITS - Self::BITS))
    }
}

/// A position in one incarnation of a log: the last event that a subscriber has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The incarnation.
    pub log: LogId,
    /// The offset of the last event seen; 0 before the first.
    pub offset: Offset,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}-{:x}", self.log.0, self.offset)
    }
}

/// The text is no cursor of this service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this service")]
pub struct CursorError;

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (log, offset) = text.split_once('-').ok_or(CursorError)?;
        if log.len() != 12 || offset.is_empty() || offset.len() > 16 {
            return Err(CursorError);
        }
        Ok(Self { log: LogId(hex(log)?), offset: hex(offset)? })
    }
}

/// Reads lower-case hexadecimal digits only: `from_str_radix` would take a sign and capitals too, and
/// one position must have one spelling.
fn hex(digits: &str) -> Result<u64, CursorError> {
    let plain = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten().ok_or(CursorError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text() {
        for offset in [0, 1, 0xffff, u64::MAX] {
            let cursor = Cursor { log: LogId::random(), offset };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in [
            "",
            "-",
            "1",
            "0123456789ab",
            "0123456789ab-",
            "0123456789AB-1",
            "0123456789ab-+1",
            "0123456789ab-00000000000000001",
            "123-1",
            "0123456789ab-1\n",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text:?}");
        }
    }

    #[test]
    fn incarnations_differ() {
        assert_ne!(LogId::random(), LogId::random());
    }
}
