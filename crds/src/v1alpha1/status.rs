//! Statuses: what the operator found, in conditions and in numbers.
//!
//! Numbers that are shown are strings of fixed precision, so that a status changes only when what a
//! user sees does.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of a pipeline.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamPipelineStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, SourcesHealthy, EndpointsReady, UpToDate, StreamComplete, and where they have a meaning
    /// SecretsPresent, Injected, Exposed, ScalingActive, ScalingLimited and Contested.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
    /// The URLs: those outside the cluster where it is exposed under a known name, else those inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<EndpointStatus>,
    /// The replicas of the data plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<ReplicaStatus>,
    /// What autoscaling has come to; absent where the number of replicas is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<AutoscalingStatus>,
    /// The pods that should carry the sidecar; absent for a gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub injection: Option<InjectionStatus>,
    /// What the gateway's pods were given last, as a hash of the annotation weir.dev/pod-template of their workload,
    /// and while that is about to change what they will be given, too. An annotation with another hash isn't believed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub pod_templates: Vec<String>,
}

/// The URLs of a pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointStatus {
    /// Where Server-Sent Events are served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sse: Option<String>,
    /// Where WebSocket is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub websocket: Option<String>,
    /// Where events are published, if the public port takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<String>,
}

/// The replicas of the data plane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaStatus {
    /// How many there should be.
    pub desired: i32,
    /// How many serve.
    pub ready: i32,
    /// How many serve, but not the newest generation.
    pub outdated: i32,
    /// How many serve each generation of the spec, newest first; of the newest five.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub generations: Vec<GenerationStatus>,
    /// How many pods there are, ready or not. Autoscalers read it by the scale subresource.
    #[serde(default)]
    pub current: i32,
    /// The selector of the gateway's pods, for autoscalers; absent beside an application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Ready of desired, as `2/3`, for the column.
    pub summary: String,
}

/// The replicas that serve one generation of the spec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GenerationStatus {
    /// The generation.
    pub generation: i64,
    /// How many replicas serve it.
    pub replicas: i32,
}

/// What autoscaling has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AutoscalingStatus {
    /// How many replicas there are to be.
    pub desired: i32,
    /// The target that decides; absent where no replica could be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// What the replicas have to do on average, as a percentage of that target, to the nearest ten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<String>,
}

/// The pods that should carry the sidecar.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InjectionStatus {
    /// How many pods the selector matches.
    pub selected: i32,
    /// How many of these carry the sidecar.
    pub injected: i32,
    /// The names of pods without it, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub missing: Vec<String>,
    /// How many pods carry a sidecar to which something is missing that a new pod would have.
    #[serde(default, skip_serializing_if = "is_none")]
    pub outdated: i32,
    /// The restarts of the last day, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub restarts: Vec<RestartStatus>,
}

/// The last restart of a workload for the sidecar's sake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestartStatus {
    /// The workload, as `deployment/web`.
    pub workload: String,
    /// When it was restarted.
    pub at: Time,
    /// What the pods lacked, as a hash: it is restarted for the same cause three times at most.
    pub cause: String,
    /// How many times it has been restarted for this cause.
    pub attempts: i32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_none(number: &i32) -> bool {
    *number == 0
}

/// The state of an SLO.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamSLOStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready (evaluated as asked), Met (the verdict), BudgetHealthy and DataAvailable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
    /// The worst objective in short strings, for the columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<SloSummary>,
    /// Each objective.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    #[schemars(length(max = 16))]
    pub objectives: Vec<ObjectiveStatus>,
}

/// What the columns show.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SloSummary {
    /// Met objectives of all, as `5/7`.
    pub met: String,
    /// The name of the objective with the least budget left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst: Option<String>,
    /// Its service-level indicator, as `99.41%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sli: Option<String>,
    /// Its remaining error budget, as `-18%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
    /// Its burn rate over the last hour, as `21x`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burn: Option<String>,
    /// OK, or why data are missing.
    pub data: String,
}

/// One objective.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectiveStatus {
    /// The objective's name.
    pub name: String,
    /// True, False or Unknown.
    pub met: String,
    /// The percentage that was good over the window; absent without data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sli: Option<String>,
    /// How many events, or slices, were good.
    pub good: i64,
    /// How many there were.
    pub total: i64,
    /// How many slices were left out because they had too few events.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub excluded: i64,
    /// The percentage of the window that was measured.
    pub coverage: String,
    /// The error budget; absent for a strict objective.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_budget: Option<ErrorBudgetStatus>,
    /// How fast the budget is spent: at 1 it would last exactly for the window.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["window".to_owned()]))]
    pub burn_rates: Vec<BurnRateStatus>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// The error budget of an objective.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBudgetStatus {
    /// How many events, or slices, may be bad.
    pub total: i64,
    /// How many were.
    pub consumed: i64,
    /// The percentage that is left; negative once overspent.
    pub remaining_percent: String,
}

/// A burn rate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BurnRateStatus {
    /// The window over which it was taken.
    pub window: String,
    /// The rate.
    pub rate: String,
}
