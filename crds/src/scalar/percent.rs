//! Parses percentages with at most four decimals: `99.95`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ScalarError, scalar};

/// A percentage from 0 to 100 with at most four decimals, exact, without a percent sign.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Percent {
    text: String,
    ppm: u32,
}

scalar!(
    Percent,
    r"^(100(\.0{1,4})?|[0-9]{1,2}(\.[0-9]{1,4})?)$",
    8,
    "a percentage from 0 to 100 such as \"99.5\""
);

impl Percent {
    /// The share in parts per million: `99.5` is 995,000.
    #[must_use]
    pub const fn ppm(&self) -> u32 {
        self.ppm
    }

    /// A percentage without decimals, for defaults.
    #[must_use]
    pub fn whole(percent: u8) -> Self {
        let percent = percent.min(100);
        Self { text: percent.to_string(), ppm: u32::from(percent) * 10_000 }
    }
}

impl FromStr for Percent {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_ppm(text)
            .map(|ppm| Self { text: text.to_owned(), ppm })
            .ok_or_else(|| ScalarError::new(text, Self::EXPECTED))
    }
}

fn parse_ppm(text: &str) -> Option<u32> {
    let (whole, decimals) = match text.split_once('.') {
        Some((whole, decimals)) => (whole, decimals),
        None if text.contains('.') => return None,
        None => (text, "0"),
    };
    let digits = |part: &str, most: usize| {
        (1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
    };
    if !digits(whole, 3) || !digits(decimals, 4) || (whole.len() == 3 && whole != "100") {
        return None;
    }
    let fraction: u32 = format!("{decimals:0<4}").parse().ok()?;
    let ppm = whole.parse::<u32>().ok()? * 10_000 + fraction;
    (ppm <= 1_000_000).then_some(ppm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_exact_to_four_decimals() {
        for (text, ppm) in [
            ("99.5", 995_000),
            ("100", 1_000_000),
            ("0", 0),
            ("99.9999", 999_999),
            ("5.05", 50_500),
        ] {
            assert_eq!(text.parse::<Percent>().unwrap().ppm(), ppm, "{text}");
        }
    }

    #[test]
    fn what_is_no_percentage_is_refused() {
        for text in ["", "100.1", "101", "-1", "99.12345", "99.", ".5", "99,5", "99%", "1e1", "001"]
        {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }
}
