//! The numbers that an evaluation shows: exact inside, cut to a few decimals only when displayed.

use std::fmt;

use crate::ratio::{Ratio, WHOLE};

/// A service-level indicator: the exact share of good. Displays as a percentage with two decimals
/// (or the precision asked for, up to 15), cut and never rounded up: `100.00` means that all was
/// good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sli {
    good: u64,
    total: u64,
}

/// A percentage below 100 that may be negative, held in parts per million and displayed with one
/// decimal. A negative one never displays as zero, so the sign can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(i64);

/// How many times faster than sustainable an error budget is spent: an exact fraction, displayed
/// with one decimal, rounded to the nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bad events times [`WHOLE`].
    spent: u128,
    /// What would have been spent at rate 1, in the same unit; never zero.
    allowed: u128,
}

impl Sli {
    /// The share of `good` in `total`; nothing of nothing.
    #[must_use]
    pub const fn new(good: u64, total: u64) -> Option<Self> {
        match total {
            0 => None,
            _ if good > total => Some(Self { good: total, total }),
            _ => Some(Self { good, total }),
        }
    }

    /// What was good.
    #[must_use]
    pub const fn good(self) -> u64 {
        self.good
    }

    /// Of how much.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.total
    }

    /// Whether it is at least `target`, exactly.
    #[must_use]
    pub fn reaches(self, target: Ratio) -> bool {
        target.is_reached_by(self.good, self.total)
    }
}

impl fmt::Display for Sli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = f.precision().unwrap_or(2).min(15);
        let total = u128::from(self.total.max(1));
        let percent = u128::from(self.good) * 100;
        write!(f, "{}", percent / total)?;
        let mut rest = percent % total;
        for place in 0..decimals {
            rest *= 10;
            write!(f, "{}{}", if place == 0 { "." } else { "" }, rest / total)?;
            rest %= total;
        }
        Ok(())
    }
}

impl Percent {
    /// One hundred percent.
    pub const HUNDRED: Self = Self(WHOLE as i64);

    /// `ppm` parts per million of the whole.
    #[must_use]
    pub const fn from_ppm(ppm: i64) -> Self {
        Self(ppm)
    }

    /// Parts per million of the whole, cut towards the worse.
    #[must_use]
    pub const fn ppm(self) -> i64 {
        self.0
    }

    /// Whether it is below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0.unsigned_abs() / 1_000;
        let (sign, shown) = if self.is_negative() { ("-", tenths.max(1)) } else { ("", tenths) };
        write!(f, "{sign}{}.{}", shown / 10, shown % 10)
    }
}

impl Rate {
    /// The rate at which `bad` of `total` spends what `target` allows; nothing where nothing was
    /// counted or nothing is allowed.
    #[must_use]
    pub fn new(bad: u64, total: u64, target: Ratio) -> Option<Self> {
        let allowed = u128::from(total) * u128::from(target.complement().ppm());
        let spent = u128::from(bad) * u128::from(WHOLE);
        (allowed > 0).then_some(Self { spent, allowed })
    }

    /// Whether the rate is above `thousandths` thousandths, exactly: 13 440 for a factor of 13.44.
    #[must_use]
    pub fn exceeds(self, thousandths: u64) -> bool {
        let threshold = self.allowed.saturating_mul(u128::from(thousandths));
        self.spent.saturating_mul(1_000) > threshold
    }

    /// The rate in thousandths, cut, at most the largest value.
    #[must_use]
    pub fn thousandths(self) -> u64 {
        u64::try_from(self.spent.saturating_mul(1_000) / self.allowed.max(1)).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed = self.allowed.max(1);
        let tenths = self.spent.saturating_mul(20).saturating_add(allowed) / (allowed * 2);
        write!(f, "{}.{}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_sli_is_cut_and_never_rounded_up() {
        let shown = |good, total| Sli::new(good, total).map(|sli| sli.to_string());
        assert_eq!(shown(38_102, 38_328).as_deref(), Some("99.41"));
        assert_eq!(shown(99_996, 100_000).as_deref(), Some("99.99"));
        assert_eq!(shown(u64::MAX - 1, u64::MAX).as_deref(), Some("99.99"));
        assert_eq!(shown(7, 7).as_deref(), Some("100.00"));
        assert_eq!(shown(0, 9).as_deref(), Some("0.00"));
        assert_eq!(shown(0, 0), None);
        assert_eq!(Sli::new(9, 7), Sli::new(7, 7));
        assert_eq!(Sli::new(2, 3).map(|sli| format!("{sli:.4}")).as_deref(), Some("66.6666"));
        assert_eq!(Sli::new(2, 3).map(|sli| format!("{sli:.0}")).as_deref(), Some("66"));
    }

    #[test]
    fn a_negative_percentage_never_shows_as_zero() {
        let shown = |ppm| Percent::from_ppm(ppm).to_string();
        assert_eq!(shown(-179_295), "-17.9");
        assert_eq!(shown(-1), "-0.1");
        assert_eq!(shown(999), "0.0");
        assert_eq!(shown(1_000_000), "100.0");
        assert_eq!(shown(i64::MIN), "-922337203685477.5");
    }

    #[test]
    fn a_rate_is_exact_where_it_decides_and_rounded_where_it_is_shown() {
        let target: Ratio = "99.5".parse().unwrap();
        let rate = Rate::new(106, 1_000, target).unwrap();
        assert_eq!((rate.to_string().as_str(), rate.thousandths()), ("21.2", 21_200));
        assert!(rate.exceeds(21_199) && !rate.exceeds(21_200));
        assert_eq!(Rate::new(1, 333, target).unwrap().to_string(), "0.6");
        assert_eq!(Rate::new(1, 1, Ratio::ONE), None);
        assert_eq!(Rate::new(0, 0, target), None);
        let extreme = Rate::new(u64::MAX, u64::MAX, Ratio::from_ppm(999_999).unwrap()).unwrap();
        assert_eq!(extreme.to_string(), "1000000.0");
        assert!(extreme.exceeds(999_999_999));
        assert!(!extreme.exceeds(u64::MAX));
    }

    proptest! {
        #[test]
        fn a_rate_above_one_is_an_error_ratio_above_what_the_target_allows(
            bad: u64, good: u32, target in 0u32..1_000_000,
        ) {
            let total = bad.saturating_add(u64::from(good)).max(1);
            let target = Ratio::from_ppm(target).unwrap();
            let rate = Rate::new(bad, total, target).unwrap();
            let sli = Sli::new(total - bad, total).unwrap();
            prop_assert_eq!(rate.exceeds(1_000), !sli.reaches(target));
        }
    }
}
