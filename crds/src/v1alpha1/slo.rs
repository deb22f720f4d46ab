//! StreamSLO: the service-level objectives of a pipeline.

#[cfg(feature = "kube")]
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Objective;
use crate::scalar::{Duration, Percent, TimeWindow};

/// The kind, as it stands in a manifest.
pub const KIND: &str = "StreamSLO";

/// What subscribers of a pipeline are promised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(CustomResource, KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[cfg_attr(
    feature = "kube",
    kube(
        group = "weir.dev",
        version = "v1alpha1",
        kind = "StreamSLO",
        plural = "streamslos",
        shortname = "sslo",
        category = "weir",
        namespaced,
        status = "super::StreamSLOStatus",
        derive = "PartialEq",
        doc = "The service-level objectives of a pipeline, and how well they are met.",
        printcolumn(name = "Pipeline", type_ = "string", json_path = ".spec.pipelineRef.name"),
        printcolumn(name = "Met", type_ = "string", json_path = ".status.summary.met"),
        printcolumn(name = "Worst", type_ = "string", json_path = ".status.summary.worst"),
        printcolumn(name = "SLI", type_ = "string", json_path = ".status.summary.sli"),
        printcolumn(name = "Budget", type_ = "string", json_path = ".status.summary.budget"),
        printcolumn(name = "Burn(1h)", type_ = "string", json_path = ".status.summary.burn"),
        printcolumn(name = "Data", type_ = "string", json_path = ".status.summary.data"),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
        printcolumn(name = "Window", type_ = "string", json_path = ".spec.timeWindow.duration", priority = 1),
        printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#, priority = 1),
        printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Met")].reason"#, priority = 1),
        validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name must have at most 63 characters"),
    )
)]
#[cfg_attr(feature = "kube", x_kube(validation = crate::rules::slices_within_window()))]
#[serde(rename_all = "camelCase")]
pub struct StreamSLOSpec {
    /// The pipeline, in the same namespace.
    pub pipeline_ref: PipelineRef,
    /// The time over which the objectives are judged.
    pub time_window: TimeWindowSpec,
    /// The objectives. Each has a name and exactly one kind.
    #[cfg_attr(feature = "kube", x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()])))]
    #[schemars(length(min = 1, max = 16))]
    pub objectives: Vec<Objective>,
    /// How often the counts are read, and how much of the window must have been measured.
    #[serde(default)]
    pub evaluation: Evaluation,
}

/// Names a pipeline in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PipelineRef {
    /// The pipeline's name.
    #[schemars(length(min = 1, max = 52))]
    pub name: String,
}

/// The time over which objectives are judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TimeWindowSpec {
    /// The length, such as 28d; at most 32d.
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = crate::rules::of_time_window(32 * 24 * 60).message("must be at most 32d, for which counts are kept"))
    )]
    pub duration: TimeWindow,
    /// Whether the window always ends now. Must be true: calendar windows are not supported.
    #[serde(default = "default_is_rolling")]
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = Rule::new("self").message("must be true, because calendar windows are not supported"))
    )]
    pub is_rolling: bool,
}

const fn default_is_rolling() -> bool {
    true
}

/// How an SLO is evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Evaluation {
    /// How often the sidecars' counts are read.
    #[serde(default = "default_interval")]
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = crate::rules::within("5s", "5m"))
    )]
    pub interval: Duration,
    /// The share of the window that must have been measured before Met is True or False.
    #[serde(default = "default_min_coverage")]
    pub min_coverage: Percent,
}

impl Default for Evaluation {
    fn default() -> Self {
        Self { interval: default_interval(), min_coverage: default_min_coverage() }
    }
}

fn default_interval() -> Duration {
    Duration::seconds(15)
}

fn default_min_coverage() -> Percent {
    Percent::whole(90)
}
