//! How a shared log does, as whoever serves it must know; and how long to wait before another try.

use std::time::Duration;

use tokio::sync::watch;

/// How a shared log does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It works.
    Well,
    /// It can't be reached: what is in the tail is still served.
    Down(String),
    /// It has lost events that were acknowledged: whoever has a cursor into it must be told, so this
    /// incarnation is not served any more.
    Lost,
}

/// Says how a log does. What is lost stays so.
#[derive(Debug)]
pub(super) struct Pulse(watch::Sender<Health>);

impl Default for Pulse {
    fn default() -> Self {
        Self(watch::Sender::new(Health::Well))
    }
}

impl Pulse {
    pub(super) fn say(&self, health: Health) {
        self.0.send_if_modified(|current| {
            let news = *current != Health::Lost && *current != health;
            if news {
                *current = health;
            }
            news
        });
    }

    pub(super) fn is_lost(&self) -> bool {
        *self.0.borrow() == Health::Lost
    }

    pub(super) fn watch(&self) -> watch::Receiver<Health> {
        self.0.subscribe()
    }
}

/// The pauses between tries: exponential, with full jitter, so that replicas that lost one store don't
/// come back in step.
#[derive(Debug, Default)]
pub struct Backoff {
    tries: u32,
}

/// The bound of the first pause.
const FIRST: Duration = Duration::from_millis(50);

/// The bound of any: a store that is back is in use within this.
const LONGEST: Duration = Duration::from_secs(2);

impl Backoff {
    /// The pauses after so many tries.
    #[must_use]
    pub fn after(tries: usize) -> Self {
        Self { tries: u32::try_from(tries).unwrap_or(u32::MAX) }
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.tries.min(10)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        bound.mul_f64(fastrand::f64())
    }

    /// Starts anew: something worked.
    pub const fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_stays_so() {
        let pulse = Pulse::default();
        pulse.say(Health::Down("refused".to_owned()));
        pulse.say(Health::Well);
        assert!(!pulse.is_lost());
        pulse.say(Health::Lost);
        pulse.say(Health::Well);
        assert!(pulse.is_lost());
    }

    #[test]
    fn pauses_grow_up_to_a_bound_and_differ() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..1_000).map(|_| backoff.pause()).collect();
        assert!(pauses[0] <= FIRST);
        assert!(pauses.iter().all(|pause| *pause <= LONGEST));
        assert!(pauses.iter().any(|pause| *pause > LONGEST / 2));
        assert!(pauses.iter().skip(10).any(|pause| *pause < LONGEST / 2));
    }
}
