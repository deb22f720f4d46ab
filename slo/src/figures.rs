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
