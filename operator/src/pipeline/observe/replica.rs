//! Asks the replicas which generation they run, and how their sources are.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;
use weir_slo::PipelineSample;

use super::ObservedPod;
use crate::context::Context;
use crate::failure::chain;
use crate::samples::{Answer, Query, Target};

/// A ready pod that carries the data plane, and what it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pipeline) struct Replica {
    /// The pod's name.
    pub(in crate::pipeline) pod: String,
    /// What it answered.
    pub(in crate::pipeline) report: Report,
    /// Why it goes on with an older configuration, of whichever pipeline; `None` where it does not.
    pub(in crate::pipeline) refused: Option<String>,
}

impl Replica {
    /// Why it serves nothing of the pipeline, where that is because it refused a configuration and had none before.
    pub(in crate::pipeline) fn barren(&self) -> Option<&str> {
        self.refused.as_deref().filter(|_| self.report == Report::NotServing)
    }
}

/// What the pods answered that were asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answers {
    /// Of those that are ready.
    pub(super) ready: Vec<Replica>,
    /// Of a gateway's that are up, and not ready.
    pub(super) unready: Vec<Replica>,
}

/// What a replica answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pipeline) enum Report {
    /// It serves the pipeline.
    Serving(Box<PipelineSample>),
    /// It answers, but does not serve the pipeline yet.
    NotServing,
    /// It did not answer, or not so that it could be understood.
    Silent(String),
}

/// An answer of this age will do: bursts of changes don't become bursts of requests, and nobody waits
/// noticeably longer for a status.
const FRESH_ENOUGH: Duration = Duration::from_secs(2);

/// Asks every pod that serves, or would say why it doesn't; each counts for so many objectives at most. One that does not
/// answer is part of the answer.
pub(super) async fn ask(
    context: &Context,
    pods: &[ObservedPod],
    namespace: &str,
    pipeline: &str,
    objectives: usize,
) -> Answers {
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
    // No snapshot of the past is wanted here.
    let since = weir_slo::Timestamp::from_millis(now);
    let query = Query { since, max_age: FRESH_ENOUGH, objectives };
    let asked = pods.iter().filter(|pod| pod.serves() || pod.waits());
    let targets = asked.filter_map(|pod| target(pod, context.options.admin_port));
    let answers = context.sampler.sample_all(targets.map(|target| (target, query)).collect());
    let understood = answers.await.into_iter().map(|(target, answer)| Replica {
        pod: target.pod,
        refused: answer.as_ref().ok().and_then(|reading| reading.samples.refused.clone()),
        report: understand(answer, namespace, pipeline),
    });
    let waits = |name: &str| pods.iter().any(|pod| pod.name == name && pod.waits());
    let (unready, ready) = understood.partition(|replica: &Replica| waits(&replica.pod));
    Answers { ready, unready }
}

/// Where a pod is asked. A ready pod has an address always.
fn target(pod: &ObservedPod, port: u16) -> Option<Target> {
    let ip: IpAddr = pod.ip.as_ref()?.parse().ok()?;
    let address = SocketAddr::new(ip, port);
    Some(Target { uid: pod.uid.clone(), pod: pod.name.clone(), address })
}

fn understand(answer: Answer, namespace: &str, pipeline: &str) -> Report {
    let reading = match answer {
        Ok(reading) => reading,
        Err(error) => return Report::Silent(chain(&error)),
    };
    let mut served = reading.samples.pipelines.iter();
    let served = served.find(|sample| sample.namespace == namespace && sample.name == pipeline);
    served.map_or(Report::NotServing, |sample| Report::Serving(Box::new(sample.clone())))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use tokio::time::Instant;

    use super::*;
    use crate::samples::{FetchError, Held, Reading};

    fn answer() -> Answer {
        let samples = json!({
            "apiVersion": weir_slo::SAMPLES_V1,
            "instance": { "id": "i", "startedAt": 0 },
            "now": 1,
            "pipelines": [{ "namespace": "shop", "name": "orders", "generation": 3 }],
        });
        let since = weir_slo::Timestamp::from_millis(0);
        let samples = serde_json::from_value(samples).unwrap();
        let held = Held::default();
        Ok(Arc::new(Reading { samples, since, taken: Instant::now(), held }))
    }

    #[test]
    fn the_pipeline_is_found_by_namespace_and_name() {
        let report = understand(answer(), "shop", "orders");
        let Report::Serving(sample) = report else { panic!("{report:?}") };
        assert_eq!(sample.generation, Some(3));
        assert_eq!(understand(answer(), "elsewhere", "orders"), Report::NotServing);
    }

    #[test]
    fn a_failed_sampling_is_told_in_its_own_words() {
        let failed = Err(FetchError::Status { status: 503 }.into());
        let report = understand(failed, "shop", "orders");
        assert_eq!(report, Report::Silent("answered with status 503".to_owned()));
    }

    #[test]
    fn a_pod_is_asked_at_its_address_and_one_without_address_is_not() {
        let pod = ObservedPod { ip: Some("fd00::1".to_owned()), ..ObservedPod::default() };
        assert_eq!(target(&pod, 7071).unwrap().address.to_string(), "[fd00::1]:7071");
        assert_eq!(target(&ObservedPod::default(), 7071), None);
    }
}
