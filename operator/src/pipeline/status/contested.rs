//! The condition Contested: whether somebody has lately changed what the operator keeps for the pipeline. It is there
//! only while that is so.

use jiff::Timestamp;

use super::{condition, conditions};
use crate::conditions::{Finding, Status, get};
use crate::pipeline::contested::{Contest, LATELY, remedy, told};
use crate::pipeline::observe::Observed;

/// How many changes are named.
const MOST_CHANGES: usize = 3;

/// Finds the condition; `None` where nothing was undone of late.
pub(super) fn find(observed: &Observed, now: Timestamp) -> Option<Finding> {
    let named = observed.contested.iter().take(MOST_CHANGES).map(counted);
    let named: Vec<String> = named.collect();
    let message = match observed.contested.len().saturating_sub(MOST_CHANGES) {
        _ if named.is_empty() => heard_of(observed, now)?,
        0 => format!("put right: {}{LASTING}", named.join("; ")),
        more => {
            format!("put right: {}; and {more} more, see the Events{LASTING}", named.join("; "))
        }
    };
    let (status, reason) = (Status::True, "ChangeUndone");
    Some(Finding { type_: condition::CONTESTED, status, reason, message })
}

const LASTING: &str =
    ". Where a tool writes it time and again, take it out of what that tool keeps";

/// What a leader of before has told: it takes its memory along.
fn heard_of(observed: &Observed, now: Timestamp) -> Option<String> {
    let before = get(conditions(&observed.pipeline), condition::CONTESTED)?;
    let is_late = now.duration_since(before.last_transition_time.0).unsigned_abs() < LATELY;
    is_late.then(|| before.message.clone())
}

fn counted(Contest { undone, times }: &Contest) -> String {
    let times = match times {
        1 => String::new(),
        times => format!(" {times} times"),
    };
    format!("{}{times} ({})", told(undone), remedy(undone))
}
