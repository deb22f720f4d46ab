//! How much a client may send, by the number of its frames. Sans-I/O: who asks says what time it is.

use std::time::Duration;

/// The parts of a frame that an allowance is counted in.
const PARTS: i64 = 1_000;

/// What a client may still send. It earns its rate, up to a second's worth.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// In [`PARTS`]; less than nothing where it has sent too much.
    left: i64,
    at: Duration,
}

impl Allowance {
    /// A second's worth, at a moment since whatever beginning.
    #[must_use]
    pub fn new(rate: u32, now: Duration) -> Self {
        Self { left: second(rate), at: now }
    }

    /// Takes note of frames. Says whether they were allowed. What is sent beyond a second's worth too much
    /// is not held against the client any longer.
    pub fn spend(&mut self, frames: u64, rate: u32, now: Duration) -> bool {
        self.earn(rate, now);
        let spent = i64::try_from(frames).unwrap_or(i64::MAX).saturating_mul(PARTS);
        self.left = self.left.saturating_sub(spent).max(-second(rate));
        self.left >= 0
    }

    /// Whether the client is to wait.
    pub fn is_overdrawn(&mut self, rate: u32, now: Duration) -> bool {
        self.earn(rate, now);
        self.left < 0
    }

    fn earn(&mut self, rate: u32, now: Duration) {
        let millis = u32::try_from(now.saturating_sub(self.at).as_millis()).unwrap_or(u32::MAX);
        self.at = self.at.saturating_add(Duration::from_millis(millis.into()));
        let earned = i64::from(millis).saturating_mul(rate.into());
        self.left = self.left.saturating_add(earned).min(second(rate));
    }
}

fn second(rate: u32) -> i64 {
    i64::from(rate) * PARTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_send_at_its_rate_and_a_seconds_worth_at_once() {
        let at = Duration::from_millis;
        let mut allowance = Allowance::new(10, at(0));
        assert!(allowance.spend(10, 10, at(0)));
        assert!(!allowance.spend(1, 10, at(0)));
        assert!(allowance.is_overdrawn(10, at(99)));
        assert!(!allowance.is_overdrawn(10, at(100)));
        assert!(allowance.spend(10, 10, at(1_100)));
    }

    #[test]
    fn what_was_far_too_much_is_made_good_in_a_second() {
        let at = Duration::from_millis;
        let mut allowance = Allowance::new(10, at(0));
        assert!(!allowance.spend(1_000_000, 10, at(0)));
        assert!(allowance.is_overdrawn(10, at(999)));
        assert!(!allowance.is_overdrawn(10, at(1_000)));
    }

    #[test]
    fn nothing_costs_nothing() {
        let mut allowance = Allowance::new(1, Duration::ZERO);
        assert!(allowance.spend(1, 1, Duration::ZERO));
        assert!((0..1_000).all(|_| allowance.spend(0, 1, Duration::ZERO)));
    }
}
