//! Cuts numbers to what is shown, never towards the better.

use weir_slo::{Evaluation, Percent, Rate, Ratio, Sli};

/// A count as the API holds it.
pub(super) fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A share of good, as `99.41%`.
pub(super) fn sli(sli: Sli) -> String {
    format!("{sli}%")
}

/// A remaining budget in whole percent, as `-18%`: an overspent one is never shown as spent.
pub(super) fn budget(remaining: Percent) -> String {
    format!("{}%", remaining.ppm().div_euclid(10_000))
}

/// A burn rate, as `2.1x`, or without decimals from ten on, as `21x`.
pub(super) fn burn(rate: Rate) -> String {
    let thousandths = rate.thousandths();
    let tenths = thousandths.saturating_add(50) / 100;
    match (tenths / 10, tenths % 10) {
        (10.., _) => format!("{}x", thousandths.saturating_add(500) / 1_000),
        (whole, 0) => format!("{whole}x"),
        (whole, tenth) => format!("{whole}.{tenth}x"),
    }
}

/// A coverage with one decimal, as `95.6`.
pub(super) fn coverage(coverage: Ratio) -> String {
    let tenths = coverage.ppm() / 1_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// A coverage in whole percent, for messages: with a decimal it would change at every look.
pub(super) fn rough_coverage(evaluation: &Evaluation) -> String {
    format!("{}%", evaluation.coverage.ppm() / 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_cut_towards_the_worse() {
        let shown = |ppm| budget(Percent::from_ppm(ppm));
        assert_eq!(shown(1_000_000), "100%");
        assert_eq!(shown(999_999), "99%");
        assert_eq!(shown(0), "0%");
        assert_eq!(shown(-1), "-1%");
        assert_eq!(shown(-179_000), "-18%");
    }

    #[test]
    fn a_burn_rate_has_a_decimal_only_while_it_is_small() {
        let target = Ratio::from_ppm(990_000).unwrap();
        let shown = |bad, total| burn(Rate::new(bad, total, target).unwrap());
        assert_eq!(shown(0, 100), "0x");
        assert_eq!(shown(1, 100), "1x");
        assert_eq!(shown(21, 1_000), "2.1x");
        assert_eq!(shown(999, 10_000), "10x");
        assert_eq!(shown(21, 100), "21x");
        assert_eq!(shown(1, 1), "100x");
    }

    #[test]
    fn a_count_too_large_for_the_api_stays_at_its_largest() {
        assert_eq!(count(u64::MAX), i64::MAX);
        assert_eq!(count(7), 7);
    }

    #[test]
    fn a_coverage_is_never_shown_larger_than_it_is() {
        assert_eq!(coverage(Ratio::from_ppm(999_999).unwrap()), "99.9");
        assert_eq!(coverage(Ratio::ONE), "100.0");
    }
}
