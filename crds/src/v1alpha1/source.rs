//! Sources: where a pipeline's events come from.

#[cfg(feature = "kube")]
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scalar::{Duration, Quantity};

/// One source of events. Exactly one kind is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[cfg_attr(
    feature = "kube",
    x_kube(validation = Rule::new("[has(self.http), has(self.generator)].filter(x, x).size() == 1").message("a source needs exactly one kind: set one of http and generator"))
)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The name, unique in the pipeline. It labels the source's metrics.
    #[schemars(length(min = 1, max = 63))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::label()))]
    pub name: String,
    /// The application posts its events to the loopback port, the Unix socket or, where
    /// endpoints.publish opens it, the public port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Makes numbered events at a fixed rate, to try things out and to probe a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<Generator>,
}

/// The one kind of a source that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind<'a> {
    /// The application posts.
    Http(&'a Http),
    /// Numbered events at a fixed rate.
    Generator(&'a Generator),
}

impl Source {
    /// The one kind that is set; `None` where none or several are.
    #[must_use]
    pub const fn kind(&self) -> Option<SourceKind<'_>> {
        let Self { name: _, http, generator } = self;
        match (http, generator) {
            (Some(http), None) => Some(SourceKind::Http(http)),
            (None, Some(generator)) => Some(SourceKind::Generator(generator)),
            (None, None) | (Some(_), Some(_)) => None,
        }
    }
}

/// Events that the application posts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Http {
    /// The largest event, in bytes of its payload; a larger one is answered with 413.
    #[serde(default = "default_max_event_bytes")]
    pub max_event_bytes: Quantity,
}

impl Default for Http {
    fn default() -> Self {
        Self { max_event_bytes: default_max_event_bytes() }
    }
}

/// What NATS and most brokers take as the largest message by default.
fn default_max_event_bytes() -> Quantity {
    Quantity::mebibytes(1)
}

/// Numbered events at a fixed rate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Generator {
    /// How many events are made in each `per`.
    #[schemars(range(min = 1, max = 100_000))]
    pub rate: i32,
    /// The time in which `rate` events are made.
    #[serde(default = "default_per")]
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = crate::rules::within("100ms", "1h"))
    )]
    pub per: Duration,
}

fn default_per() -> Duration {
    Duration::seconds(1)
}
