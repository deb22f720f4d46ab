//! Service-level objective arithmetic: what sidecars count, how counts of many instances become one
//! series, and what a series says about an objective.

mod counts;
mod evaluate;
mod evaluation;
mod figures;
mod objective;
mod ratio;
mod recorder;
mod samples;
mod time;

pub use counts::Counts;
pub use evaluate::{Evaluator, IngestError};
pub use evaluation::{BURN_WINDOWS, BurnRate, ErrorBudget, Evaluation, Unknown, Verdict};
pub use figures::{Percent, Rate, Sli};
pub use objective::{Method, Objective, ObjectiveError, RETENTION};
pub use ratio::{Ratio, RatioError};
pub use recorder::{KEPT, Recorder};
pub use samples::{
    Deliveries, Instance, ObjectiveSample, PipelineSample, SAMPLES_V1, Samples, SloSample,
    Snapshot, SourceSample, Subscribers,
};
pub use time::{Millis, STEP, Timestamp};
