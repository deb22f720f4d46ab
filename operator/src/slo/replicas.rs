//! Finds in the pods of a pipeline which sidecars can be sampled, and which are missing.

use std::borrow::Borrow;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use weir_crds::names::SIDECAR_CONTAINER;
use weir_crds::v1alpha1::{PlacementKind, StreamPipeline};

use crate::samples::Target;

/// The sidecars of a pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Replicas {
    /// How many there should be.
    pub(super) expected: usize,
    /// Those that run.
    pub(super) running: Vec<Replica>,
    /// Those that should run and do not.
    pub(super) missing: Vec<Missing>,
}

/// A sidecar that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replica {
    /// Where it is sampled.
    pub(super) target: Target,
    /// Whether it must answer. One that is starting, or whose pod is being deleted, may: what it
    /// counted last is wanted, and nothing is wrong when it is gone.
    pub(super) must_answer: bool,
}

/// A sidecar that should run and does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Missing {
    /// The pod was created without it.
    Bare {
        /// The pod's name.
        pod: String,
    },
    /// It is not ready.
    Unready {
        /// The pod's name.
        pod: String,
    },
    /// So many pods do not exist.
    Absent {
        /// How many.
        count: usize,
    },
}

/// The sidecars of `pipeline`, found in its pods.
pub(super) fn find(
    pipeline: &StreamPipeline,
    pods: &[impl Borrow<Pod>],
    admin_port: u16,
) -> Replicas {
    let mut found = Replicas::default();
    let mut carrying = 0;
    for pod in pods.iter().map(Borrow::borrow).filter(|pod| !is_finished(pod)) {
        let leaving = pod.metadata.deletion_timestamp.is_some();
        let ready = sidecar(pod).is_some_and(|status| status.ready);
        if let Some(target) = target(pod, admin_port) {
            found.running.push(Replica { target, must_answer: ready && !leaving });
        }
        if !leaving {
            carrying += 1;
        }
        if !leaving && !ready {
            found.missing.push(Missing::Unready { pod: pod.name_any() });
        }
    }
    let (expected, bare) = demanded(pipeline);
    found.expected = expected.max(carrying);
    found.missing.extend(bare);
    let known = carrying + count_bare(&found.missing);
    if let Some(count) = found.expected.checked_sub(known).filter(|&count| count > 0) {
        found.missing.push(Missing::Absent { count });
    }
    found
}

/// How many sidecars the pipeline asks for, and the pods that it found without one.
fn demanded(pipeline: &StreamPipeline) -> (usize, Vec<Missing>) {
    match pipeline.spec.placement.kind() {
        Some(PlacementKind::Gateway(gateway)) => {
            let scaled = pipeline.status.as_ref().and_then(|status| status.autoscaling.as_ref());
            let scaled = scaled.filter(|_| gateway.autoscaling.is_some());
            let replicas = scaled.map_or(gateway.replicas, |scaled| scaled.desired);
            (usize::try_from(replicas).unwrap_or(0), Vec::new())
        }
        Some(PlacementKind::Sidecar(_)) => {
            let injection = pipeline.status.as_ref().and_then(|status| status.injection.as_ref());
            let bare = injection.map(|injection| injection.missing.clone()).unwrap_or_default();
            let bare = bare.into_iter().map(|pod| Missing::Bare { pod }).collect();
            (injection.map_or(0, |found| usize::try_from(found.selected).unwrap_or(0)), bare)
        }
        None => (0, Vec::new()),
    }
}

fn count_bare(missing: &[Missing]) -> usize {
    missing.iter().filter(|missing| matches!(missing, Missing::Bare { .. })).count()
}

fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The status of the pod's sidecar: an init container beside an application, the only container of a
/// gateway.
fn sidecar(pod: &Pod) -> Option<&ContainerStatus> {
    let status = pod.status.as_ref()?;
    let beside = status.init_container_statuses.iter().flatten();
    let alone = status.container_statuses.iter().flatten();
    beside.chain(alone).find(|status| status.name == SIDECAR_CONTAINER)
}

/// Where the pod's sidecar is sampled, if it runs.
fn target(pod: &Pod, admin_port: u16) -> Option<Target> {
    let running = sidecar(pod)?.state.as_ref()?.running.is_some();
    let ip: IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    running.then(|| Target {
        uid: pod.uid().unwrap_or_default(),
        pod: pod.name_any(),
        address: SocketAddr::new(ip, admin_port),
    })
}

#[cfg(test)]
mod tests {
    use weir_crds::v1alpha1::{InjectionStatus, StreamPipelineStatus};

    use super::super::testing::{pipeline, pod};
    use super::*;

    const SIDECAR: &str = "{sidecar: {selector: {matchLabels: {app: shop}}}}";

    fn injected(selected: i32, missing: &[&str]) -> StreamPipeline {
        let mut pipeline = pipeline(SIDECAR);
        let injection = InjectionStatus {
            selected,
            injected: selected,
            missing: missing.iter().map(|&name| name.to_owned()).collect(),
            ..InjectionStatus::default()
        };
        let status = StreamPipelineStatus { injection: Some(injection), ..Default::default() };
        pipeline.status = Some(status);
        pipeline
    }

    fn unready(name: &str) -> Pod {
        let mut pod = pod(name, "10.0.0.9");
        let status = pod.status.as_mut().unwrap();
        status.init_container_statuses.as_mut().unwrap()[0].ready = false;
        pod
    }

    #[test]
    fn a_ready_sidecar_is_sampled_at_its_pods_address() {
        let found = find(&pipeline(SIDECAR), &[pod("a", "10.0.0.1"), pod("b", "fd00::2")], 7071);
        let addresses: Vec<_> =
            found.running.iter().map(|replica| replica.target.address.to_string()).collect();
        assert_eq!(addresses, ["10.0.0.1:7071", "[fd00::2]:7071"]);
        assert!(found.running.iter().all(|replica| replica.must_answer));
        assert_eq!((found.expected, found.missing), (2, vec![]));
    }

    #[test]
    fn one_that_is_not_ready_is_missing_and_still_sampled() {
        let found = find(&pipeline(SIDECAR), &[pod("a", "10.0.0.1"), unready("b")], 7071);
        assert_eq!(found.missing, [Missing::Unready { pod: "b".to_owned() }]);
        let must_answer: Vec<_> = found.running.iter().map(|replica| replica.must_answer).collect();
        assert_eq!(must_answer, [true, false]);
    }

    #[test]
    fn one_whose_pod_is_being_deleted_is_sampled_and_not_expected() {
        let mut leaving = pod("a", "10.0.0.1");
        let now = k8s_openapi::jiff::Timestamp::now();
        leaving.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
        let found = find(&pipeline(SIDECAR), &[leaving, pod("b", "10.0.0.2")], 7071);
        assert_eq!((found.expected, found.running.len(), found.missing), (1, 2, vec![]));
        assert!(!found.running[0].must_answer);
    }

    #[test]
    fn a_finished_pod_counts_for_nothing() {
        let mut finished = pod("a", "10.0.0.1");
        finished.status.as_mut().unwrap().phase = Some("Succeeded".to_owned());
        assert_eq!(find(&pipeline(SIDECAR), &[finished], 7071), Replicas::default());
    }

    #[test]
    fn a_pod_that_slipped_through_the_injection_is_missing() {
        let found = find(&injected(3, &["c"]), &[pod("a", "10.0.0.1"), pod("b", "10.0.0.2")], 7071);
        assert_eq!(found.expected, 3);
        assert_eq!(found.missing, [Missing::Bare { pod: "c".to_owned() }]);
    }

    #[test]
    fn a_gateway_misses_the_pods_that_were_not_created() {
        let found = find(&pipeline("{gateway: {replicas: 3}}"), &[pod("a", "10.0.0.1")], 7071);
        assert_eq!((found.expected, found.missing), (3, vec![Missing::Absent { count: 2 }]));
    }
}
