//! Decides whether a status is worth a write.
//!
//! A status that is written every few seconds wears out the API server and everybody who watches. So a
//! change of what a person reads first, the conditions and the columns, is written at once; the counts
//! below them, which grow all the time, twice a minute.

use std::time::Duration;

use weir_crds::v1alpha1::{ObjectiveStatus, StreamSLOStatus};

/// How old the counts in a status may become.
const STALE: Duration = Duration::from_secs(30);

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
        && verdicts(objectives).eq(verdicts(&new.objectives));
    !shown || age.is_none_or(|age| age >= STALE)
}

fn verdicts(objectives: &[ObjectiveStatus]) -> impl Iterator<Item = (&str, &str)> {
    objectives.iter().map(|objective| (objective.name.as_str(), objective.met.as_str()))
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
    fn counts_alone_wait_for_half_a_minute() {
        let (old, new) = (counted(10, 10), counted(50, 50));
        assert!(!worth_writing(Some(&old), &new, YOUNG));
        assert!(worth_writing(Some(&old), &new, Some(STALE)));
        assert!(worth_writing(Some(&old), &new, None));
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
