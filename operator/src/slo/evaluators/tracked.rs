//! Follows one SLO: takes in what its sidecars answered, and says what that means.

use std::collections::HashMap;
use std::sync::Arc;
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
    /// The generation of the SLO in which it began to be counted so. What runs an older one counts
    /// something else under its name.
    since: i64,
    interval: Millis,
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
    /// Its clock is ahead of ours, by more than [`weir_slo::CLOCK_TOLERANCE`].
    ClockAhead,
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
            let named =
                |known: &Objective| known.evaluator.objective().name == objective.demand.name;
            let known = before.iter().position(named).map(|index| before.swap_remove(index));
            self.objectives.push(Objective::revised(known, objective, asked.interval, generation)?);
        }
        Ok(())
    }

    /// What is wanted of a pod, which counts for so many objectives at most: everything that is not counted yet.
    pub(in crate::slo) fn query(
        &self,
        target: &Target,
        interval: Millis,
        objectives: usize,
    ) -> Query {
        let seen = |instance: &String| {
            let seen = |objective: &Objective| objective.evaluator.seen_until(instance);
            self.objectives.iter().map(seen).min().flatten()
        };
        let since = self.instances.get(&target.uid).and_then(seen).unwrap_or_default();
        // Within half an interval another SLO of the pipeline has asked the same.
        Query { since, max_age: Duration::from_millis(interval.0 / 2), objectives }
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

    /// Counts what sidecars said when they ended. What they counted before is counted already, so that
    /// one of them may be heard again.
    pub(in crate::slo) fn hear(
        &mut self,
        subject: Subject<'_>,
        farewells: &[Arc<Samples>],
        now: Timestamp,
    ) {
        for samples in farewells {
            if let Some(problem) = self.take_in(subject, samples, now) {
                tracing::debug!(
                    ?problem,
                    instance = samples.instance.id,
                    "a farewell is not counted"
                );
            }
        }
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
        let evaluators = self.objectives.iter().map(|objective| &objective.evaluator);
        let judge = |evaluator: &Evaluator| Judged {
            demand: evaluator.objective().clone(),
            evaluation: evaluator.evaluate(now),
            burn: evaluator.burn_rate(SHOWN_BURN, now),
            burning: burning(evaluator, now),
        };
        evaluators.map(judge).collect()
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
            return Ok(Self { counted, since: generation, interval, evaluator, youngest });
        };
        if known.evaluator.objective() == demand && known.interval == interval {
            return Ok(known);
        }
        let Self { counted, since, interval: _, evaluator, youngest } = known;
        let evaluator = Self::carried_over(&evaluator, demand, interval)?;
        Ok(Self { counted, since, interval, evaluator, youngest })
    }

    /// An evaluator of another demand on the same counts. Events that were cut into slices can't be cut
    /// anew: then the sidecars are asked for what they remember.
    fn carried_over(
        known: &Evaluator,
        demand: &weir_slo::Objective,
        interval: Millis,
    ) -> Result<Evaluator, ObjectiveError> {
        if let Ok(restored) = Evaluator::restore(demand.clone(), interval, known.save()) {
            return Ok(restored);
        }
        let anew = Evaluator::new(demand.clone(), interval)?;
        Ok(match known.fingerprint() {
            Some(fingerprint) => anew.counting(fingerprint),
            None => anew,
        })
    }

    fn take_in(
        &mut self,
        from: &Samples,
        sample: &ObjectiveSample,
        now: Timestamp,
    ) -> Option<Problem> {
        let started_at = sample.started_at.unwrap_or(from.instance.started_at);
        let mut taken = self.evaluator.ingest(from, sample, now);
        if matches!(taken, Err(IngestError::Fingerprint { .. })) && started_at > self.youngest {
            // Of two counters of one generation the one that began later is what is asked for now: the
            // other belongs to an SLO that had the name before.
            let demand = self.evaluator.objective().clone();
            if let Ok(anew) = Evaluator::new(demand, self.interval) {
                self.evaluator = anew.counting(&sample.fingerprint);
                taken = self.evaluator.ingest(from, sample, now);
            }
        }
        match taken {
            Ok(()) => {
                self.youngest = self.youngest.max(started_at);
                None
            }
            Err(IngestError::Fingerprint { .. }) => Some(Problem::Outdated),
            Err(IngestError::ClockAhead { .. }) => Some(Problem::ClockAhead),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_crds::v1alpha1::StreamSLO;
    use weir_slo::Counts;

    use super::*;
    use crate::samples::{FetchError, Held, Reading};
    use crate::slo::testing::{Counter, slo};
    use crate::slo::validate::validate;

    const SUBJECT: Subject<'static> = Subject { namespace: "shop", name: "feed", generation: 3 };
    const NOW: u64 = 100_000;

    fn errors(target: &str) -> StreamSLO {
        slo(&format!("[{{name: errors, target: \"{target}\", errorRate: {{}}}}]"))
    }

    fn revised(tracked: &mut Tracked, slo: &StreamSLO, generation: i64) {
        let valid = validate("feed", &slo.spec).unwrap();
        tracked.revise(&valid, generation).unwrap();
    }

    fn tracked(slo: &StreamSLO) -> Tracked {
        let mut tracked = Tracked::default();
        revised(&mut tracked, slo, 3);
        tracked
    }

    fn target(pod: &str) -> Target {
        let address = "10.0.0.1:7071".parse().unwrap();
        Target { uid: pod.to_owned(), pod: pod.to_owned(), address }
    }

    fn answered(pod: &str, counter: &Counter) -> (Target, Answer) {
        let samples = counter.samples(&errors("99"));
        let since = Timestamp::default();
        let held = Held::default();
        (target(pod), Ok(Arc::new(Reading { samples, since, taken: Instant::now(), held })))
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn totals(tracked: &Tracked) -> (u64, u64) {
        let judged = tracked.judge(at(NOW));
        (judged[0].evaluation.good, judged[0].evaluation.total)
    }

    #[test]
    fn answers_of_several_replicas_add_up_and_repetitions_count_once() {
        let mut tracked = tracked(&errors("99"));
        let a = answered("a", &Counter::new("a", vec![(NOW - 5_000, Counts::new(4, 5))]));
        let b = answered("b", &Counter::new("b", vec![(NOW - 5_000, Counts::new(10, 10))]));
        for _ in 0..3 {
            let problems = tracked.ingest(SUBJECT, &[a.clone(), b.clone()], at(NOW));
            assert_eq!(problems, [None, None]);
        }
        assert_eq!(totals(&tracked), (14, 15));
    }

    #[test]
    fn a_restarted_sidecar_goes_on_where_the_other_process_ended() {
        let mut tracked = tracked(&errors("99"));
        let first = Counter::new("first", vec![(NOW - 10_000, Counts::new(4, 5))]);
        tracked.ingest(SUBJECT, &[answered("a", &first)], at(NOW - 10_000));
        let second = Counter {
            started_at: NOW - 8_000,
            ..Counter::new("second", vec![(NOW - 5_000, Counts::new(2, 2))])
        };
        tracked.ingest(SUBJECT, &[answered("a", &second)], at(NOW));
        assert_eq!(totals(&tracked), (6, 7));
    }

    #[test]
    fn a_pod_is_asked_for_what_is_not_counted_yet() {
        let mut tracked = tracked(&errors("99"));
        let interval = Millis::from_secs(15);
        assert_eq!(tracked.query(&target("a"), interval, 1).since, at(0));
        let counter = Counter::new("a", vec![(NOW - 5_000, Counts::new(4, 5))]);
        tracked.ingest(SUBJECT, &[answered("a", &counter)], at(NOW));
        assert_eq!(tracked.query(&target("a"), interval, 1).since, at(NOW - 5_000));
        assert_eq!(tracked.query(&target("b"), interval, 1).since, at(0));
        // A pod that is silent for a while is asked for what is missing, and not for everything.
        let silent = (target("a"), Err(FetchError::Status { status: 500 }.into()));
        let problems = tracked.ingest(SUBJECT, &[silent], at(NOW));
        assert_eq!(problems, [Some(Problem::Silent("answered with status 500".to_owned()))]);
        assert_eq!(tracked.query(&target("a"), interval, 1).since, at(NOW - 5_000));
    }

    #[test]
    fn a_new_objective_asks_for_everything_that_is_remembered() {
        let mut tracked = tracked(&errors("99"));
        let counter = Counter::new("a", vec![(NOW - 5_000, Counts::new(4, 5))]);
        tracked.ingest(SUBJECT, &[answered("a", &counter)], at(NOW));
        let more =
            slo("[{name: errors, target: \"99\", errorRate: {}}, {name: loss, delivery: {}}]");
        revised(&mut tracked, &more, 4);
        assert_eq!(tracked.query(&target("a"), Millis::from_secs(15), 1).since, at(0));
    }

    #[test]
    fn another_target_is_applied_to_the_counts_that_there_are() {
        let mut tracked = tracked(&errors("99"));
        let counter = Counter::new("a", vec![(NOW - 5_000, Counts::new(4, 5))]);
        tracked.ingest(SUBJECT, &[answered("a", &counter)], at(NOW));
        revised(&mut tracked, &errors("50"), 4);
        assert_eq!(totals(&tracked), (4, 5));
        let judged = tracked.judge(at(NOW));
        assert_eq!(judged[0].demand.target.to_string(), "50");
        // The sidecar has yet to take up generation 4, and counts the same.
        let problems = tracked.ingest(SUBJECT, &[answered("a", &counter)], at(NOW));
        assert_eq!(problems, [None]);
    }

    #[test]
    fn another_threshold_begins_anew_and_waits_for_sidecars_that_count_it() {
        let latency = |threshold| {
            slo(&format!("[{{name: errors, target: \"99\", latency: {{threshold: {threshold}}}}}]"))
        };
        let mut tracked = tracked(&latency("50ms"));
        let old = Counter {
            fingerprint: "latency/50ms",
            ..Counter::new("a", vec![(NOW - 5_000, Counts::new(4, 5))])
        };
        tracked.ingest(SUBJECT, &[answered("a", &old)], at(NOW));
        revised(&mut tracked, &latency("60ms"), 4);
        let subject = Subject { generation: 4, ..SUBJECT };
        let problems = tracked.ingest(subject, &[answered("a", &old)], at(NOW));
        assert_eq!((problems, totals(&tracked)), (vec![Some(Problem::Outdated)], (0, 0)));
        let new = Counter {
            generation: 4,
            fingerprint: "latency/60ms",
            ..Counter::new("a", vec![(NOW - 1_000, Counts::new(1, 1))])
        };
        let problems = tracked.ingest(subject, &[answered("a", &new)], at(NOW));
        assert_eq!((problems, totals(&tracked)), (vec![None], (1, 1)));
    }

    #[test]
    fn of_two_counters_of_one_generation_the_younger_is_the_one_asked_for() {
        let mut tracked = tracked(&errors("99"));
        let stale = Counter {
            fingerprint: "latency/50ms",
            started_at: 10,
            ..Counter::new("a", vec![(NOW - 5_000, Counts::new(4, 5))])
        };
        let fresh = Counter {
            started_at: NOW - 3_000,
            ..Counter::new("b", vec![(NOW - 1_000, Counts::new(2, 2))])
        };
        let answers = [answered("a", &stale), answered("b", &fresh)];
        assert_eq!(tracked.ingest(SUBJECT, &answers, at(NOW)), [None, None]);
        assert_eq!(totals(&tracked), (2, 2));
        let again = tracked.ingest(SUBJECT, &answers, at(NOW));
        assert_eq!((again, totals(&tracked)), (vec![Some(Problem::Outdated), None], (2, 2)));
    }

    #[test]
    fn a_sidecar_that_does_not_know_the_slo_is_outdated() {
        let mut tracked = tracked(&errors("99"));
        let counter = Counter::new("a", vec![(NOW - 5_000, Counts::new(4, 5))]);
        let subject = Subject { name: "other", ..SUBJECT };
        let problems = tracked.ingest(subject, &[answered("a", &counter)], at(NOW));
        assert_eq!(problems, [Some(Problem::Outdated)]);
    }

    #[test]
    fn a_clock_that_is_ahead_is_a_problem_of_that_sidecar_alone() {
        let mut tracked = tracked(&errors("99"));
        let ahead = Counter::new("a", vec![(NOW + 3_600_000, Counts::new(4, 5))]);
        let right = Counter::new("b", vec![(NOW - 5_000, Counts::new(1, 1))]);
        let answers = [answered("a", &ahead), answered("b", &right)];
        assert_eq!(tracked.ingest(SUBJECT, &answers, at(NOW)), [Some(Problem::ClockAhead), None]);
        assert_eq!(totals(&tracked), (1, 1));
    }
}
