//! Objectives: what is counted as good, and how much of it is promised.

#[cfg(feature = "kube")]
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scalar::{Duration, Percent};

/// One objective. Exactly one kind is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[cfg_attr(
    feature = "kube",
    x_kube(
        validation = Rule::new("[has(self.latency), has(self.errorRate), has(self.delivery)].filter(x, x).size() == 1").message("an objective needs exactly one kind: set one of latency, errorRate and delivery"),
        validation = Rule::new("has(self.delivery) != has(self.target)").field_path(".target").message("must be set, except for a delivery objective, which is strict and has none"),
        validation = Rule::new("!has(self.timeSlice) || (has(self.latency) && has(self.latency.quantile))").field_path(".timeSlice").message("needs latency.quantile: only a latency objective with a quantile is judged by time slices"),
    )
)]
#[serde(rename_all = "camelCase")]
pub struct Objective {
    /// The name, unique in the SLO.
    #[schemars(length(min = 1, max = 63))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::label()))]
    pub name: String,
    /// The percentage that must be good, as a string such as "99.5".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Percent>,
    /// The slices of time that a latency objective with a quantile is judged by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_slice: Option<TimeSlice>,
    /// The time from an event's acceptance, or from the subscriber's arrival where that is later, to its
    /// last byte's being written to the subscriber's socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyObjective>,
    /// Events written to a subscriber, of all that were due to it: those too that it has asked to be replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<ErrorRateObjective>,
    /// Events that a connected subscriber did not get in time. Strict: there is no budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryObjective>,
}

/// The one kind of an objective that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectiveKind<'a> {
    /// Acceptance to socket.
    Latency(&'a LatencyObjective),
    /// Written of due.
    ErrorRate(&'a ErrorRateObjective),
    /// Nothing lost.
    Delivery(&'a DeliveryObjective),
}

impl Objective {
    /// The one kind that is set; `None` where none or several are.
    #[must_use]
    pub const fn kind(&self) -> Option<ObjectiveKind<'_>> {
        let Self { name: _, target: _, time_slice: _, latency, error_rate, delivery } = self;
        match (latency, error_rate, delivery) {
            (Some(latency), None, None) => Some(ObjectiveKind::Latency(latency)),
            (None, Some(error_rate), None) => Some(ObjectiveKind::ErrorRate(error_rate)),
            (None, None, Some(delivery)) => Some(ObjectiveKind::Delivery(delivery)),
            (None | Some(_), None | Some(_), None | Some(_)) => None,
        }
    }
}

/// The slices of time that an objective is judged by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TimeSlice {
    /// The length of a slice: a multiple of 5s, at most 1h.
    #[serde(default = "default_slice")]
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = crate::rules::of_duration("duration(self) >= duration('5s') && duration(self) <= duration('1h') && duration(self).getMilliseconds() % 5000 == 0").message("must be a multiple of 5s, from 5s to 1h"))
    )]
    pub window: Duration,
    /// A slice with fewer events is left out of the count: it would be judged by chance.
    #[serde(default = "default_min_events")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_events: i32,
}

impl Default for TimeSlice {
    fn default() -> Self {
        Self { window: default_slice(), min_events: default_min_events() }
    }
}

fn default_slice() -> Duration {
    Duration::seconds(60)
}

/// With fewer than 20 events, one slow event alone is more than 5 %.
const fn default_min_events() -> i32 {
    20
}

/// The time from an event's acceptance to the subscriber's socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LatencyObjective {
    /// An event that took at most this long is good.
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = crate::rules::within("1ms", "1h"))
    )]
    pub threshold: Duration,
    /// The share of a slice's events, such as "0.95", that must be good for the slice to be good.
    /// Where absent, every event counts by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 6))]
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = Rule::new(r"self.matches(r'^0\.[0-9]{1,4}$') && double(self) > 0.0").message("must be more than 0 and less than 1, such as \"0.95\""))
    )]
    pub quantile: Option<String>,
}

impl LatencyObjective {
    /// The quantile in parts per million: `0.95` is 950,000. `None` where it is absent or malformed.
    #[must_use]
    pub fn quantile_ppm(&self) -> Option<u32> {
        let decimals = self.quantile.as_deref()?.strip_prefix("0.")?;
        let plain =
            (1..=4).contains(&decimals.len()) && decimals.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| format!("{decimals:0<6}").parse().ok()).flatten().filter(|&ppm| ppm > 0)
    }
}

/// Events written to a subscriber, of all that were due to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorRateObjective {}

/// Events that a connected subscriber did not get in time. What it has asked to be replayed is due when it comes, and
/// one that takes it too slowly, until it is cut off, did not get the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DeliveryObjective {
    /// How many events may be lost in the whole window.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_lost: i32,
    /// How long after its acceptance an event counts as lost while a connected subscriber waits.
    #[serde(default = "default_settle")]
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = crate::rules::within("1s", "1h"))
    )]
    pub settle: Duration,
}

fn default_settle() -> Duration {
    Duration::seconds(30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_exact_to_four_decimals() {
        for (text, ppm) in [
            ("0.95", Some(950_000)),
            ("0.5", Some(500_000)),
            ("0.9999", Some(999_900)),
            ("0.0", None),
            ("1", None),
        ] {
            let objective = LatencyObjective {
                threshold: "50ms".parse().unwrap(),
                quantile: Some(text.to_owned()),
            };
            assert_eq!(objective.quantile_ppm(), ppm, "{text}");
        }
    }
}
