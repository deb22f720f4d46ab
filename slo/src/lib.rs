//! Service-level objective arithmetic: what sidecars count, how counts of many instances become one
//! series, and what a series says about an objective.

mod cells;
mod counts;
mod coverage;
mod evaluate;
mod evaluation;
mod figures;
mod objective;
mod ratio;
mod recorder;
mod samples;
mod series;
mod slices;
mod tally;
mod time;
mod verdict;

pub use counts::Counts;
pub use evaluate::{Evaluator, IngestError, RestoreError, State};
pub use evaluation::{BURN_WINDOWS, BurnRate, ErrorBudget, Evaluation, Unknown, Verdict};
pub use figures::{Percent, Rate, Sli};
pub use objective::{Method, Objective, ObjectiveError, RETENTION};
pub use ratio::{Ratio, RatioError};
pub use recorder::{KEPT, Recorder};
pub use samples::{
    Deliveries, Instance, ObjectiveSample, PipelineSample, SAMPLES_V1, Samples, SloSample,
    Snapshot, SourceSample, Subscribers,
};
pub use series::{CLOCK_TOLERANCE, Series, WindowCounts};
pub use slices::{Outcome, SliceRule, Slicer};
pub use time::{Millis, STEP, Timestamp};
