//! The status as a user reads it: manifests and samples documents in, YAML out.

use std::sync::Arc;

use serde_json::Value;
use weir_slo::Counts;

use super::*;
use crate::samples::{Answer, Held, Reading, Target};
use crate::slo::data::Flaw;
use crate::slo::evaluators::{Subject, Tracked};
use crate::slo::testing::{Counter, slo};
use crate::slo::validate::validate;

/// An instant on the grid, in milliseconds.
const END: u64 = 1_800_000_000_000;
const STEP: u64 = 5_000;

/// The SLO over one hour, of which half must be measured.
fn hourly(objectives: &str) -> StreamSLO {
    let mut slo = slo(objectives);
    slo.spec.time_window.duration = "1h".parse().unwrap();
    slo.spec.evaluation.min_coverage = "50".parse().unwrap();
    slo
}

/// A counter that grew by `in_step` in each of the last `steps` steps.
fn counter(steps: u64, in_step: impl Fn(u64) -> Counts) -> Counter {
    let mut counts = Counts::ZERO;
    let start = END - steps * STEP;
    let readings = (1..=steps).map(|step| {
        counts = counts.saturating_add(in_step(step));
        (start + step * STEP, counts)
    });
    Counter { started_at: start, ..Counter::new("a", readings.collect()) }
}

fn complete() -> Data {
    Data { flaw: None, message: "1/1 sidecars".to_owned() }
}

fn judge(slo: &StreamSLO, counter: &Counter) -> Vec<Judged> {
    let mut tracked = Tracked::default();
    tracked.revise(&validate("feed", &slo.spec).unwrap(), 3).unwrap();
    let target = Target {
        uid: "a".to_owned(),
        pod: "a".to_owned(),
        address: "10.0.0.1:7071".parse().unwrap(),
    };
    let reading = Reading {
        samples: counter.samples(slo),
        since: weir_slo::Timestamp::default(),
        taken: tokio::time::Instant::now(),
        held: Held::default(),
    };
    let answer: Answer = Ok(Arc::new(reading));
    let subject = Subject { namespace: "shop", name: "feed", generation: 3 };
    let now = weir_slo::Timestamp::from_millis(END);
    assert_eq!(tracked.ingest(subject, &[(target, answer)], now), [None]);
    tracked.judge(now)
}

/// The status as plain data, without the times at which conditions changed.
fn read(slo: &StreamSLO, outcome: &Outcome) -> Value {
    let status = status(slo, outcome, Timestamp::from_second(1_800_000_000).unwrap());
    let mut status = serde_json::to_value(status).unwrap();
    for condition in status["conditions"].as_array_mut().unwrap() {
        condition.as_object_mut().unwrap().remove("lastTransitionTime");
        assert_eq!(condition.as_object_mut().unwrap().remove("observedGeneration"), Some(3.into()));
    }
    status
}

fn evaluated(slo: &StreamSLO, counter: &Counter) -> Value {
    read(slo, &Outcome::Evaluated { judged: judge(slo, counter), data: complete() })
}

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

fn condition<'a>(status: &'a Value, type_: &str) -> &'a Value {
    let conditions = status["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == type_).unwrap()
}

#[test]
fn objectives_that_are_met_say_so_with_their_numbers() {
    let slo = hourly("[{name: errors, target: \"99\", errorRate: {}}]");
    let status =
        evaluated(&slo, &counter(720, |step| Counts::new(10 - u64::from(step == 100), 10)));
    let expected = yaml(
        r#"
        observedGeneration: 3
        conditions:
        - {type: Ready, status: "True", reason: Evaluating, message: "1 objective, evaluated every 15s"}
        - {type: Met, status: "True", reason: ObjectivesMet, message: 1 of 1 met over 1h}
        - {type: BudgetHealthy, status: "True", reason: WithinBudget, message: no budget is overspent or burns too fast}
        - {type: DataAvailable, status: "True", reason: Sampling, message: 1/1 sidecars}
        summary: {met: 1/1, worst: errors, sli: 99.98%, budget: 98%, burn: 0x, data: OK}
        objectives:
        - name: errors
          met: "True"
          sli: "99.98"
          good: 7199
          total: 7200
          coverage: "100.0"
          errorBudget: {total: 72, consumed: 1, remainingPercent: "98.6"}
          burnRates: [{window: 5m, rate: "0.0"}]
        "#,
    );
    assert_eq!(status, expected);
}

#[test]
fn an_objective_that_is_missed_is_told_with_its_target_and_is_the_worst() {
    let slo = hourly(
        r#"
        - {name: errors, target: "99", errorRate: {}}
        - {name: half, target: "50", errorRate: {}}
        "#,
    );
    let status = evaluated(&slo, &counter(720, |_| Counts::new(97, 100)));
    let met = condition(&status, "Met");
    assert_eq!(met["status"], "False");
    assert_eq!(met["reason"], "ObjectiveMissed");
    assert_eq!(met["message"], "errors 97.00% < 99% over 1h");
    let budget = condition(&status, "BudgetHealthy");
    assert_eq!(budget["reason"], "BudgetExhausted");
    assert_eq!(budget["message"], "errors has overspent its budget: -200%");
    let summary = yaml("{met: 1/2, worst: errors, sli: 97.00%, budget: -200%, burn: 3x, data: OK}");
    assert_eq!(status["summary"], summary);
    assert_eq!(condition(&status, "Ready")["status"], "True");
}

#[test]
fn a_budget_that_burns_too_fast_is_told_before_it_is_gone() {
    let slo = slo("[{name: errors, target: \"99\", errorRate: {}}]");
    let status = evaluated(&slo, &counter(720, |_| Counts::new(75, 100)));
    let budget = condition(&status, "BudgetHealthy");
    assert_eq!((&budget["status"], &budget["reason"]), (&"False".into(), &"FastBurn".into()));
    assert_eq!(budget["message"], "errors burns 25x over 1h and 25x over 5m");
}

#[test]
fn a_window_that_fills_is_unknown_and_says_how_far_it_is() {
    let slo = slo("[{name: errors, target: \"99\", errorRate: {}}]");
    let status = evaluated(&slo, &counter(720, |_| Counts::new(1, 1)));
    let met = condition(&status, "Met");
    assert_eq!((&met["status"], &met["reason"]), (&"Unknown".into(), &"WindowFilling".into()));
    assert_eq!(met["message"], "errors: 0% of 28d measured, 90% needed");
    assert_eq!(status["objectives"][0]["met"], "Unknown");
    assert_eq!(status["summary"]["sli"], "100.00%");
}

#[test]
fn no_traffic_is_unknown_and_neither_good_nor_bad() {
    let slo = hourly("[{name: errors, target: \"99\", errorRate: {}}]");
    let status = evaluated(&slo, &counter(720, |_| Counts::ZERO));
    let met = condition(&status, "Met");
    assert_eq!((&met["status"], &met["reason"]), (&"Unknown".into(), &"NoData".into()));
    assert_eq!(met["message"], "errors: nothing to count yet over 1h");
    assert_eq!(condition(&status, "BudgetHealthy")["status"], "Unknown");
    assert_eq!(status["summary"], yaml("{met: 0/1, data: OK}"));
    assert_eq!(
        status["objectives"][0],
        yaml("{name: errors, met: Unknown, good: 0, total: 0, coverage: '100.0'}")
    );
}

#[test]
fn a_strict_objective_that_lost_something_is_the_worst_of_all() {
    let slo = hourly(
        r#"
        - {name: errors, target: "99.99", errorRate: {}}
        - {name: no-loss, delivery: {maxLost: 1}}
        "#,
    );
    let status = evaluated(&slo, &counter(720, |step| Counts::new(1 - u64::from(step < 3), 1)));
    assert_eq!(
        condition(&status, "Met")["message"],
        "errors 99.72% < 99.99% over 1h; no-loss lost 2, where 1 may be lost over 1h",
    );
    assert_eq!(status["summary"]["worst"], "no-loss");
    assert_eq!(status["summary"]["budget"], Value::Null);
    assert_eq!(status["objectives"][1]["errorBudget"], Value::Null);
}

#[test]
fn incomplete_data_is_told_apart_from_the_verdict() {
    let slo = hourly("[{name: errors, target: \"99\", errorRate: {}}]");
    let judged = judge(&slo, &counter(720, |_| Counts::new(1, 1)));
    let message = "2/3 sidecars; web-1 is not ready".to_owned();
    let data = Data { flaw: Some(Flaw::ReplicaMissing), message: message.clone() };
    let status = read(&slo, &Outcome::Evaluated { judged, data });
    let available = condition(&status, "DataAvailable");
    assert_eq!(
        (&available["status"], &available["reason"]),
        (&"False".into(), &"ReplicaMissing".into())
    );
    assert_eq!(available["message"], message);
    assert_eq!(condition(&status, "Met")["status"], "True");
    assert_eq!(status["summary"]["data"], "ReplicaMissing");
}

#[test]
fn a_missing_pipeline_is_told_with_the_remedy() {
    let slo = slo("[{name: errors, target: \"99\", errorRate: {}}]");
    let status = read(&slo, &Outcome::PipelineNotFound);
    let ready = condition(&status, "Ready");
    assert_eq!((&ready["status"], &ready["reason"]), (&"False".into(), &"PipelineNotFound".into()));
    assert_eq!(
        ready["message"],
        "there is no StreamPipeline orders in this namespace: create it, or correct spec.pipelineRef.name",
    );
    assert_eq!(condition(&status, "Met")["status"], "Unknown");
    assert_eq!(status["summary"], yaml("{met: '-', data: PipelineNotFound}"));
}

#[test]
fn every_violation_of_a_spec_is_told() {
    let slo = slo("[{name: errors, errorRate: {}}, {name: errors, delivery: {}}]");
    let violations = validate("feed", &slo.spec).unwrap_err();
    let status = read(&slo, &Outcome::InvalidSpec(violations));
    let message = condition(&status, "Ready")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("spec.objectives[0].target: must be set"), "{message}");
    assert!(message.contains("spec.objectives[1].name: \"errors\" is used twice"), "{message}");
}

#[test]
fn a_failure_keeps_the_numbers_that_there_were() {
    let mut slo = hourly("[{name: errors, target: \"99\", errorRate: {}}]");
    let judged = judge(&slo, &counter(720, |_| Counts::new(1, 1)));
    let outcome = Outcome::Evaluated { judged, data: complete() };
    let before = status(&slo, &outcome, Timestamp::from_second(100).unwrap());
    slo.status = Some(before.clone());
    let failed =
        unobserved(&slo, "pods is forbidden".to_owned(), Timestamp::from_second(200).unwrap());
    assert_eq!((&failed.summary, &failed.objectives), (&before.summary, &before.objectives));
    assert_eq!(failed.conditions.len(), 4);
    assert_eq!(failed.conditions[0].reason, "EvaluationFailed");
    assert_eq!(failed.conditions[1..], before.conditions[1..]);
}
