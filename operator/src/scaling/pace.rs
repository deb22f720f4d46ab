//! How far the number may move at this moment.

use weir_crds::v1alpha1::SelectPolicy;

use super::{History, Millis, Pace, Step};

/// The most replicas that there may be now.
pub(super) fn reach_up(current: i32, pace: &Pace, history: &History, now: Millis) -> i32 {
    let reaches = pace.policies.iter().map(|policy| {
        let (added, taken) = history.changed(policy.period, now);
        let before = current.saturating_sub(added).saturating_add(taken);
        match policy.step {
            Step::Pods(count) => before.saturating_add(count),
            Step::Percent(percent) => before.saturating_add(share(before, percent)),
        }
    });
    let reach = match pace.select {
        SelectPolicy::Max => reaches.max(),
        SelectPolicy::Min => reaches.min(),
        SelectPolicy::Disabled => None,
    };
    reach.unwrap_or(current).max(current)
}

/// The fewest replicas that there may be now.
pub(super) fn reach_down(current: i32, pace: &Pace, history: &History, now: Millis) -> i32 {
    let reaches = pace.policies.iter().map(|policy| {
        let (added, taken) = history.changed(policy.period, now);
        let before = current.saturating_sub(added).saturating_add(taken);
        match policy.step {
            Step::Pods(count) => before.saturating_sub(count),
            // Rounded towards the larger change, as the number that is left is rounded down.
            Step::Percent(percent) => before.saturating_sub(share(before, percent)),
        }
    });
    let reach = match pace.select {
        SelectPolicy::Max => reaches.min(),
        SelectPolicy::Min => reaches.max(),
        SelectPolicy::Disabled => None,
    };
    reach.unwrap_or(current).min(current)
}

/// So many percent of a number of replicas, rounded up.
fn share(replicas: i32, percent: i32) -> i32 {
    let hundredths = i64::from(replicas.max(0)) * i64::from(percent);
    i32::try_from((hundredths + 99) / 100).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::Policy;

    fn pace(select: SelectPolicy, steps: &[Step]) -> Pace {
        let policies = steps.iter().map(|&step| Policy { step, period: 15_000 }).collect();
        Pace { window: 0, select, policies }
    }

    #[test]
    fn percentages_allow_the_larger_whole_number() {
        let half = pace(SelectPolicy::Max, &[Step::Percent(50)]);
        let none = History::default();
        assert_eq!(reach_up(3, &half, &none, 0), 5);
        assert_eq!(reach_down(3, &half, &none, 0), 1);
        assert_eq!(reach_up(1, &pace(SelectPolicy::Max, &[Step::Percent(1)]), &none, 0), 2);
    }

    #[test]
    fn the_policy_counts_that_was_asked_for() {
        let steps = [Step::Pods(4), Step::Percent(100)];
        let none = History::default();
        for (select, up, down) in [
            (SelectPolicy::Max, 20, 0),
            (SelectPolicy::Min, 14, 6),
            (SelectPolicy::Disabled, 10, 10),
        ] {
            let pace = pace(select, &steps);
            assert_eq!(
                (reach_up(10, &pace, &none, 0), reach_down(10, &pace, &none, 0)),
                (up, down)
            );
        }
    }
}
