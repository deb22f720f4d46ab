//! Parses amounts of CPU: `500m`, `0.5`, `2`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ScalarError, scalar};

/// A number of cores: whole, with up to three decimals, or in thousandths with the suffix `m`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cores {
    text: String,
    millis: u32,
}

scalar!(
    Cores,
    "^([1-9][0-9]{0,5}m|[1-9][0-9]{0,2}([.][0-9]{1,3})?|0[.][0-9]{0,2}[1-9])$",
    7,
    "a number of cores such as 500m, 0.5 or 2"
);

impl Cores {
    /// The number of thousandths of a core.
    #[must_use]
    pub const fn millis(&self) -> u32 {
        self.millis
    }
}

impl FromStr for Cores {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let millis = match text.strip_suffix('m') {
            Some(millis) => digits(millis, 6).filter(|_| !millis.starts_with('0')),
            None => of_decimal(text),
        };
        let millis = millis.filter(|&millis| millis > 0);
        let millis = millis.ok_or_else(|| ScalarError::new(text, Self::EXPECTED))?;
        Ok(Self { text: text.to_owned(), millis })
    }
}

/// The thousandths of a number with at most three digits before the point, and as many behind it.
fn of_decimal(text: &str) -> Option<u32> {
    let (whole, decimals) = match text.split_once('.') {
        Some((whole, decimals)) => (whole, Some(decimals)),
        None => (text, None),
    };
    if whole.starts_with('0') && whole.len() > 1 {
        return None;
    }
    let thousandths = match decimals {
        // Nothing but tens fills up what is not written.
        Some(decimals) => {
            digits(decimals, 3)? * 10_u32.pow(3 - u32::try_from(decimals.len()).ok()?)
        }
        None => 0,
    };
    // Below one core the form has no trailing zeros, as Kubernetes itself writes none.
    let trailing = whole == "0" && decimals.is_none_or(|decimals| decimals.ends_with('0'));
    let cores = digits(whole, 3).filter(|_| !trailing)?;
    Some(cores * 1_000 + thousandths)
}

fn digits(text: &str, most: usize) -> Option<u32> {
    let plain = (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_counted_in_thousandths() {
        for (text, millis) in [
            ("500m", 500),
            ("0.5", 500),
            ("0.05", 50),
            ("2", 2_000),
            ("1.25", 1_250),
            ("1.500", 1_500),
            ("999999m", 999_999),
        ] {
            assert_eq!(text.parse::<Cores>().unwrap().millis(), millis, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_of_cores_is_refused() {
        for text in [
            "", "0", "0m", "0.0", "0.50", "01", "1.", ".5", "1.0001", "1000", "-1", "1k", "05m",
            "m",
        ] {
            assert!(text.parse::<Cores>().is_err(), "{text}");
        }
    }
}
