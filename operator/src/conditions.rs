//! Merges conditions: what was found now, with the times at which each last changed.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The status of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It can't be told.
    Unknown,
}

impl Status {
    /// The status as the API spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Status {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// A condition as found now: without its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The type, such as `Ready`.
    pub type_: &'static str,
    /// Whether it holds.
    pub status: Status,
    /// Why, in one CamelCase word.
    pub reason: &'static str,
    /// Why, for a person; names the remedy where something is wrong.
    pub message: String,
}

/// The most characters of a message that the API takes is 32,768; nobody reads that much.
const LONGEST_MESSAGE: usize = 2_048;

/// Gives each finding the time at which its status last changed, taken from `before` where it did not
/// change now. Types that were not found are left out: they no longer apply.
#[must_use]
pub fn merge(
    before: &[Condition],
    found: Vec<Finding>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let one = |finding: Finding| {
        let Finding { type_, status, reason, message } = finding;
        let unchanged = get(before, type_).filter(|earlier| earlier.status == status.as_str());
        Condition {
            type_: type_.to_owned(),
            status: status.as_str().to_owned(),
            reason: reason.to_owned(),
            message: shorten(message),
            observed_generation: generation,
            last_transition_time: unchanged.map_or_else(
                || Time(whole_seconds(now)),
                |earlier| earlier.last_transition_time.clone(),
            ),
        }
    };
    found.into_iter().map(one).collect()
}

/// The condition of a type.
#[must_use]
pub fn get<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// The API keeps whole seconds; with more, what was written would differ from what is read back.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn shorten(message: String) -> String {
    match message.char_indices().nth(LONGEST_MESSAGE - 1) {
        Some((end, _)) => format!("{}…", message.get(..end).unwrap_or_default()),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ready(status: Status, message: &str) -> Finding {
        Finding { type_: "Ready", status, reason: "Reason", message: message.to_owned() }
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let first = merge(&[], vec![ready(Status::True, "a")], Some(1), at(100));
        let second = merge(&first, vec![ready(Status::True, "b")], Some(2), at(200));
        assert_eq!(second[0].last_transition_time.0, at(100));
        assert_eq!((second[0].message.as_str(), second[0].observed_generation), ("b", Some(2)));
        let third = merge(&second, vec![ready(Status::False, "b")], Some(2), at(300));
        assert_eq!(third[0].last_transition_time.0, at(300));
    }

    #[test]
    fn a_condition_that_no_longer_applies_is_left_out() {
        let before = merge(&[], vec![ready(Status::True, "a")], None, at(1));
        assert!(merge(&before, vec![], None, at(2)).is_empty());
    }

    #[test]
    fn what_is_written_equals_what_is_read_back() {
        let now = Timestamp::new(100, 999_000_000).unwrap();
        let written = merge(&[], vec![ready(Status::True, "a")], Some(1), now);
        let text = serde_json::to_string(&written).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Condition>>(&text).unwrap(), written);
    }

    #[test]
    fn an_endless_message_is_cut_between_characters() {
        let merged = merge(&[], vec![ready(Status::True, &"ü".repeat(5_000))], None, at(1));
        assert_eq!(merged[0].message.chars().count(), LONGEST_MESSAGE);
        assert!(merged[0].message.ends_with('…'));
    }
}
