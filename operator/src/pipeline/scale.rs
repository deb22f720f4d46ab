//! Finds out how many replicas an autoscaled gateway is to have, and remembers what was decided.
//!
//! # Laws
//!
//! - What was decided is remembered when it has been written, not before.
//! - The number that counts as the present one is the one that was decided last, also by an earlier leader: it
//!   stands in the status.
//! - What is remembered is forgotten with the pipeline, and by each new leader, who then takes nothing away
//!   for the time of a stabilization window.

use std::collections::HashMap;
use std::time::Duration;

use kube::ResourceExt;
use parking_lot::Mutex;
use tokio::time::Instant;
use weir_crds::v1alpha1::{Autoscaling, StreamPipeline};
use weir_slo::{PipelineSample, Subscribers};

use super::observe::{Existing, Observed, Report};
use crate::scaling::{Decision, Goal, History, Load, Metric, Millis, decide};

/// Longer than the longest window: a pipeline that was not looked at for that long has nothing to remember.
const FORGOTTEN: Duration = Duration::from_secs(2 * 3_600);

/// What was decided before, for each pipeline.
#[derive(Debug)]
pub(super) struct Histories {
    began: Instant,
    kept: Mutex<HashMap<String, (Instant, History)>>,
}

impl Default for Histories {
    fn default() -> Self {
        Self { began: Instant::now(), kept: Mutex::default() }
    }
}

impl Histories {
    /// How many replicas there are to be; `None` where that is not to be found out.
    pub(super) fn decide(&self, observed: &Observed) -> Option<Decision> {
        let autoscaling = autoscaling(&observed.pipeline)?;
        let goal = Goal::of(autoscaling);
        let current = current(observed, &goal);
        let kept = self.kept.lock();
        let history = kept.get(&uid(observed)).map(|(_, history)| history.clone());
        let loads = loads(observed, autoscaling, current);
        Some(decide(&goal, current, &loads, &history.unwrap_or_default(), self.now()))
    }

    /// Takes note that what was decided is done.
    pub(super) fn note(&self, observed: &Observed) {
        let now = Instant::now();
        let mut kept = self.kept.lock();
        kept.retain(|_, (noted, _)| now.duration_since(*noted) < FORGOTTEN);
        match (autoscaling(&observed.pipeline), &observed.scaling) {
            (Some(autoscaling), Some(decision)) => {
                let (noted, history) =
                    kept.entry(uid(observed)).or_insert_with(|| (now, History::default()));
                *noted = now;
                history.note(decision, &Goal::of(autoscaling), self.now());
            }
            (None, _) | (_, None) => {
                kept.remove(&uid(observed));
            }
        }
    }

    fn now(&self) -> Millis {
        Millis::try_from(self.began.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }
}

fn uid(observed: &Observed) -> String {
    observed.pipeline.uid().unwrap_or_default()
}

fn autoscaling(pipeline: &StreamPipeline) -> Option<&Autoscaling> {
    pipeline.spec.placement.gateway.as_ref()?.autoscaling.as_ref()
}

/// How many replicas there are: what was decided last, or, where nothing was, what the workload has.
fn current(observed: &Observed, goal: &Goal) -> i32 {
    let decided = observed.pipeline.status.as_ref().and_then(|status| status.autoscaling.as_ref());
    let Existing { deployment, stateful_set, .. } = &observed.existing;
    let deployment = deployment.as_ref().and_then(|found| found.spec.replicas);
    let stateful_set = stateful_set.as_ref().and_then(|found| found.spec.replicas);
    decided.map(|decided| decided.desired).or(deployment).or(stateful_set).unwrap_or(goal.fewest)
}

/// What the replicas have to do, beside each target.
fn loads(observed: &Observed, autoscaling: &Autoscaling, current: i32) -> Vec<Load> {
    let targets = [
        (Metric::Connections, autoscaling.connections_per_replica),
        (Metric::Lag, autoscaling.lag_per_replica),
    ];
    let load = |(metric, target): (Metric, Option<i32>)| {
        let values: Vec<u64> = samples(observed).map(|sample| value(metric, sample)).collect();
        let expected = usize::try_from(current).unwrap_or_default();
        Some(Load {
            metric,
            target: u64::try_from(target?).ok()?,
            missing: expected.saturating_sub(values.len()) as u64,
            values,
        })
    };
    targets.into_iter().filter_map(load).collect()
}

fn samples(observed: &Observed) -> impl Iterator<Item = &PipelineSample> {
    observed.replicas.iter().filter_map(|replica| match &replica.report {
        Report::Serving(sample) => Some(&**sample),
        Report::NotServing | Report::Silent(_) => None,
    })
}

const fn value(metric: Metric, sample: &PipelineSample) -> u64 {
    match metric {
        Metric::Connections => {
            let Subscribers { sse, websocket } = sample.subscribers;
            sse.saturating_add(websocket)
        }
        Metric::Lag => sample.deliveries.lagging,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pipeline::observe::Replica;
    use crate::pipeline::testing::running;
    use crate::testing::gateway;

    /// A gateway whose replicas have so many subscribers, or are silent.
    fn observed(connections: &[Option<u64>]) -> Observed {
        let mut pipeline = gateway("orders", 1);
        let autoscaling = json!({ "maxReplicas": 10, "connectionsPerReplica": 100 });
        pipeline.spec.placement.gateway.as_mut().unwrap().autoscaling =
            serde_json::from_value(autoscaling).unwrap();
        let names: Vec<_> = (0..connections.len()).map(|n| format!("g-{n}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let mut observed = running(&pipeline, &names);
        for (Replica { report, .. }, connections) in observed.replicas.iter_mut().zip(connections) {
            match (&mut *report, connections) {
                (Report::Serving(sample), Some(connections)) => {
                    sample.subscribers = Subscribers { sse: connections - 1, websocket: 1 };
                }
                (_, _) => *report = Report::Silent("refused".to_owned()),
            }
        }
        let status = json!({ "autoscaling": { "desired": connections.len().max(1) } });
        observed.pipeline.status = serde_json::from_value(status).unwrap();
        observed
    }

    #[tokio::test(start_paused = true)]
    async fn subscribers_of_both_kinds_are_counted_and_more_replicas_wanted() {
        let histories = Histories::default();
        let decision = histories.decide(&observed(&[Some(150), Some(150)])).unwrap();
        assert_eq!((decision.current, decision.desired), (2, 3));
        assert_eq!(decision.by, Some((Metric::Connections, 150)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_done_is_remembered_until_the_windows_are_over() {
        let histories = Histories::default();
        let mut busy = observed(&[Some(300), Some(300)]);
        busy.scaling = histories.decide(&busy);
        assert_eq!(busy.scaling.as_ref().unwrap().desired, 6);
        histories.note(&busy);
        let idle = observed(&[Some(1); 6]);
        tokio::time::advance(Duration::from_secs(299)).await;
        assert_eq!(histories.decide(&idle).unwrap().desired, 6);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(histories.decide(&idle).unwrap().desired, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_replica_is_missing() {
        let observed = observed(&[Some(10), None]);
        let autoscaling = autoscaling(&observed.pipeline).unwrap();
        let loads = loads(&observed, autoscaling, 2);
        let expected =
            Load { metric: Metric::Connections, target: 100, values: vec![10], missing: 1 };
        assert_eq!(loads, [expected]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_decision_the_workload_says_how_many_there_are() {
        let mut observed = observed(&[]);
        observed.pipeline.status = None;
        let goal = Goal::of(autoscaling(&observed.pipeline).unwrap());
        assert_eq!(current(&observed, &goal), 1);
        observed.existing.deployment = serde_json::from_value(json!({
            "metadata": {}, "spec": { "replicas": 4, "selector": {}, "template": {} },
        }))
        .unwrap();
        assert_eq!(current(&observed, &goal), 4);
        assert_eq!(Histories::default().decide(&running(&gateway("orders", 3), &["a"])), None);
    }
}
