//! What was recommended and done before.

use super::{Decision, Goal, Limit, Millis};

/// What was recommended and done within the time that matters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// What loads asked for, each with its moment.
    recommended: Vec<(Millis, i32)>,
    /// By how much the number was changed, each with its moment.
    changes: Vec<(Millis, i32)>,
    /// Since when there is a history, and how many replicas there were then.
    begun: Option<(Millis, i32)>,
}

impl History {
    /// Takes note of what was decided, and done.
    pub fn note(&mut self, decision: &Decision, goal: &Goal, now: Millis) {
        let memory = goal.memory();
        self.recommended.retain(|&(at, _)| is_within(memory, at, now));
        self.changes.retain(|&(at, _)| is_within(memory, at, now));
        let Decision { current, desired, recommended, by, limit: _ } = decision;
        self.begun.get_or_insert((now, *current));
        if by.is_some() {
            self.recommended.push((now, *recommended));
        }
        if desired != current {
            self.changes.push((now, desired - current));
        }
    }

    /// The number of replicas added within the last `period`, and of those taken away.
    pub(super) fn changed(&self, period: Millis, now: Millis) -> (i32, i32) {
        let within = self.changes.iter().filter(|&&(at, _)| is_within(period, at, now));
        within.fold((0, 0), |(added, taken), &(_, change)| {
            (added + change.max(0), taken - change.min(0))
        })
    }

    /// What of `wanted` no earlier recommendation within the windows speaks against.
    pub(super) fn stabilize(
        &self,
        current: i32,
        wanted: i32,
        goal: &Goal,
        now: Millis,
    ) -> (i32, Limit) {
        let least = self.within(goal.up.window, current, now).fold(wanted, i32::min);
        let most = self.within(goal.down.window, current, now).fold(wanted, i32::max);
        if current < least {
            (least, if least < wanted { Limit::StabilizedUp } else { Limit::None })
        } else if current > most {
            (most, if most > wanted { Limit::StabilizedDown } else { Limit::None })
        } else if wanted > current {
            (current, Limit::StabilizedUp)
        } else if wanted < current {
            (current, Limit::StabilizedDown)
        } else {
            (current, Limit::None)
        }
    }

    /// The recommendations within a window. Where the history begins within it, what there was then counts as
    /// one; where there is none yet, what there is now.
    fn within(&self, window: Millis, current: i32, now: Millis) -> impl Iterator<Item = i32> {
        let first = match self.begun {
            Some((at, replicas)) => is_within(window, at, now).then_some(replicas),
            None => (window > 0).then_some(current),
        };
        let recent = self.recommended.iter().filter(move |&&(at, _)| is_within(window, at, now));
        first.into_iter().chain(recent.map(|&(_, replicas)| replicas))
    }
}

/// Whether a moment is less than `window` ago.
const fn is_within(window: Millis, at: Millis, now: Millis) -> bool {
    at.saturating_add(window) > now
}
