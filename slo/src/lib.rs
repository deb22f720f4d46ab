//! Service-level objective arithmetic: what sidecars count, how the counts of many instances become
//! one series over time, and what that series says about an objective.
//!
//! The crate does no I/O and has no clock of its own: whoever calls it says what time it is. A
//! sidecar holds a [`Recorder`] for every objective and writes [`Samples`]; whoever evaluates — the
//! operator, or the sidecar itself where there is no cluster — reads them into an [`Evaluator`].
//!
//! ```
//! use weir_slo::{
//!     Counts, Evaluator, Instance, Method, Millis, Objective, Recorder, SAMPLES_V1, Samples, STEP,
//!     Timestamp, Verdict,
//! };
//!
//! let mut evaluator = Evaluator::new(
//!     Objective {
//!         name: "errors".into(),
//!         target: "99.5".parse()?,
//!         method: Method::Occurrences,
//!         window: Millis::from_mins(10),
//!         min_coverage: "90".parse()?,
//!     },
//!     Millis::from_secs(15),
//! )?;
//!
//! // In the sidecar: a reading of the counter right after every multiple of the step.
//! let start = Timestamp::from_millis(1_767_268_800_000);
//! let mut recorder = Recorder::new(start);
//! let mut now = start;
//! for step in 1..=120 {
//!     now = now.after(STEP);
//!     recorder.observe(now, Counts { good: step * 399, total: step * 400 });
//! }
//! let document = Samples {
//!     api_version: SAMPLES_V1.into(),
//!     instance: Instance { id: "6f1c0f5e".into(), started_at: start, version: "0.1.0".into() },
//!     now,
//!     refused: None,
//!     pipelines: Vec::new(),
//! };
//!
//! // In the evaluator: what it has not seen yet.
//! let since = evaluator.seen_until("6f1c0f5e").unwrap_or_default();
//! evaluator.ingest(&document, &recorder.sample("errors", "errors", since), now)?;
//!
//! let evaluation = evaluator.evaluate(now);
//! assert_eq!(evaluation.verdict, Verdict::Met);
//! assert_eq!(evaluation.sli.map(|sli| sli.to_string()).as_deref(), Some("99.75"));
//! let budget = evaluation.budget.map(|budget| budget.remaining_percent.to_string());
//! assert_eq!(budget.as_deref(), Some("50.0"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Guarantees
//!
//! - **Exact.** Every decision compares integers: `Met` means `good / total >= target` to the last
//!   event, and that is when the remaining budget is not negative. There is no floating point.
//! - **Never flattering.** An SLI is cut and not rounded, so `100.00` means that nothing was bad; a
//!   negative budget never shows as zero.
//! - **Counted once.** A sample may be repeated, overlap another, arrive in any order among the
//!   instances, or follow a restart of the process, of the evaluator or of both: no event counts
//!   twice, and none is lost that a counter still holds.
//! - **No data is no verdict.** Time that nobody measured is neither good nor bad: it lowers the
//!   coverage, and below the wanted coverage the verdict is unknown. Only a strict objective is
//!   missed at once, because a loss stays a loss.
//! - **Bounded.** An objective takes about 2,050 cells, 1,024 instances and 4,096 stretches of
//!   measured time at most, whatever arrives.
//! - **Total.** Counters near their largest value, clocks that jump either way, and input that makes
//!   no sense give some answer; nothing panics or overflows.
//!
//! # What it costs
//!
//! Older time is remembered coarsely: a window's far edge is off by at most one cell (5 s within 15
//! minutes, 1 m within 6 hours, 5 m within 3 days, 1 h within 32 days), filled evenly. Growth between
//! two snapshots further apart than a cell is spread evenly; time slices leave it out where they
//! cannot tell which slice it belongs to. The longest time window is [`RETENTION`].

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
    Deliveries, Instance, KeysSample, LogSample, ObjectiveSample, PipelineSample, SAMPLES_V1,
    Samples, SloSample, Snapshot, SourceSample, Subscribers,
};
pub use series::{CLOCK_TOLERANCE, Series, WindowCounts};
pub use slices::{Outcome, SliceRule, Slicer};
pub use time::{Millis, STEP, Timestamp};
