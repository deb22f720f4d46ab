//! Percentages as exact parts per million, read from and shown as decimal strings.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Parts per million in the whole.
pub(crate) const WHOLE: u32 = 1_000_000;

/// The square of 2.33 in ten thousandths.
const Z_SQUARED: u128 = 54_289;

/// A share between nothing and the whole, in parts per million: percentages of up to four decimals
/// are exact. Serialises as the string that it displays as: `"99.5"`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Ratio(u32);

/// Why a string is no percentage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RatioError {
    /// Not digits with an optional fraction.
    #[error("not a percentage: write digits with an optional fraction, like \"99.5\"")]
    Malformed,
    /// More decimals than parts per million can hold.
    #[error("a percentage has at most four decimals")]
    TooPrecise,
    /// Above one hundred.
    #[error("a percentage is between 0 and 100")]
    OutOfRange,
}

impl Ratio {
    /// None of it.
    pub const ZERO: Self = Self(0);
    /// All of it: `100`.
    pub const ONE: Self = Self(WHOLE);

    /// `ppm` parts per million, if that is not more than the whole.
    #[must_use]
    pub const fn from_ppm(ppm: u32) -> Option<Self> {
        if ppm <= WHOLE { Some(Self(ppm)) } else { None }
    }

    /// Parts per million.
    #[must_use]
    pub const fn ppm(self) -> u32 {
        self.0
    }

    /// What is missing to the whole.
    #[must_use]
    pub const fn complement(self) -> Self {
        Self(WHOLE - self.0)
    }

    /// The share that `part` is of `whole`, cut down to parts per million; zero of an empty whole.
    #[must_use]
    pub fn of(part: u64, whole: u64) -> Self {
        let parts = u128::from(part.min(whole)) * u128::from(WHOLE);
        let ppm = parts.checked_div(u128::from(whole)).unwrap_or(0);
        Self(u32::try_from(ppm).unwrap_or(WHOLE))
    }

    /// Whether `part` out of `whole` is at least this share, exactly.
    #[must_use]
    pub fn is_reached_by(self, part: u64, whole: u64) -> bool {
        u128::from(part) * u128::from(WHOLE) >= u128::from(self.0) * u128::from(whole)
    }

    /// Whether `part` out of `whole` is above this share by more than chance explains: its Wilson
    /// lower bound at 99 % confidence (z = 2.33, one-sided) lies above it. An alert that asks this
    /// too does not fire at the one failure of a quiet hour.
    ///
    /// Found without a square root: the bound exceeds the share exactly when the score test rejects
    /// it, `(part − share × whole)² > z² × share × (1 − share) × whole`.
    #[must_use]
    pub fn is_surely_exceeded_by(self, part: u64, whole: u64) -> bool {
        // Scaled down to 32 bits so that the squares fit; among that many events the difference
        // only makes the answer more reluctant.
        let scale = (u64::BITS - whole.leading_zeros()).saturating_sub(32);
        let (part, whole) = (u128::from(part.min(whole) >> scale), u128::from(whole >> scale));
        let share = u128::from(self.0);
        let (seen, expected) = (part * u128::from(WHOLE), share * whole);
        let Some(excess) = seen.checked_sub(expected) else { return false };
        let variance = share * u128::from(WHOLE - self.0) * whole;
        excess > 0 && excess * excess * 10_000 > variance * Z_SQUARED
    }
}

impl FromStr for Ratio {
    type Err = RatioError;

    fn from_str(text: &str) -> Result<Self, RatioError> {
        let (units, decimals) = match text.split_once('.') {
            Some((_, "")) => return Err(RatioError::Malformed),
            Some(parts) => parts,
            None => (text, ""),
        };
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if units.is_empty() || !digits(units) || !digits(decimals) {
            return Err(RatioError::Malformed);
        }
        let decimals = decimals.trim_end_matches('0');
        if decimals.len() > 4 {
            return Err(RatioError::TooPrecise);
        }
        let ppm = format!("{units}{decimals:0<4}").parse().map_err(|_| RatioError::OutOfRange)?;
        Self::from_ppm(ppm).ok_or(RatioError::OutOfRange)
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:04}", self.0 % 10_000);
        let units = self.0 / 10_000;
        match decimals.trim_end_matches('0') {
            "" => write!(f, "{units}"),
            shown => write!(f, "{units}.{shown}"),
        }
    }
}

impl TryFrom<String> for Ratio {
    type Error = RatioError;

    fn try_from(text: String) -> Result<Self, RatioError> {
        text.parse()
    }
}

impl From<Ratio> for String {
    fn from(ratio: Ratio) -> Self {
        ratio.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_parse_exactly_and_display_without_trailing_zeros() {
        let cases =
            [("0", "0"), ("100", "100"), ("99.50", "99.5"), ("0.0001", "0.0001"), ("007", "7")];
        for (text, shown) in cases {
            assert_eq!(text.parse::<Ratio>().map(|ratio| ratio.to_string()), Ok(shown.to_owned()));
        }
        assert_eq!("99.9".parse(), Ok(Ratio(999_000)));
        assert_eq!("100.00000".parse(), Ok(Ratio::ONE));
    }

    #[test]
    fn what_is_no_percentage_is_refused_with_the_reason() {
        let refused = |text: &str| text.parse::<Ratio>().unwrap_err();
        for text in ["", ".", "5.", ".5", "-1", "+1", "99,5", "99.5%", "1e2", " 99", "1.2.3"] {
            assert_eq!(refused(text), RatioError::Malformed, "{text:?}");
        }
        assert_eq!(refused("99.99999"), RatioError::TooPrecise);
        assert_eq!(refused("100.0001"), RatioError::OutOfRange);
        assert_eq!(refused("99999999999999999999"), RatioError::OutOfRange);
    }

    #[test]
    fn a_share_is_reached_exactly_at_any_size() {
        let target: Ratio = "99.5".parse().unwrap();
        assert!(target.is_reached_by(995, 1000));
        assert!(!target.is_reached_by(994, 1000));
        assert!(Ratio::ONE.is_reached_by(u64::MAX, u64::MAX));
        assert!(!Ratio::ONE.is_reached_by(u64::MAX - 1, u64::MAX));
    }

    #[test]
    fn a_share_is_never_shown_larger_than_it_is() {
        assert_eq!(Ratio::of(2, 3).ppm(), 666_666);
        assert_eq!(Ratio::of(u64::MAX - 1, u64::MAX).ppm(), 999_999);
        assert_eq!(Ratio::of(5, 0), Ratio::ZERO);
        assert_eq!(Ratio::of(7, 5), Ratio::ONE);
    }

    #[test]
    fn one_failure_in_a_quiet_hour_is_chance_and_many_are_not() {
        let tolerated: Ratio = "14.4".parse().unwrap();
        assert!(!tolerated.is_surely_exceeded_by(1, 3));
        assert!(tolerated.is_surely_exceeded_by(3, 3));
        assert!(tolerated.is_surely_exceeded_by(300, 1_000));
        assert!(!tolerated.is_surely_exceeded_by(144, 1_000));
        assert!(Ratio::ZERO.is_surely_exceeded_by(1, 1_000));
        assert!(tolerated.is_surely_exceeded_by(u64::MAX / 3, u64::MAX));
        assert!(!Ratio::ONE.is_surely_exceeded_by(u64::MAX, u64::MAX));
    }

    #[test]
    fn a_ratio_is_a_string_in_json() {
        let ratio: Ratio = serde_json::from_str("\"99.5\"").unwrap();
        assert_eq!(serde_json::to_string(&ratio).unwrap(), "\"99.5\"");
        assert!(serde_json::from_str::<Ratio>("\"101\"").is_err());
    }
}
