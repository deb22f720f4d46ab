//! Parses durations: `50ms`, `1h30m`, and the time window of an objective: `28d`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ScalarError, scalar};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;

/// A duration in the notation of Kubernetes, in milliseconds at the finest: `250ms`, `15s`, `1h30m`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration {
    text: String,
    millis: u64,
}

// At most three parts, of hours up to five digits and of the rest up to seven: no sum overflows CEL's
// nanoseconds, of which 63 bits hold 292 years.
scalar!(
    Duration,
    "^([0-9]{1,7}(ms|s|m)|[0-9]{1,5}h){1,3}$",
    32,
    "a duration with its unit (ms, s, m or h), such as 250ms, 15s or 1h30m"
);

impl Duration {
    /// The length in milliseconds.
    #[must_use]
    pub const fn millis(&self) -> u64 {
        self.millis
    }

    /// The length as the standard library's type.
    #[must_use]
    pub const fn get(&self) -> std::time::Duration {
        std::time::Duration::from_millis(self.millis)
    }

    /// A duration of whole seconds, for defaults, written in the largest unit that it is a multiple of.
    #[must_use]
    pub fn seconds(seconds: u32) -> Self {
        let (value, unit) = match seconds {
            0 => (0, "s"),
            _ if seconds.is_multiple_of(3_600) => (seconds / 3_600, "h"),
            _ if seconds.is_multiple_of(60) => (seconds / 60, "m"),
            _ => (seconds, "s"),
        };
        Self { text: format!("{value}{unit}"), millis: u64::from(seconds) * SECOND }
    }
}

impl FromStr for Duration {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ScalarError::new(text, Self::EXPECTED);
        let mut rest = text;
        let mut millis = 0;
        for _ in 0..3 {
            let (value, tail) = leading_number(rest, 7).ok_or_else(error)?;
            let (unit, tail) = short_unit(tail).ok_or_else(error)?;
            if unit == HOUR && rest.len() - tail.len() > "99999h".len() {
                return Err(error());
            }
            millis += value * unit;
            rest = tail;
            if rest.is_empty() {
                return Ok(Self { text: text.to_owned(), millis });
            }
        }
        Err(error())
    }
}

/// The window over which an objective is judged: whole minutes, hours, days or weeks, as `28d`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeWindow {
    text: String,
    millis: u64,
}

scalar!(TimeWindow, "^[1-9][0-9]{0,3}(m|h|d|w)$", 5, "a time window such as 30m, 12h, 28d or 4w");

impl TimeWindow {
    /// The length in milliseconds.
    #[must_use]
    pub const fn millis(&self) -> u64 {
        self.millis
    }
}

impl FromStr for TimeWindow {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ScalarError::new(text, Self::EXPECTED);
        let (value, unit) = leading_number(text, 4).ok_or_else(error)?;
        let unit = match unit {
            "m" => MINUTE,
            "h" => HOUR,
            "d" => DAY,
            "w" => WEEK,
            _ => return Err(error()),
        };
        if text.starts_with('0') {
            return Err(error());
        }
        Ok(Self { text: text.to_owned(), millis: value * unit })
    }
}

/// Splits off a number of at least one and at most `digits` digits.
fn leading_number(text: &str, digits: usize) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    (number.len() <= digits).then(|| number.parse().ok()).flatten().map(|value| (value, rest))
}

/// Splits off a unit, in milliseconds; `ms` before `m`, of which it is no prefix.
fn short_unit(text: &str) -> Option<(u64, &str)> {
    [("ms", 1), ("s", SECOND), ("m", MINUTE), ("h", HOUR)]
        .into_iter()
        .find_map(|(unit, millis)| text.strip_prefix(unit).map(|rest| (millis, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_the_sum_of_its_parts() {
        for (text, millis) in [
            ("50ms", 50),
            ("15s", 15_000),
            ("1h30m", 5_400_000),
            ("1m2s3ms", 62_003),
            ("0s", 0),
            ("99999h", 99_999 * HOUR),
        ] {
            assert_eq!(text.parse::<Duration>().unwrap().millis(), millis, "{text}");
        }
    }

    #[test]
    fn a_malformed_duration_is_refused_with_an_example() {
        for text in
            ["", "5", "s", "1d", "-1s", "1.5s", "12345678s", "123456h", "1h1h1h1h", "1 s", "١s"]
        {
            let error = text.parse::<Duration>().unwrap_err().to_string();
            assert!(error.contains("such as 250ms"), "{text}: {error}");
        }
    }

    #[test]
    fn a_time_window_has_one_unit_and_is_never_zero() {
        assert_eq!("28d".parse::<TimeWindow>().unwrap().millis(), 28 * DAY);
        for text in ["0d", "28", "1h30m", "10000d", "5s", "01d"] {
            assert!(text.parse::<TimeWindow>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_default_is_written_as_a_user_would() {
        for (seconds, text) in [(0, "0s"), (15, "15s"), (60, "1m"), (90, "90s"), (3_600, "1h")] {
            let duration = Duration::seconds(seconds);
            assert_eq!(duration.to_string(), text);
            assert_eq!(text.parse(), Ok(duration));
        }
    }

    #[test]
    fn the_text_survives_a_round_trip() {
        let duration: Duration = serde_json::from_str("\"60s\"").unwrap();
        assert_eq!(serde_json::to_string(&duration).unwrap(), "\"60s\"");
    }
}
