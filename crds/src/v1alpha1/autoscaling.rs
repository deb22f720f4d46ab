//! Autoscaling: how many replicas a gateway has, by what they have to do.

#[cfg(feature = "kube")]
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scalar::Duration;

/// Lets the operator choose the number of replicas, as a HorizontalPodAutoscaler would, by what the replicas
/// themselves have counted; nothing else is to be installed. Where both targets are set, the one that asks
/// for more replicas decides. A load within a tenth of its target changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[cfg_attr(
    feature = "kube",
    x_kube(
        validation = Rule::new("has(self.connectionsPerReplica) || has(self.lagPerReplica)").message("set at least one of connectionsPerReplica and lagPerReplica, or there is nothing to go by"),
        validation = Rule::new("self.maxReplicas >= self.minReplicas || self.maxReplicas < 1 || self.minReplicas > 100").field_path(".maxReplicas").message("must not be less than minReplicas"),
    )
)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaling {
    /// The fewest replicas.
    #[serde(default = "default_min_replicas")]
    #[schemars(range(min = 1, max = 100))]
    pub min_replicas: i32,
    /// The most replicas.
    #[schemars(range(min = 1, max = 100))]
    pub max_replicas: i32,
    /// How many subscribers a replica is to have on average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub connections_per_replica: Option<i32>,
    /// How many deliveries may wait to be written by a replica on average: an event that is due to a
    /// thousand subscribers is a thousand deliveries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub lag_per_replica: Option<i32>,
    /// How fast replicas are added. By default at once, and every 15 s by as many as there are, or by four.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_up: Option<ScalingRules>,
    /// How fast replicas are taken away. By default as soon as nothing has asked for more for five minutes,
    /// and then all that are too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<ScalingRules>,
}

const fn default_min_replicas() -> i32 {
    1
}

/// How fast the number of replicas changes in one direction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ScalingRules {
    /// The most cautious of the numbers that were asked for within this time decides. By default it is 0s to
    /// scale up, and 5m to scale down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::within("0s", "1h")))]
    pub stabilization_window: Option<Duration>,
    /// Which of the policies counts.
    #[serde(default)]
    pub select_policy: SelectPolicy,
    /// By how much the number may change in which time; the defaults where none is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub policies: Vec<ScalingPolicy>,
}

/// Which of several policies counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SelectPolicy {
    /// The one that allows the largest change.
    #[default]
    Max,
    /// The one that allows the smallest change.
    Min,
    /// None: there is no change in this direction.
    Disabled,
}

/// By how much the number of replicas may change in which time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ScalingPolicy {
    /// What the value means.
    #[serde(rename = "type")]
    pub kind: ScalingPolicyKind,
    /// The largest change within the period.
    #[schemars(range(min = 1, max = 1_000))]
    pub value: i32,
    /// The time that it is counted over.
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::within("1s", "30m")))]
    pub period: Duration,
}

/// What the value of a policy means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ScalingPolicyKind {
    /// So many replicas.
    Pods,
    /// So many percent of those that there were when the period began.
    Percent,
}
