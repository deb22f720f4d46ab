//! Turns the spec of an SLO into what is evaluated, or says what is wrong with it.

use weir_crds::scalar::Percent;
use weir_crds::v1alpha1::{
    DeliveryObjective, LatencyObjective, Objective, ObjectiveKind, StreamSLOSpec, TimeSlice,
};
use weir_crds::validate::{self, Violation};
use weir_slo::{Method, Millis, Ratio};

/// An SLO that can be evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ValidatedSlo {
    /// How often it is evaluated.
    pub(super) interval: Millis,
    /// Its objectives, in the order of the spec.
    pub(super) objectives: Vec<ValidatedObjective>,
}

/// An objective that can be evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ValidatedObjective {
    /// What is demanded of the counts.
    pub(super) demand: weir_slo::Objective,
    /// What is counted.
    pub(super) counted: Counted,
}

/// What the sidecars count for an objective. While it stays the same the counts go on, whatever else
/// of the objective changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// Events that took at most this long from acceptance to socket.
    Latency(Millis),
    /// Events that were written to the socket.
    Written,
    /// Events that were written at most this long after their acceptance.
    Settled(Millis),
}

/// Checks the SLO `name`, and turns it into what is evaluated.
pub(super) fn validate(name: &str, spec: &StreamSLOSpec) -> Result<ValidatedSlo, Vec<Violation>> {
    let violations = validate::slo(name, spec);
    if !violations.is_empty() {
        return Err(violations);
    }
    let StreamSLOSpec { pipeline_ref: _, time_window: _, objectives, evaluation } = spec;
    let (valid, violations): (Vec<_>, Vec<_>) = objectives
        .iter()
        .enumerate()
        .map(|(index, objective)| convert(index, objective, spec))
        .partition(Result::is_ok);
    let violations: Vec<_> = violations.into_iter().filter_map(Result::err).collect();
    if violations.is_empty() {
        let interval = Millis(evaluation.interval.millis());
        Ok(ValidatedSlo { interval, objectives: valid.into_iter().flatten().collect() })
    } else {
        Err(violations)
    }
}

fn convert(
    index: usize,
    objective: &Objective,
    spec: &StreamSLOSpec,
) -> Result<ValidatedObjective, Violation> {
    let field = format!("spec.objectives[{index}]");
    let (counted, method) = match objective.kind() {
        Some(ObjectiveKind::Latency(latency)) => of_latency(latency, objective),
        Some(ObjectiveKind::ErrorRate(_)) => (Counted::Written, Method::Occurrences),
        Some(ObjectiveKind::Delivery(delivery)) => of_delivery(delivery),
        None => {
            let message = "an objective needs exactly one kind".to_owned();
            return Err(Violation { field, message });
        }
    };
    let demand = weir_slo::Objective {
        name: objective.name.clone(),
        // A strict objective has no target, and needs none.
        target: objective.target.as_ref().map_or(Ratio::ONE, ratio),
        method,
        window: Millis(spec.time_window.duration.millis()),
        min_coverage: ratio(&spec.evaluation.min_coverage),
    };
    match demand.check() {
        Ok(()) => Ok(ValidatedObjective { demand, counted }),
        Err(error) => Err(Violation { field, message: error.to_string() }),
    }
}

fn of_latency(latency: &LatencyObjective, objective: &Objective) -> (Counted, Method) {
    let quantile = latency.quantile_ppm().and_then(Ratio::from_ppm);
    let slice = || objective.time_slice.clone().unwrap_or_default();
    let method = quantile.map_or(Method::Occurrences, |quantile| {
        let TimeSlice { window, min_events } = slice();
        let min_events = u64::try_from(min_events).unwrap_or(1);
        Method::Timeslices { window: Millis(window.millis()), min_events, quantile }
    });
    (Counted::Latency(Millis(latency.threshold.millis())), method)
}

fn of_delivery(delivery: &DeliveryObjective) -> (Counted, Method) {
    let DeliveryObjective { max_lost, settle } = delivery;
    let max_lost = u64::try_from(*max_lost).unwrap_or(0);
    (Counted::Settled(Millis(settle.millis())), Method::Strict { max_lost })
}

fn ratio(percent: &Percent) -> Ratio {
    // Both types allow what is between nothing and the whole.
    Ratio::from_ppm(percent.ppm()).unwrap_or(Ratio::ONE)
}

#[cfg(test)]
mod tests {
    use super::super::testing::slo;
    use super::*;

    fn validated(objectives: &str) -> Result<ValidatedSlo, Vec<Violation>> {
        validate("feed", &slo(objectives).spec)
    }

    #[test]
    fn each_kind_becomes_its_method() {
        let valid = validated(
            r#"
            - {name: slices, target: "99.5", timeSlice: {window: 30s, minEvents: 7}, latency: {threshold: 50ms, quantile: "0.95"}}
            - {name: events, target: "99", latency: {threshold: 1s}}
            - {name: errors, target: "95", errorRate: {}}
            - {name: no-loss, delivery: {maxLost: 2, settle: 10s}}
            "#,
        )
        .unwrap();
        let slices = Method::Timeslices {
            window: Millis::from_secs(30),
            min_events: 7,
            quantile: Ratio::from_ppm(950_000).unwrap(),
        };
        let found: Vec<_> = valid
            .objectives
            .iter()
            .map(|objective| (objective.counted, objective.demand.method.clone()))
            .collect();
        let expected = [
            (Counted::Latency(Millis(50)), slices),
            (Counted::Latency(Millis(1_000)), Method::Occurrences),
            (Counted::Written, Method::Occurrences),
            (Counted::Settled(Millis(10_000)), Method::Strict { max_lost: 2 }),
        ];
        assert_eq!(found, expected);
        assert_eq!(valid.interval, Millis::from_secs(15));
        let first = &valid.objectives[0].demand;
        assert_eq!(first.window, Millis::from_days(28));
        assert_eq!(
            (first.target.to_string(), first.min_coverage.to_string()),
            ("99.5".into(), "90".into())
        );
    }

    #[test]
    fn every_violation_is_named_with_its_field() {
        let violations = validated(
            r#"
            - {name: both, target: "99", errorRate: {}, delivery: {}}
            - {name: strict, target: "99", delivery: {}}
            "#,
        )
        .unwrap_err();
        let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert!(fields.contains(&"spec.objectives[0]"), "{fields:?}");
        assert!(fields.contains(&"spec.objectives[1].target"), "{fields:?}");
    }

    #[test]
    fn a_slice_longer_than_the_window_is_refused_though_each_is_in_range() {
        let mut slo = slo(
            r#"[{name: a, target: "99", timeSlice: {window: 1h}, latency: {threshold: 50ms, quantile: "0.9"}}]"#,
        );
        slo.spec.time_window.duration = "30m".parse().unwrap();
        let violations = validate("feed", &slo.spec).unwrap_err();
        assert!(
            violations[0].message.contains("not longer than the time window"),
            "{violations:?}"
        );
    }
}
