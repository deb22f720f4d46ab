//! The gateway: how many replicas a pipeline of its own workload has, and what their pods are given.

use std::collections::BTreeMap;

#[cfg(feature = "kube")]
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Autoscaling;
use crate::scalar::{Cores, Duration, Quantity};

/// A workload of its own, for brokers and for scale: a Deployment, or a StatefulSet where it has a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[cfg_attr(
    feature = "kube",
    x_kube(validation = Rule::new("!has(self.autoscaling) || self.replicas == 1").field_path(".replicas").message("is decided by autoscaling: leave it out, and set autoscaling.minReplicas and maxReplicas"))
)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// How many replicas run. It is what kubectl scale, a HorizontalPodAutoscaler or KEDA set by the scale
    /// subresource.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 100))]
    pub replicas: i32,
    /// Lets the operator choose how many replicas run, by what they have to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// Sends subscribers away from a replica that has far more than its share, as after new ones came: a
    /// quarter more than the average. They resume at another, by their cursors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebalance: Option<Rebalance>,
    /// What each replica is granted of a node. What is left out here has defaults: requests of 20m and 64Mi,
    /// and a limit of memory that leaves room for the log twice over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Keeps the log of each replica on a persistent volume, which outlives its pod. Without it, a log on a
    /// disk is gone with the pod, also at each rolling update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<GatewayVolume>,
    /// Where the pods run, and what is noted on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<GatewayPod>,
}

impl Gateway {
    /// The most replicas that there can be.
    #[must_use]
    pub fn most_replicas(&self) -> i32 {
        self.autoscaling.as_ref().map_or(self.replicas, |autoscaling| autoscaling.max_replicas)
    }
}

const fn default_replicas() -> i32 {
    1
}

/// How subscribers are spread over replicas anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Rebalance {
    /// The time over which they are sent away, one after the other. For as long again nothing happens.
    #[serde(default = "default_window")]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::within("10s", "10m")))]
    pub window: Duration,
}

fn default_window() -> Duration {
    Duration::seconds(60)
}

/// What a container requests of its node, and what it may use at most.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[cfg_attr(
    feature = "kube",
    x_kube(
        validation = crate::rules::a_limit_covers_the_request("cpu", Cores::PATTERN),
        validation = crate::rules::a_limit_covers_the_request("memory", Quantity::PATTERN),
    )
)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What is set aside for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Amounts>,
    /// The most that it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Amounts>,
}

/// Amounts of CPU and memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Amounts {
    /// Cores, such as 500m or 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cores>,
    /// Bytes of memory, such as 256Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
}

/// A persistent volume for each replica: as large as log.storage.disk.size, and an eighth more, which the
/// file system takes for itself. Its size and class can't be changed while the StatefulSet is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct GatewayVolume {
    /// The StorageClass; the cluster's default where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::name_of("a StorageClass")))]
    pub storage_class_name: Option<String>,
    /// What becomes of the volumes when the pipeline is deleted, or has a gateway with volumes no longer. A
    /// replica that is scaled away leaves its volume either way, and finds it again when it comes back.
    #[serde(default)]
    pub when_deleted: WhenDeleted,
}

/// What becomes of volumes that nobody uses any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenDeleted {
    /// Their claims stay, and with them the events: a pipeline of the same name finds them again.
    #[default]
    Retain,
    /// Their claims are deleted.
    Delete,
}

/// Where the pods of a gateway run, and what is noted on them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct GatewayPod {
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = { "type": "string", "maxLength": 63 }))]
    #[cfg_attr(
        feature = "kube",
        x_kube(
            validation = crate::rules::label_keys("self"),
            validation = crate::rules::label_values("self.map(k, self[k])"),
        )
    )]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that don't keep the pods away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tolerations: Vec<Toleration>,
    /// How the pods are spread. Where it is left out they are spread over nodes and zones, as far as there is
    /// room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "kube", x_kube(merge_strategy = ListMerge::Map(vec!["topologyKey".to_owned()])))]
    #[schemars(length(max = 4))]
    pub topology_spread: Vec<TopologySpread>,
    /// The PriorityClass of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::name_of("a PriorityClass")))]
    pub priority_class_name: Option<String>,
    /// Labels for the pods, beside the operator's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = { "type": "string", "maxLength": 63 }))]
    #[cfg_attr(
        feature = "kube",
        x_kube(
            validation = crate::rules::label_keys("self"),
            validation = crate::rules::label_values("self.map(k, self[k])"),
            validation = crate::rules::foreign_keys(),
        )
    )]
    pub labels: BTreeMap<String, String>,
    /// Annotations for the pods, beside the operator's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = { "type": "string", "maxLength": 1024 }))]
    #[cfg_attr(
        feature = "kube",
        x_kube(
            validation = crate::rules::label_keys("self"),
            validation = crate::rules::foreign_keys(),
        )
    )]
    pub annotations: BTreeMap<String, String>,
}

/// Tolerates taints of nodes, as Kubernetes has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[cfg_attr(
    feature = "kube",
    x_kube(
        validation = Rule::new("has(self.key) || self.operator == 'Exists'").field_path(".key").message("must be given, except for the operator Exists, which tolerates every taint then"),
        validation = Rule::new("self.operator != 'Exists' || !has(self.value)").field_path(".value").message("has no meaning for the operator Exists: remove it, or set operator: Equal"),
        validation = Rule::new("!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')").field_path(".tolerationSeconds").message("has a meaning for the effect NoExecute only: set that, or remove it"),
    )
)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// The taint's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::label_keys("[self]")))]
    pub key: Option<String>,
    /// How the taint's value is compared.
    #[serde(default)]
    pub operator: TolerationOperator,
    /// The taint's value, for the operator Equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::label_values("[self]")))]
    pub value: Option<String>,
    /// The taint's effect; every one where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
    /// For how long a taint that evicts pods is tolerated; for ever where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86_400))]
    pub toleration_seconds: Option<i32>,
}

/// How a taint's value is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    /// The taint has this value.
    #[default]
    Equal,
    /// The taint may have any value.
    Exists,
}

/// What a taint does to pods that don't tolerate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// They are not put on the node.
    NoSchedule,
    /// They are put elsewhere where there is room.
    PreferNoSchedule,
    /// They have to leave, too.
    NoExecute,
}

/// Spreads the pods over the values of a node's label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TopologySpread {
    /// The label, such as topology.kubernetes.io/zone.
    #[schemars(length(min = 1, max = 317))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::label_keys("[self]")))]
    pub topology_key: String,
    /// By how many pods two values may differ.
    #[serde(default = "default_max_skew")]
    #[schemars(range(min = 1, max = 100))]
    pub max_skew: i32,
    /// What becomes of a pod that can't be spread so.
    #[serde(default)]
    pub when_unsatisfiable: WhenUnsatisfiable,
}

const fn default_max_skew() -> i32 {
    1
}

/// What becomes of a pod that can't be spread as asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenUnsatisfiable {
    /// It runs all the same, where the difference is least.
    #[default]
    ScheduleAnyway,
    /// It waits.
    DoNotSchedule,
}
