//! The one line that says how the streams are doing.

/// How things stand at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// The pipelines, in the order in which they are shown.
    pub pipelines: Vec<PipelineView>,
    /// Their SLOs.
    pub slos: Vec<SloView>,
}

/// One pipeline.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PipelineView {
    /// The name.
    pub name: String,
    /// Events accepted since the start.
    pub accepted: u64,
    /// Events accepted per second, lately.
    pub per_second: f64,
    /// SSE subscribers now.
    pub sse: u64,
    /// WebSocket subscribers now.
    pub websocket: u64,
    /// Events written to subscribers since the start.
    pub written: u64,
    /// Events that a subscriber was denied since the start.
    pub dropped: u64,
}

/// One SLO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SloView {
    /// The name.
    pub name: String,
    /// Its objectives.
    pub objectives: Vec<ObjectiveView>,
}

/// One objective.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectiveView {
    /// The name.
    pub name: String,
    /// What is said of it.
    pub verdict: Verdict,
    /// The percentage that was good, such as `99.41%`; absent without data.
    pub sli: Option<String>,
}

/// What is said of an objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is met.
    Met,
    /// It is missed.
    Missed,
    /// It can't be said yet.
    Unknown,
}

/// The line, in ASCII, cut to `width` columns where a width is given.
#[must_use]
pub fn line(view: &View, width: Option<usize>) -> String {
    let _pending = (view, width);
    String::new()
}
