//! Counts the replicas of a pipeline, and sorts them by what is wrong with them.

use std::collections::BTreeMap;

use weir_crds::v1alpha1::PlacementKind;
use weir_slo::PipelineSample;

use crate::pipeline::observe::{Observed, ObservedPod, Replica, Report};

/// The replicas of a pipeline, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Census {
    /// How many there should be: what a gateway asks for, or the selected pods.
    pub(super) desired: i32,
    /// How many there are to be in the long run: a rollout has some more for a moment, and autoscaling may
    /// come to as many as it is allowed.
    pub(super) lasting: i32,
    /// How many there are, ready or not.
    pub(super) current: i32,
    /// How many serve.
    pub(super) ready: i32,
    /// How many of these do not run the newest generation that concerns them.
    pub(super) outdated: i32,
    /// How many serve each generation.
    pub(super) generations: BTreeMap<i64, i32>,
    /// Outdated replicas that refused a configuration, each with the reason.
    pub(super) refusing: Vec<(String, String)>,
    /// Replicas that refused a configuration and serve nothing, as they had none before, each with the reason.
    pub(super) barren: Vec<(String, String)>,
    /// How many selected pods carry the sidecar.
    pub(super) injected: i32,
    /// How many of these lack something that a new pod would have.
    pub(super) incomplete: i32,
    /// The names of the selected pods that don't.
    pub(super) missing: Vec<String>,
    /// Ready replicas that do not answer, each with the reason: `web-1 (no answer within 1000 ms)`.
    pub(super) silent: Vec<String>,
    /// Sources that are not healthy, each with replica and reason: `demo on web-1 (refused)`.
    pub(super) unhealthy: Vec<String>,
    /// Why replicas do not come up: `web-2 (ImagePullBackOff: …)`.
    pub(super) troubles: Vec<String>,
}

impl Census {
    /// Counts.
    pub(super) fn of(observed: &Observed) -> Self {
        let Observed {
            pipeline,
            others: _,
            slos: _,
            existing: _,
            pods,
            workloads: _,
            replicas,
            unready,
            knows_routes: _,
            no_injection: _,
            exposes: _,
            scaling: _,
            rebalancing: _,
            contested: _,
            told: _,
            upgrade: _,
        } = observed;
        let selected = || pods.iter().filter(|pod| pod.selected);
        let current = number(selected().count());
        let is_barren = |name: &str| {
            replicas.iter().any(|replica| replica.pod == name && replica.barren().is_some())
        };
        let (desired, lasting) = match pipeline.spec.placement.kind() {
            Some(PlacementKind::Gateway(gateway)) => {
                let wanted = observed.wanted_replicas().unwrap_or(gateway.replicas);
                (wanted, gateway.most_replicas())
            }
            Some(PlacementKind::Sidecar(_)) => (current, lasting(selected())),
            None => (0, lasting(selected())),
        };
        let mut census = Self {
            lasting,
            desired,
            current,
            ready: number(selected().filter(|pod| pod.serves() && !is_barren(&pod.name)).count()),
            injected: number(selected().filter(|pod| pod.member).count()),
            incomplete: number(selected().filter(|pod| !pod.lacks.is_empty()).count()),
            missing: selected().filter(|pod| !pod.member).map(|pod| pod.name.clone()).collect(),
            troubles: pods.iter().filter_map(trouble).collect(),
            ..Self::default()
        };
        for replica in replicas {
            census.add(replica, observed.told());
        }
        let barren = replicas.iter().chain(unready).filter_map(|replica| {
            replica.barren().map(|why| (replica.pod.clone(), why.to_owned()))
        });
        census.barren.extend(barren);
        census
    }

    fn add(&mut self, replica: &Replica, generation: Option<i64>) {
        if replica.barren().is_some() {
            return;
        }
        let Replica { pod, report, refused } = replica;
        let outdated = match report {
            Report::Serving(sample) => {
                self.add_sources(pod, sample);
                if let Some(generation) = sample.generation {
                    *self.generations.entry(generation).or_default() += 1;
                }
                sample.generation != generation
            }
            Report::NotServing => true,
            Report::Silent(why) => {
                self.silent.push(format!("{pod} ({why})"));
                false
            }
        };
        self.outdated += i32::from(outdated);
        let refused = refused.as_ref().filter(|_| outdated);
        self.refusing.extend(refused.map(|why| (pod.clone(), why.clone())));
    }

    fn add_sources(&mut self, pod: &str, sample: &PipelineSample) {
        let ill = sample.sources.iter().filter(|source| !source.healthy);
        self.unhealthy.extend(ill.map(|source| {
            let why = source.message.as_deref().unwrap_or("no reason given");
            format!("{} on {pod} ({why})", source.name)
        }));
    }
}

/// The pods of each workload, of which those of the largest generation alone count: of a Deployment that
/// is being rolled out, the old ReplicaSet's pods go as the new one's come.
fn lasting<'a>(pods: impl Iterator<Item = &'a ObservedPod>) -> i32 {
    let mut workloads: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for pod in pods {
        // A pod that nothing made is a workload of its own.
        let workload = pod.workload.as_deref().unwrap_or(&pod.name);
        let owner = pod.owner.as_deref().unwrap_or(&pod.name);
        *workloads.entry(workload).or_default().entry(owner).or_default() += 1;
    }
    number(workloads.values().filter_map(|owners| owners.values().max()).sum())
}

fn trouble(pod: &ObservedPod) -> Option<String> {
    pod.trouble.as_ref().map(|trouble| format!("{} ({trouble})", pod.name))
}

/// A count for a status; no cluster has two thousand million pods.
fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
