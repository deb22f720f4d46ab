//! Evaluates the SLOs in process, for the `run` mode: the same arithmetic as the operator's, over one
//! instance.

use std::collections::BTreeMap;

use weir_crds::{
    scalar::Percent,
    v1alpha1::{Objective, ObjectiveKind, StreamSLOSpec},
};
use weir_slo::{
    Evaluation, Evaluator, IngestError, Method, Millis, ObjectiveSample, Ratio, Samples, SloSample,
    Timestamp,
};

use crate::{config::SloConfig, registry::Registry};

/// Evaluates every SLO of a registry.
#[derive(Debug, Default)]
pub struct Evaluators {
    /// By namespace and name; each with the spec that the evaluators were made for.
    slos: BTreeMap<(String, String), (StreamSLOSpec, Vec<Evaluator>)>,
    /// Up to when the registry was read.
    read_until: Timestamp,
}

impl Evaluators {
    /// Reads the counters and judges them: the evaluations of each SLO, by its name.
    pub fn evaluate(&mut self, registry: &Registry) -> Vec<(String, Vec<Evaluation>)> {
        let pipelines = registry.all();
        let slos: Vec<_> =
            pipelines.values().flat_map(|pipeline| &pipeline.config().slos).collect();
        self.slos.retain(|key, (spec, _)| {
            slos.iter().any(|slo| key_of(slo) == *key && slo.spec == *spec)
        });
        // A new evaluator wants all that the meters remember.
        let all_known = slos.iter().all(|slo| self.slos.contains_key(&key_of(slo)));
        let since = if all_known { self.read_until } else { Timestamp::default() };
        let samples = registry.samples(since);
        self.read_until = samples.now;
        slos.into_iter().map(|slo| (slo.name.clone(), self.evaluate_slo(slo, &samples))).collect()
    }

    fn evaluate_slo(&mut self, slo: &SloConfig, samples: &Samples) -> Vec<Evaluation> {
        let (_, evaluators) = self
            .slos
            .entry(key_of(slo))
            .or_insert_with(|| (slo.spec.clone(), evaluators(&slo.spec)));
        for evaluator in evaluators.iter_mut() {
            if let Some(sample) = find(samples, slo, &evaluator.objective().name) {
                // In one process there is one clock, and the meters follow the configuration.
                let taken: Result<(), IngestError> = evaluator.ingest(samples, sample, samples.now);
                if let Err(error) = taken {
                    tracing::warn!(slo = slo.name, %error, "can't evaluate an objective");
                }
            }
        }
        evaluators.iter().map(|evaluator| evaluator.evaluate(samples.now)).collect()
    }
}

fn key_of(slo: &SloConfig) -> (String, String) {
    (slo.namespace.clone(), slo.name.clone())
}

fn find<'a>(samples: &'a Samples, slo: &SloConfig, objective: &str) -> Option<&'a ObjectiveSample> {
    let of_slo = |sample: &&SloSample| sample.namespace == slo.namespace && sample.name == slo.name;
    let slos = samples.pipelines.iter().flat_map(|pipeline| &pipeline.slos).filter(of_slo);
    slos.flat_map(|slo| &slo.objectives).find(|sample| sample.name == objective)
}

fn evaluators(spec: &StreamSLOSpec) -> Vec<Evaluator> {
    let interval = Millis(spec.evaluation.interval.millis());
    let objectives = spec.objectives.iter().filter_map(|objective| judged(spec, objective));
    // An objective that can't be evaluated doesn't get past validation.
    objectives.filter_map(|objective| Evaluator::new(objective, interval).ok()).collect()
}

fn judged(spec: &StreamSLOSpec, objective: &Objective) -> Option<weir_slo::Objective> {
    Some(weir_slo::Objective {
        name: objective.name.clone(),
        target: ratio(objective.target.as_ref().map_or(1_000_000, Percent::ppm)),
        method: method(objective)?,
        window: Millis(spec.time_window.duration.millis()),
        min_coverage: ratio(spec.evaluation.min_coverage.ppm()),
    })
}

fn method(objective: &Objective) -> Option<Method> {
    Some(match objective.kind()? {
        ObjectiveKind::Latency(latency) => match latency.quantile_ppm() {
            None => Method::Occurrences,
            Some(quantile) => {
                let slice = objective.time_slice.clone().unwrap_or_default();
                Method::Timeslices {
                    window: Millis(slice.window.millis()),
                    min_events: u64::try_from(slice.min_events).unwrap_or(0),
                    quantile: ratio(quantile),
                }
            }
        },
        ObjectiveKind::ErrorRate(_) => Method::Occurrences,
        ObjectiveKind::Delivery(delivery) => {
            Method::Strict { max_lost: u64::try_from(delivery.max_lost).unwrap_or(0) }
        }
    })
}

fn ratio(ppm: u32) -> Ratio {
    Ratio::from_ppm(ppm).unwrap_or_default()
}
