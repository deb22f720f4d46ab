//! The document that a sidecar answers to `GET /samples?since=MS` and an evaluator reads.
//!
//! Neighbouring versions must understand each other during a rolling update: a reader ignores
//! fields that it does not know, and only the fields without which nothing can be counted are
//! required. A change that an older reader would misread takes a new `apiVersion`.

use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::time::Timestamp;

/// The `apiVersion` of the documents that this version writes.
pub const SAMPLES_V1: &str = "weir.dev/samples/v1";

/// Everything that one sidecar process has counted, with its recent past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Samples {
    /// [`SAMPLES_V1`].
    pub api_version: String,
    /// The process that counted.
    pub instance: Instance,
    /// The sidecar's clock when it wrote this; [`ObjectiveSample::current`] is of this instant.
    pub now: Timestamp,
    /// Why the configuration that the process was given last is not in force, so that it goes on with the
    /// one before; absent where it is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The pipelines that the process serves.
    #[serde(default)]
    pub pipelines: Vec<PipelineSample>,
}

/// One process. Its counters start at zero when it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// New at every process start, and never used again.
    pub id: String,
    /// When the process started; the same value in every document of the process.
    pub started_at: Timestamp,
    /// The sidecar's version, for people.
    #[serde(default)]
    pub version: String,
}

/// One pipeline as this process serves it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PipelineSample {
    /// The StreamPipeline's namespace.
    pub namespace: String,
    /// The StreamPipeline's name.
    pub name: String,
    /// The object's UID, where the manifest carried one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The object's generation that this process runs, where the manifest carried one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Each source's state.
    #[serde(default)]
    pub sources: Vec<SourceSample>,
    /// The log's state; absent where the sidecar is too old to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogSample>,
    /// How the keys are by which tokens are verified; absent where none is, before they were read for the first time,
    /// and where the sidecar is too old to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeysSample>,
    /// The Secrets that the manifest names and of which the process finds nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_secrets: Vec<String>,
    /// Subscribers connected now.
    #[serde(default)]
    pub subscribers: Subscribers,
    /// What became of the accepted events.
    #[serde(default)]
    pub deliveries: Deliveries,
    /// The StreamSLOs that refer to the pipeline.
    #[serde(default)]
    pub slos: Vec<SloSample>,
}

/// One source of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceSample {
    /// The source's name in the pipeline.
    pub name: String,
    /// Whether it delivers, or would if there were events.
    #[serde(default)]
    pub healthy: bool,
    /// Why not, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Events taken into the log since the process started.
    #[serde(default)]
    pub accepted: u64,
    /// Events refused since the process started.
    #[serde(default)]
    pub rejected: u64,
}

/// The log of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogSample {
    /// Whether it takes events.
    #[serde(default)]
    pub healthy: bool,
    /// Why not, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The keys of the issuer whose tokens a pipeline takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeysSample {
    /// Whether there are some, and they are not too old to be believed.
    #[serde(default)]
    pub healthy: bool,
    /// Why not, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Connected subscribers by transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subscribers {
    /// Server-Sent Events responses open now.
    pub sse: u64,
    /// WebSocket connections open now.
    pub websocket: u64,
}

/// Counters of deliveries since the process started. A delivery is one event due to one subscriber.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Deliveries {
    /// Events accepted into the log.
    pub accepted: u64,
    /// Deliveries that were due.
    pub due: u64,
    /// Deliveries written to the socket.
    pub written: u64,
    /// Deliveries that the subscriber's filter doesn't match.
    pub filtered: u64,
    /// Deliveries for which a newer event of the same key stands.
    pub conflated: u64,
    /// Deliveries given up while the subscriber stayed: reported to it as a gap.
    pub dropped: u64,
    /// Deliveries given up because the subscriber left.
    pub departed: u64,
    /// Deliveries due and not yet written.
    pub lagging: u64,
}

/// One StreamSLO as this process counts it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SloSample {
    /// The StreamSLO's namespace.
    pub namespace: String,
    /// The StreamSLO's name.
    pub name: String,
    /// The object's generation that this process counts, where the manifest carried one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// The counter of each objective.
    #[serde(default)]
    pub objectives: Vec<ObjectiveSample>,
}

/// The counter of one objective.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectiveSample {
    /// The objective's name in the StreamSLO.
    pub name: String,
    /// Names what is counted: a changed threshold is another fingerprint, and a new series.
    pub fingerprint: String,
    /// When this counter stood at zero, if later than the process's start: an objective that was
    /// added while the process ran. Without it the time before would pass for measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// The counter at [`Samples::now`]. Both of its numbers are read so that neither what was good
    /// nor what was bad ever falls: a reading torn between them counts as bad what was not.
    #[serde(default)]
    pub current: Counts,
    /// The counter at multiples of [`crate::STEP`], oldest first: those after the `since` asked for
    /// and no older than an hour.
    #[serde(default)]
    pub recent: Vec<Snapshot>,
}

/// A counter's reading at an instant: it counts the events before that instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// When it was read.
    pub at: Timestamp,
    /// What was read; its fields stand beside `at` in JSON.
    #[serde(flatten)]
    pub counts: Counts,
}

impl Samples {
    /// Whether this version can read the document.
    #[must_use]
    pub fn is_understood(&self) -> bool {
        self.api_version == SAMPLES_V1
    }

    /// The counter of an objective, wherever in the document its StreamSLO stands.
    #[must_use]
    pub fn objective(&self, namespace: &str, slo: &str, name: &str) -> Option<&ObjectiveSample> {
        self.pipelines
            .iter()
            .flat_map(|pipeline| &pipeline.slos)
            .filter(|sample| sample.namespace == namespace && sample.name == slo)
            .flat_map(|sample| &sample.objectives)
            .find(|objective| objective.name == name)
    }
}
