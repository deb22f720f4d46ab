//! Decides whether a status is worth a write.
//!
//! A status that is written every few seconds wears out the API server and everybody who watches. So a
//! change of what a person reads first, the conditions and the columns, is written at once; the counts
//! below them, which grow all the time, once a minute, or when they moved by more than a hundredth.

use std::time::Duration;

use weir_crds::v1alpha1::{ObjectiveStatus, StreamSLOStatus};

/// How old the counts in a status may become.
const STALE: Duration = Duration::from_secs(60);

/// Whether `new` is to be written over `stored`, which was written `age` ago, if by this process.
pub(super) fn worth_writing(
    stored: Option<&StreamSLOStatus>,
    new: &StreamSLOStatus,
    age: Option<Duration>,
) -> bool {
    let Some(stored) = stored else { return true };
    if stored == new {
        return false;
    }
    let StreamSLOStatus { observed_generation, conditions, summary, objectives } = stored;
    let shown = *observed_generation == new.observed_generation
        && *conditions == new.conditions
        && *summary == new.summary
        && objectives.len() == new.objectives.len()
        && objectives.iter().zip(&new.objectives).all(|(old, new)| is_near(old, new));
    !shown || age.is_none_or(|age| age >= STALE)
}

/// Whether what is shown of an objective is still about right.
fn is_near(old: &ObjectiveStatus, new: &ObjectiveStatus) -> bool {
    old.name == new.name
        && old.met == new.met
        && [(old.good, new.good), (old.total, new.total)].into_iter().all(|(old, new)| {
            let moved = new.saturating_sub(old).saturating_abs();
            moved.saturating_mul(100) <= old.saturating_abs()
        })
}

#[cfg(test)]
mod tests {
    use weir_crds::v1alpha1::SloSummary;

    use super::*;

    fn counted(good: i64, total: i64) -> StreamSLOStatus {
        let objective = ObjectiveStatus {
            name: "errors".to_owned(),
            good,
            total,
            ..ObjectiveStatus::default()
        };
        StreamSLOStatus { objectives: vec![objective], ..StreamSLOStatus::default() }
    }

    const YOUNG: Option<Duration> = Some(Duration::from_secs(15));

    #[test]
    fn the_first_status_is_written_and_the_same_never_again() {
        assert!(worth_writing(None, &counted(1, 1), YOUNG));
        assert!(!worth_writing(Some(&counted(1, 1)), &counted(1, 1), None));
    }

    #[test]
    fn counts_that_hardly_moved_are_written_once_a_minute() {
        let (old, new) = (counted(10_000, 10_000), counted(10_050, 10_050));
        assert!(!worth_writing(Some(&old), &new, YOUNG));
        assert!(worth_writing(Some(&old), &new, Some(STALE)));
        assert!(worth_writing(Some(&old), &new, None));
    }

    #[test]
    fn counts_that_moved_far_are_written_at_once() {
        assert!(worth_writing(Some(&counted(10_000, 10_000)), &counted(10_101, 10_101), YOUNG));
        assert!(worth_writing(Some(&counted(0, 0)), &counted(1, 1), YOUNG));
        assert!(worth_writing(Some(&counted(500, 500)), &counted(0, 0), YOUNG));
    }

    #[test]
    fn what_a_person_reads_first_is_written_at_once() {
        let mut new = counted(10_000, 10_000);
        new.summary = Some(SloSummary { met: "1/1".to_owned(), ..SloSummary::default() });
        assert!(worth_writing(Some(&counted(10_000, 10_000)), &new, YOUNG));
        let mut new = counted(10_000, 10_000);
        new.objectives[0].met = "False".to_owned();
        assert!(worth_writing(Some(&counted(10_000, 10_000)), &new, YOUNG));
    }
}
