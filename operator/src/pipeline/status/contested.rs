//! The condition Contested: whether somebody has lately changed what the operator keeps for the pipeline. It is there
//! only while that is so.

use super::{condition, some};
use crate::conditions::{Finding, Status};
use crate::pipeline::contested::{Contest, remedy, told};
use crate::pipeline::observe::Observed;

/// How many changes are named.
const MOST_CHANGES: usize = 3;

/// Finds the condition; `None` where nothing was undone of late.
pub(super) fn find(observed: &Observed) -> Option<Finding> {
    let first = &observed.contested.first()?.undone;
    let changes: Vec<String> = observed.contested.iter().map(counted).collect();
    let message = format!(
        "{}, which was put right: {}; where a tool writes it time and again, take it out of what that tool keeps",
        some(&changes, MOST_CHANGES),
        remedy(&first.kind, &first.name, &first.change)
    );
    Some(Finding {
        type_: condition::CONTESTED,
        status: Status::True,
        reason: "ChangeUndone",
        message,
    })
}

fn counted(Contest { undone, times }: &Contest) -> String {
    match times {
        1 => told(undone),
        times => format!("{} ({times} times)", told(undone)),
    }
}
