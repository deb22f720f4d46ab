//! Bounds how often something is logged that strangers can make happen at will.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long nothing is said after something was.
const SILENCE: Duration = Duration::from_secs(60);

/// When something was last said.
#[derive(Debug)]
pub(crate) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Whether to say it now. Whoever is told so, says it.
    pub(crate) fn is_due(&self) -> bool {
        self.is_due_at(Instant::now())
    }

    fn is_due_at(&self, now: Instant) -> bool {
        let mut said = self.0.lock();
        let is_due = said.is_none_or(|at| now.saturating_duration_since(at) >= SILENCE);
        if is_due {
            *said = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_without_end_is_said_once_a_minute() {
        let (seldom, start) = (Seldom::new(), Instant::now());
        let said = (0..180).filter(|second| seldom.is_due_at(start + Duration::from_secs(*second)));
        assert_eq!(said.collect::<Vec<_>>(), [0, 60, 120]);
    }
}
