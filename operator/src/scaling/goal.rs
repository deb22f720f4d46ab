//! What was asked for, with the defaults of a HorizontalPodAutoscaler where nothing was.

use weir_crds::scalar::Duration;
use weir_crds::v1alpha1::{
    Autoscaling, ScalingPolicy, ScalingPolicyKind, ScalingRules, SelectPolicy,
};

use super::Millis;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// The fewest replicas.
    pub fewest: i32,
    /// The most replicas.
    pub most: i32,
    /// How fast replicas are added.
    pub up: Pace,
    /// How fast replicas are taken away.
    pub down: Pace,
}

/// How fast the number changes in one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// How far back recommendations count.
    pub window: Millis,
    /// Which policy counts.
    pub select: SelectPolicy,
    /// The policies; at least one.
    pub policies: Vec<Policy>,
}

/// By how much the number may change in which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// By how much.
    pub step: Step,
    /// In which time.
    pub period: Millis,
}

/// By how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many replicas.
    Pods(i32),
    /// So many percent of those at the beginning of the period.
    Percent(i32),
}

/// The window of scaling down: long enough that subscribers who come back in waves are waited for.
const DOWN_WINDOW: Millis = 300_000;
const PERIOD: Millis = 15_000;

impl Goal {
    /// What a manifest asks for.
    #[must_use]
    pub fn of(autoscaling: &Autoscaling) -> Self {
        let Autoscaling {
            min_replicas,
            max_replicas,
            connections_per_replica: _,
            lag_per_replica: _,
            scale_up,
            scale_down,
        } = autoscaling;
        let doubling = Policy { step: Step::Percent(100), period: PERIOD };
        let by_four = Policy { step: Step::Pods(4), period: PERIOD };
        Self {
            fewest: *min_replicas,
            most: *max_replicas,
            up: Pace::of(scale_up.as_ref(), 0, &[doubling, by_four]),
            down: Pace::of(scale_down.as_ref(), DOWN_WINDOW, &[doubling]),
        }
    }

    /// How far back a history matters.
    #[must_use]
    pub(super) fn memory(&self) -> Millis {
        let policies = self.up.policies.iter().chain(&self.down.policies);
        let longest = policies.map(|policy| policy.period).max().unwrap_or(0);
        longest.max(self.up.window).max(self.down.window)
    }
}

impl Pace {
    fn of(rules: Option<&ScalingRules>, window: Millis, policies: &[Policy]) -> Self {
        let none = ScalingRules::default();
        let ScalingRules { stabilization_window, select_policy, policies: given } =
            rules.unwrap_or(&none);
        let given: Vec<Policy> = given.iter().map(Policy::of).collect();
        Self {
            window: stabilization_window.as_ref().map_or(window, Duration::millis),
            select: *select_policy,
            policies: if given.is_empty() { policies.to_vec() } else { given },
        }
    }
}

impl Policy {
    fn of(ScalingPolicy { kind, value, period }: &ScalingPolicy) -> Self {
        let step = match kind {
            ScalingPolicyKind::Pods => Step::Pods(*value),
            ScalingPolicyKind::Percent => Step::Percent(*value),
        };
        Self { step, period: period.millis() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_out_is_as_a_horizontal_pod_autoscaler_has_it() {
        let asked = json!({ "maxReplicas": 9, "connectionsPerReplica": 5 });
        let goal = Goal::of(&serde_json::from_value(asked).unwrap());
        assert_eq!((goal.fewest, goal.most), (1, 9));
        assert_eq!((goal.up.window, goal.down.window), (0, 300_000));
        let up = [Step::Percent(100), Step::Pods(4)];
        assert_eq!(goal.up.policies.iter().map(|policy| policy.step).collect::<Vec<_>>(), up);
        assert_eq!(goal.down.policies, [Policy { step: Step::Percent(100), period: 15_000 }]);
        assert_eq!(goal.memory(), 300_000);
    }

    #[test]
    fn rules_that_are_given_replace_those_of_their_direction_alone() {
        let asked = json!({
            "maxReplicas": 9, "connectionsPerReplica": 5,
            "scaleDown": {
                "stabilizationWindow": "1m", "selectPolicy": "Min",
                "policies": [{ "type": "Pods", "value": 2, "period": "10m" }],
            },
        });
        let goal = Goal::of(&serde_json::from_value(asked).unwrap());
        let policies = vec![Policy { step: Step::Pods(2), period: 600_000 }];
        let down = Pace { window: 60_000, select: SelectPolicy::Min, policies };
        assert_eq!(goal.down, down);
        assert_eq!((goal.up.policies.len(), goal.memory()), (2, 600_000));
    }
}
