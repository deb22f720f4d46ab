//! Chooses how many replicas a gateway has, as a HorizontalPodAutoscaler would. Pure: no clock, no I/O.
//!
//! - [`Goal`] is what was asked for, [`Load`] what the replicas have to do.
//! - [`History`] is what was recommended and done before: for a leader that has just begun, nothing.
//! - [`decide`] makes a [`Decision`] of them.
//!
//! # Laws
//!
//! - A load within a tenth of its target changes nothing.
//! - Of several targets the one that asks for most decides. One that is not known never takes a replica away.
//! - Within a stabilization window the most cautious recommendation decides; what a history does not reach
//!   back to is taken to have been as it is.
//! - The number never leaves the bounds, and never moves faster than the policies allow.

mod goal;
mod history;
mod load;
mod pace;
#[cfg(test)]
mod tests;

pub use goal::{Goal, Pace, Policy, Step};
pub use history::History;
pub use load::{Load, Metric};

/// A moment, in milliseconds: of whichever clock never goes back.
pub type Millis = u64;

/// What is to become of the number of replicas, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// How many there are.
    pub current: i32,
    /// How many there are to be.
    pub desired: i32,
    /// How many the load asks for, before anything holds that up.
    pub recommended: i32,
    /// The target that decides, and the load on it in percent; `None` where no load is known.
    pub by: Option<(Metric, u64)>,
    /// What the number was held back by.
    pub limit: Limit,
}

/// What held the number back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Nothing: it is what the load asks for.
    None,
    /// It was less within the stabilization window of scaling up.
    StabilizedUp,
    /// It was more within the stabilization window of scaling down.
    StabilizedDown,
    /// It may not be more.
    Most,
    /// It may not be less.
    Fewest,
    /// It may not grow faster.
    PaceUp,
    /// It may not shrink faster.
    PaceDown,
}

/// Decides how many replicas there are to be.
#[must_use]
pub fn decide(
    goal: &Goal,
    current: i32,
    loads: &[Load],
    history: &History,
    now: Millis,
) -> Decision {
    let Goal { fewest, most, up, down } = goal;
    let (bounded, bound) = match current {
        _ if current > *most => (*most, Limit::Most),
        _ if current < *fewest => (*fewest, Limit::Fewest),
        _ => (current, Limit::None),
    };
    let Some(load::Recommendation { replicas, by }) = load::recommend(current, loads) else {
        // Nobody knows what there is to do: nothing but the bounds counts.
        return Decision {
            current,
            desired: bounded,
            recommended: current,
            by: None,
            limit: bound,
        };
    };
    if bounded != current {
        // Somebody has just changed the bounds, and waits for no window.
        let limit = if bounded == replicas { Limit::None } else { bound };
        return Decision { current, desired: bounded, recommended: replicas, by, limit };
    }
    let (stable, limit) = history.stabilize(current, replicas, goal, now);
    let (desired, limit) = match stable.cmp(&current) {
        std::cmp::Ordering::Equal => (stable, limit),
        std::cmp::Ordering::Greater => {
            let reach = pace::reach_up(current, up, history, now);
            cap(stable, (*most, Limit::Most), (reach, Limit::PaceUp), limit, i32::gt)
        }
        std::cmp::Ordering::Less => {
            let reach = pace::reach_down(current, down, history, now);
            cap(stable, (*fewest, Limit::Fewest), (reach, Limit::PaceDown), limit, i32::lt)
        }
    };
    Decision { current, desired, recommended: replicas, by, limit }
}

/// Keeps `wanted` within what it `exceeds` neither of; the tighter of two bounds is named.
fn cap(
    wanted: i32,
    bound: (i32, Limit),
    reach: (i32, Limit),
    otherwise: Limit,
    exceeds: impl Fn(&i32, &i32) -> bool,
) -> (i32, Limit) {
    let tighter = if exceeds(&bound.0, &reach.0) { reach } else { bound };
    if exceeds(&wanted, &tighter.0) { tighter } else { (wanted, otherwise) }
}
