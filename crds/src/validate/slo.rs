//! Checks a StreamSLO.

use super::{Violation, Violations, label::is_dns_subdomain};
use crate::v1alpha1::{Objective, ObjectiveKind, StreamSLOSpec, TimeSlice};

const DAY: u64 = 24 * 60 * 60 * 1_000;
/// The grid on which every sidecar takes its snapshots.
const STEP: u64 = 5_000;

/// Every rule that the SLO `name` with this `spec` breaks; none where it is valid.
#[must_use]
pub fn slo(name: &str, spec: &StreamSLOSpec) -> Vec<Violation> {
    let StreamSLOSpec { pipeline_ref, time_window, objectives, evaluation } = spec;
    let mut found = Violations::default();
    found.require(name.len() <= 63, "metadata.name", "must have at most 63 characters");
    found.require(
        is_dns_subdomain(name),
        "metadata.name",
        "must have lower-case letters, digits, '-' and '.', and begin and end with a letter or digit",
    );
    found.require(
        (1..=52).contains(&pipeline_ref.name.len()),
        "spec.pipelineRef.name",
        "must name a StreamPipeline of this namespace, whose name has 1 to 52 characters",
    );
    found.require(
        time_window.duration.millis() <= 32 * DAY,
        "spec.timeWindow.duration",
        "must be at most 32d, for which counts are kept",
    );
    found.require(
        time_window.is_rolling,
        "spec.timeWindow.isRolling",
        "must be true, because calendar windows are not supported",
    );
    found.within("spec.evaluation.interval", &evaluation.interval, "5s", "5m");
    let count = objectives.len();
    found.require((1..=16).contains(&count), "spec.objectives", "must have 1 to 16 objectives");
    for (index, objective) in objectives.iter().enumerate() {
        let field = format!("spec.objectives[{index}]");
        let earlier = objectives.iter().take(index).map(|earlier| &earlier.name);
        found.name(&format!("{field}.name"), &objective.name, earlier);
        check_objective(&mut found, &field, objective);
        if let Some(slice) = &objective.time_slice {
            let field = format!("{field}.timeSlice");
            check_slice(&mut found, &field, slice);
            found.require(
                slice.window.millis() <= time_window.duration.millis(),
                format!("{field}.window"),
                "must be not longer than the time window: shorten it, or lengthen timeWindow.duration",
            );
        }
    }
    found.0
}

fn check_objective(found: &mut Violations, field: &str, objective: &Objective) {
    let strict = objective.delivery.is_some();
    found.require(
        strict != objective.target.is_some(),
        format!("{field}.target"),
        "must be set, except for a delivery objective, which is strict and has none",
    );
    found.require(
        objective.time_slice.is_none()
            || objective.latency.as_ref().is_some_and(|latency| latency.quantile.is_some()),
        format!("{field}.timeSlice"),
        "needs latency.quantile: only a latency objective with a quantile is judged by time slices",
    );
    match objective.kind() {
        Some(ObjectiveKind::Latency(latency)) => {
            let field = format!("{field}.latency");
            found.within(format!("{field}.threshold"), &latency.threshold, "1ms", "1h");
            found.require(
                latency.quantile.is_none() || latency.quantile_ppm().is_some(),
                format!("{field}.quantile"),
                "must be more than 0 and less than 1, such as \"0.95\"",
            );
        }
        Some(ObjectiveKind::ErrorRate(_)) => {}
        Some(ObjectiveKind::Delivery(delivery)) => {
            let field = format!("{field}.delivery");
            found.within(format!("{field}.settle"), &delivery.settle, "1s", "1h");
            found.range(format!("{field}.maxLost"), delivery.max_lost, 0, 1_000_000);
        }
        None => found.require(
            false,
            field,
            "an objective needs exactly one kind: set one of latency, errorRate and delivery",
        ),
    }
}

fn check_slice(found: &mut Violations, field: &str, slice: &TimeSlice) {
    let millis = slice.window.millis();
    found.require(
        (STEP..=3_600_000).contains(&millis) && millis.is_multiple_of(STEP),
        format!("{field}.window"),
        "must be a multiple of 5s, from 5s to 1h",
    );
    found.range(format!("{field}.minEvents"), slice.min_events, 1, 1_000_000);
}
