//! Decides whether an error budget burns too fast.
//!
//! The tiers are those of the SRE workbook, chapter 5, table 5-8, and its second ticket tier: a share
//! of the budget, spent within a long window, while the short window says that it goes on. The factor
//! is exact for the SLO's own time window, and at least 1: what burns slower is on course to be met.

use weir_slo::{BurnRate, Evaluator, Millis, Timestamp};

/// How fast a budget is spent that is spent too fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speed {
    /// Somebody should look now.
    Fast,
    /// Somebody should look within days.
    Slow,
}

/// A tier whose two windows both exceed its factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Burning {
    /// How fast.
    pub(super) speed: Speed,
    /// The rate over the long window.
    pub(super) long: BurnRate,
    /// The rate over the short one.
    pub(super) short: BurnRate,
}

struct Tier {
    speed: Speed,
    /// Percent of the budget.
    budget: u64,
    long: Millis,
    short: Millis,
}

const TIERS: [Tier; 4] = [
    Tier {
        speed: Speed::Fast,
        budget: 2,
        long: Millis::from_hours(1),
        short: Millis::from_mins(5),
    },
    Tier {
        speed: Speed::Fast,
        budget: 5,
        long: Millis::from_hours(6),
        short: Millis::from_mins(30),
    },
    Tier {
        speed: Speed::Slow,
        budget: 10,
        long: Millis::from_days(1),
        short: Millis::from_hours(2),
    },
    Tier {
        speed: Speed::Slow,
        budget: 10,
        long: Millis::from_days(3),
        short: Millis::from_hours(6),
    },
];

/// Fewer bad events, or slices, than this in the long window are chance: at night one failure of ten
/// would else be a hundredfold burn.
const FEWEST_BAD: u64 = 5;

/// The first tier that both windows exceed; nothing where the budget lasts.
pub(super) fn burning(evaluator: &Evaluator, now: Timestamp) -> Option<Burning> {
    let window = evaluator.objective().window;
    TIERS.iter().filter(|tier| tier.long < window).find_map(|tier| {
        let factor = tier.factor_thousandths(window);
        let exceeded = |burn: &BurnRate| burn.rate.exceeds(factor);
        let long = evaluator.burn_rate(tier.long, now).filter(exceeded)?;
        let short = evaluator.burn_rate(tier.short, now).filter(exceeded)?;
        (long.bad >= FEWEST_BAD).then_some(Burning { speed: tier.speed, long, short })
    })
}

impl Tier {
    /// The burn rate, in thousandths, at which the tier's share of the budget is spent in its long
    /// window: 13,440 for 2 % in an hour of 28 days.
    const fn factor_thousandths(&self, window: Millis) -> u64 {
        let factor = self.budget * 10 * window.0 / self.long.0;
        if factor < 1_000 { 1_000 } else { factor }
    }
}

#[cfg(test)]
mod tests {
    use weir_slo::{Counts, Instance, Method, Objective, ObjectiveSample, Ratio, SAMPLES_V1};
    use weir_slo::{STEP, Samples, Snapshot};

    use super::*;

    const END: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    /// The last step of an hour.
    const LAST: u64 = 720;

    /// An evaluator that has seen an hour, with these counts in each of its steps.
    fn evaluator(in_step: impl Fn(u64) -> Counts) -> Evaluator {
        let objective = Objective {
            name: "errors".to_owned(),
            target: "99".parse().unwrap(),
            method: Method::Occurrences,
            window: Millis::from_days(28),
            min_coverage: Ratio::ZERO,
        };
        let start = END.before(Millis::from_hours(1));
        let mut counts = Counts::ZERO;
        let mut recent = Vec::new();
        for step in 1..=LAST {
            counts = counts.saturating_add(in_step(step));
            recent.push(Snapshot { at: start.after(STEP.saturating_mul(step)), counts });
        }
        let from = Samples {
            api_version: SAMPLES_V1.to_owned(),
            instance: Instance { id: "a".to_owned(), started_at: start, version: String::new() },
            now: END,
            refused: None,
            pipelines: Vec::new(),
        };
        let sample = ObjectiveSample { current: counts, recent, ..ObjectiveSample::default() };
        let mut evaluator = Evaluator::new(objective, Millis::from_secs(15)).unwrap();
        evaluator.ingest(&from, &sample, END).unwrap();
        evaluator
    }

    fn of_hundred(bad: u64) -> Counts {
        Counts::new(100 - bad, 100)
    }

    #[test]
    fn the_factors_are_exact_for_the_window_and_at_least_one() {
        let month = Millis::from_days(28);
        assert_eq!(TIERS.map(|tier| tier.factor_thousandths(month)), [13_440, 5_600, 2_800, 1_000]);
        let week = Millis::from_days(7);
        assert_eq!(TIERS.map(|tier| tier.factor_thousandths(week)), [3_360, 1_400, 1_000, 1_000]);
    }

    #[test]
    fn a_burn_above_the_factor_in_both_windows_is_fast() {
        let found = burning(&evaluator(|_| of_hundred(14)), END).unwrap();
        assert_eq!((found.speed, found.long.window), (Speed::Fast, Millis::from_hours(1)));
        assert_eq!(
            (found.long.rate.to_string(), found.short.rate.to_string()),
            ("14.0".into(), "14.0".into())
        );
    }

    #[test]
    fn a_burn_that_is_over_is_not_burning() {
        // Everything failed until eight hours' budget was gone, and nothing does now.
        let over = evaluator(|step| of_hundred(if step <= LAST / 2 { 100 } else { 0 }));
        let found = burning(&over, END);
        assert!(found.is_none_or(|found| found.short.window > Millis::from_mins(5)), "{found:?}");
    }

    #[test]
    fn what_the_target_allows_is_not_burning() {
        assert_eq!(burning(&evaluator(|_| of_hundred(1)), END), None);
    }

    #[test]
    fn a_handful_of_errors_is_not_burning_however_high_the_rate() {
        let failing =
            |errors| evaluator(move |step| Counts::new(0, u64::from(step > LAST - errors)));
        assert_eq!(burning(&failing(FEWEST_BAD - 1), END), None);
        assert!(burning(&failing(FEWEST_BAD), END).is_some());
    }
}
