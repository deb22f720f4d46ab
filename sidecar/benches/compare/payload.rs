//! The payload of an event: its number and when it was due, so that a reader can check and time it.

use memchr::memmem;

/// The smallest payload, in bytes: both numbers at their largest.
pub(crate) const MIN: i64 = 64;

/// The largest payload, in bytes: what a sidecar takes in one event by default is 1 MiB.
pub(crate) const MAX: i64 = 1024 * 1024;

const NUMBER: &[u8] = b"\"seq\":";
const DUE: &[u8] = b",\"due\":";

/// What a payload says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The place among the events of a run, from 0.
    pub(crate) number: u64,
    /// When it was to be published, in nanoseconds of the load generator's clock. Not when it was: a
    /// server that holds up its publisher would look better for it.
    pub(crate) due: u64,
}

impl Stamp {
    /// A payload of `size` bytes, at least [`MIN`].
    pub(crate) fn payload(self, size: usize) -> String {
        let Self { number, due } = self;
        let stamp = format!("{{\"seq\":{number},\"due\":{due},\"pad\":\"");
        let padding = size.saturating_sub(stamp.len() + 2);
        format!("{stamp}{}\"}}", "x".repeat(padding))
    }

    /// The stamp of the payload that is somewhere in a message, if there is one.
    pub(crate) fn find(message: &[u8]) -> Option<Self> {
        let start = memmem::find(message, NUMBER)? + NUMBER.len();
        let (number, rest) = digits(message.get(start..)?)?;
        let (due, _) = digits(rest.strip_prefix(DUE)?)?;
        Some(Self { number, due })
    }
}

fn digits(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at(end);
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}
