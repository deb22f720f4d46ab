//! What an evaluation says about one objective at one instant.

use crate::figures::{Percent, Rate, Sli};
use crate::ratio::Ratio;
use crate::time::Millis;

/// Whether the objective is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The share of good is at least the target.
    Met,
    /// It is below the target.
    Missed,
    /// It cannot be said yet.
    Unknown(Unknown),
}

/// Why a verdict cannot be given. Neither reason counts as good or as bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Nothing was counted in the window.
    NoData,
    /// Too little of the window has been measured.
    WindowFilling,
}

/// One objective at one instant. SLI, verdict and budget share one denominator: `total`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// The objective's name.
    pub name: String,
    /// Whether it is met.
    pub verdict: Verdict,
    /// The share of good; nothing while nothing was counted.
    pub sli: Option<Sli>,
    /// Good events, or good time slices.
    pub good: u64,
    /// Events, or good and bad time slices.
    pub total: u64,
    /// Measured time slices with too few events to judge; zero for the other methods.
    pub excluded: u64,
    /// The share of the time window that was measured, excluded slices among it.
    pub coverage: Ratio,
    /// What may still go wrong; nothing while nothing was counted, and for strict objectives.
    pub budget: Option<ErrorBudget>,
    /// The burn rate over each of [`BURN_WINDOWS`] that is shorter than the time window and in
    /// which something was counted; empty for strict objectives and for a target of 100 %.
    pub burn_rates: Vec<BurnRate>,
}

/// The windows over which burn rates are shown.
pub const BURN_WINDOWS: [Millis; 5] = [
    Millis::from_mins(5),
    Millis::from_hours(1),
    Millis::from_hours(6),
    Millis::from_days(1),
    Millis::from_days(3),
];

/// How much of the errors that the target allows was used, of what was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorBudget {
    /// Errors allowed among what was counted: `total × (1 − target)`, cut to a whole number.
    pub total: u64,
    /// Errors that happened; may exceed `total`.
    pub consumed: u64,
    /// What is left of the exact (not the cut) budget. Negative exactly when the share of good is
    /// below the target. A target of 100 % allows nothing: untouched it shows 100, and every error
    /// overdraws it by another 100.
    pub remaining_percent: Percent,
}

/// How fast the budget burns over one window, as of the end of the newest data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BurnRate {
    /// The window looked back over.
    pub window: Millis,
    /// Times faster than what the target sustains.
    pub rate: Rate,
    /// Errors in the window.
    pub bad: u64,
    /// Their denominator: measured events, or the time slices that the window should have held.
    pub total: u64,
}
