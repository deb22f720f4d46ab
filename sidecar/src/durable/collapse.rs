//! The cursor of live reads, by which a cache in front of the server tells one round of them from the
//! next.
//!
//! Readers at one place who ask within one interval send the same cursor, so that a cache sends one
//! request for them all; and an answer that a cache holds is never for the round after it.

/// When the first interval began: 2024-10-09T00:00:00Z, which the protocol proposes.
const EPOCH: u64 = 1_728_432_000;

/// The length of an interval in seconds, as the protocol proposes.
const INTERVAL: u64 = 20;

/// The most seconds by which the cursor of a reader is moved on that is already there.
const JITTER: u64 = 3_600;

/// The cursor of an answer to a reader that sent `echoed`: greater than that, always. `jitter` is any
/// number; it spreads readers.
pub(crate) fn cursor(now_seconds: u64, echoed: Option<u64>, jitter: u64) -> u64 {
    let current = now_seconds.saturating_sub(EPOCH) / INTERVAL;
    match echoed {
        Some(echoed) if echoed >= current => {
            echoed.saturating_add((jitter % JITTER / INTERVAL).max(1))
        }
        Some(_) | None => current,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn readers_of_one_interval_share_a_cursor() {
        assert_eq!(cursor(EPOCH + 100, None, 7), 5);
        assert_eq!(cursor(EPOCH + 119, Some(4), 9), 5);
        assert_eq!(cursor(0, None, 0), 0);
    }

    proptest! {
        #[test]
        fn a_cursor_never_comes_back(
            now in any::<u64>(), echoed in 0..u64::MAX - JITTER, jitter in any::<u64>(),
        ) {
            prop_assert!(cursor(now, Some(echoed), jitter) > echoed);
        }
    }
}
