//! Follows one SLO: takes in what its sidecars answered, and says what that means.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use weir_slo::{
    BurnRate, Evaluation, Evaluator, IngestError, Millis, ObjectiveError, ObjectiveSample, Samples,
    SloSample, Timestamp,
};

use crate::samples::{Answer, Query, Target};
use crate::slo::burn::{Burning, burning};
use crate::slo::validate::{Counted, ValidatedObjective, ValidatedSlo};

/// The window of the burn rate that the columns show.
const SHOWN_BURN: Millis = Millis::from_hours(1);

/// What is kept of one SLO.
#[derive(Debug, Default)]
pub(in crate::slo) struct Tracked {
    /// The generation that was evaluated last, and when it is time for the next evaluation.
    pub(in crate::slo) due: Option<(i64, Timestamp)>,
    /// When the status was last written.
    pub(in crate::slo) written: Option<Instant>,
    objectives: Vec<Objective>,
    /// The process that each pod was when it last answered, by the pod's uid.
    instances: HashMap<String, String>,
}

#[derive(Debug)]
struct Objective {
    counted: Counted,
    /// The generation of the SLO in which it began to be counted so.
    since: i64,
    evaluator: Evaluator,
    /// When the youngest of the counters that were taken in stood at zero.
    youngest: Timestamp,
}

/// What is known of one objective.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::slo) struct Judged {
    /// What is demanded.
    pub(in crate::slo) demand: weir_slo::Objective,
    /// What is so.
    pub(in crate::slo) evaluation: Evaluation,
    /// The burn rate that the columns show.
    pub(in crate::slo) burn: Option<BurnRate>,
    /// Whether the budget burns too fast.
    pub(in crate::slo) burning: Option<Burning>,
}

/// Why a sidecar's answer was not, or not wholly, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::slo) enum Problem {
    /// It did not answer, or not so that it was understood.
    Silent(String),
    /// It counts an older configuration.
    Outdated,
    /// Its clock is ahead of ours.
    ClockAhead(String),
}

/// The SLO that the sidecars are to count.
#[derive(Debug, Clone, Copy)]
pub(in crate::slo) struct Subject<'a> {
    /// Its namespace.
    pub(in crate::slo) namespace: &'a str,
    /// Its name.
    pub(in crate::slo) name: &'a str,
    /// The generation of its spec.
    pub(in crate::slo) generation: i64,
}

impl Tracked {
    /// Brings the evaluators to what is asked for now.
    ///
    /// # Errors
    ///
    /// An objective can't be evaluated, which its validation should have said.
    pub(in crate::slo) fn revise(
        &mut self,
        asked: &ValidatedSlo,
        generation: i64,
    ) -> Result<(), ObjectiveError> {
        let mut before = std::mem::take(&mut self.objectives);
        for objective in &asked.objectives {
            let named = |known: &Objective| known.evaluator.objective().name == objective.demand.name;
            let known = before.iter().position(named).map(|index| before.swap_remove(index));
            self.objectives.push(Objective::revised(known, objective, asked.interval, generation)?);
        }
        Ok(())
    }

    /// What is wanted of a pod: everything that is not counted yet.
    pub(in crate::slo) fn query(&self, target: &Target, interval: Millis) -> Query {
        let seen = |instance: &String| {
            let seen = |objective: &Objective| objective.evaluator.seen_until(instance);
            self.objectives.iter().map(seen).min().flatten()
        };
        let since = self.instances.get(&target.uid).and_then(seen).unwrap_or_default();
        // Within half an interval another SLO of the pipeline has asked the same.
        Query { since, max_age: Duration::from_millis(interval.0 / 2) }
    }

    /// Counts what the pods answered, and says of each what was wrong with it.
    pub(in crate::slo) fn ingest(
        &mut self,
        subject: Subject<'_>,
        answers: &[(Target, Answer)],
        now: Timestamp,
    ) -> Vec<Option<Problem>> {
        let mut problems = Vec::new();
        let mut instances = HashMap::new();
        for (target, answer) in answers {
            problems.push(match answer {
                Ok(reading) => {
                    let samples = &reading.samples;
                    instances.insert(target.uid.clone(), samples.instance.id.clone());
                    self.take_in(subject, samples, now)
                }
                Err(error) => {
                    if let Some(known) = self.instances.remove(&target.uid) {
                        instances.insert(target.uid.clone(), known);
                    }
                    Some(Problem::Silent(error.to_string()))
                }
            });
        }
        self.instances = instances;
        problems
    }

    fn take_in(
        &mut self,
        subject: Subject<'_>,
        samples: &Samples,
        now: Timestamp,
    ) -> Option<Problem> {
        let Some(counted) = find(subject, samples) else { return Some(Problem::Outdated) };
        let generation = counted.generation.unwrap_or(subject.generation);
        let mut problem = None;
        for objective in &mut self.objectives {
            let name = &objective.evaluator.objective().name;
            let sample = counted.objectives.iter().find(|sample| sample.name == *name);
            let found = match sample.filter(|_| generation >= objective.since) {
                Some(sample) => objective.take_in(samples, sample, now),
                None => Some(Problem::Outdated),
            };
            problem = problem.or(found);
        }
        problem
    }

    /// What is known of each objective at `now`, in the order of the spec.
    pub(in crate::slo) fn judge(&self, now: Timestamp) -> Vec<Judged> {
        let judge = |Objective { counted: _, since: _, evaluator, youngest: _ }: &Objective| Judged {
            demand: evaluator.objective().clone(),
            evaluation: evaluator.evaluate(now),
            burn: evaluator.burn_rate(SHOWN_BURN, now),
            burning: burning(evaluator, now),
        };
        self.objectives.iter().map(judge).collect()
    }
}

/// The SLO in a samples document.
fn find<'a>(subject: Subject<'_>, samples: &'a Samples) -> Option<&'a SloSample> {
    let mut slos = samples.pipelines.iter().flat_map(|pipeline| &pipeline.slos);
    slos.find(|slo| slo.namespace == subject.namespace && slo.name == subject.name)
}

impl Objective {
    /// The objective as it is asked for now; with the counts that there are, if they fit.
    fn revised(
        known: Option<Self>,
        asked: &ValidatedObjective,
        interval: Millis,
        generation: i64,
    ) -> Result<Self, ObjectiveError> {
        let ValidatedObjective { demand, counted } = asked;
        let Some(known) = known.filter(|known| known.counted == *counted) else {
            let evaluator = Evaluator::new(demand.clone(), interval)?;
            let (counted, youngest) = (*counted, Timestamp::default());
            return Ok(Self { counted, since: generation, evaluator, youngest });
        };
        if known.evaluator.objective() == demand {
            return Ok(known);
        }
        let Self { counted, since, evaluator, youngest } = known;
        let saved = evaluator.save();
        let evaluator = match Evaluator::restore(demand.clone(), interval, saved) {
            Ok(evaluator) => evaluator,
            // Counts of slices can't be cut anew; what is counted in them stays the same.
            Err(_) => match evaluator.fingerprint() {
                Some(counting) => Evaluator::new(demand.clone(), interval)?.counting(counting),
                None => Evaluator::new(demand.clone(), interval)?,
            },
        };
        Ok(Self { counted, since, evaluator, youngest })
    }

    fn take_in(
        &mut self,
        from: &Samples,
        sample: &ObjectiveSample,
        now: Timestamp,
    ) -> Option<Problem> {
        let _ = (from, sample, now);
        None
    }
}
