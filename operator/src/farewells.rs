//! Keeps the final counters of sidecars that have ended.
//!
//! A sidecar writes them into its container's termination message, which the kubelet puts into the pod's
//! status, and the pod may be gone a moment later. So `carriers` watches pods for them, and what they said is
//! kept until every SLO has been evaluated once more. To count one twice does no harm: an evaluator
//! counts only what an instance's counters grew by.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use kube::ResourceExt;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use weir_crds::names::SIDECAR_CONTAINER;
use weir_slo::Samples;

/// Twice the longest interval of an SLO.
const KEPT: Duration = Duration::from_secs(600);

/// The most that are kept: a rollout of a thousand pods within the time above.
const MOST: usize = 1_024;

/// The final counters of sidecars that ended a short while ago, by their instance.
#[derive(Debug, Default)]
pub struct Farewells {
    kept: Mutex<HashMap<String, Farewell>>,
    /// How many could not be kept.
    missed: Counter,
}

#[derive(Debug)]
struct Farewell {
    namespace: String,
    heard: Instant,
    samples: Arc<Samples>,
}

impl Farewells {
    /// Registers the metric of those that could not be kept.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "farewells_missed",
            "Sidecars whose last counts could not be kept, as too many ended within ten minutes: what they delivered in \
             the end is counted by no SLO",
            self.missed.clone(),
        );
    }

    /// Keeps what the pod's sidecars said when they ended.
    pub fn hear(&self, pod: &Pod) {
        let namespace = pod.namespace().unwrap_or_default();
        let heard = Instant::now();
        for samples in last_words(pod) {
            let farewell =
                Farewell { namespace: namespace.clone(), heard, samples: Arc::new(samples) };
            self.keep(farewell);
        }
    }

    fn keep(&self, farewell: Farewell) {
        let mut kept = self.kept.lock();
        kept.retain(|_, known| farewell.heard.duration_since(known.heard) < KEPT);
        let id = farewell.samples.instance.id.clone();
        // A pod's status comes again with every change of it.
        if kept.contains_key(&id) {
            return;
        }
        if kept.len() < MOST {
            kept.insert(id, farewell);
            return;
        }
        drop(kept);
        let missed = self.missed.inc().saturating_add(1);
        // Each would be a line in a storm of them.
        if missed.is_power_of_two() {
            tracing::warn!(
                namespace = farewell.namespace,
                missed,
                "sidecars ended faster than their last counts can be taken: these deliveries are counted by no SLO"
            );
        }
    }

    /// What was said in a namespace, the earliest first.
    #[must_use]
    pub fn of(&self, namespace: &str) -> Vec<Arc<Samples>> {
        let kept = self.kept.lock();
        let mut found: Vec<_> =
            kept.values().filter(|farewell| farewell.namespace == namespace).collect();
        found.sort_by_key(|farewell| farewell.heard);
        found.into_iter().map(|farewell| Arc::clone(&farewell.samples)).collect()
    }
}

/// The final counters of the pod's sidecars that have ended: also of the one before a restart.
fn last_words(pod: &Pod) -> impl Iterator<Item = Samples> {
    let statuses = pod.status.iter().flat_map(|status| {
        [&status.init_container_statuses, &status.container_statuses]
            .into_iter()
            .flatten()
            .flatten()
    });
    let sidecars = statuses.filter(|status| status.name == SIDECAR_CONTAINER);
    sidecars.flat_map(states).filter_map(said).filter(Samples::is_understood)
}

fn states(status: &ContainerStatus) -> impl Iterator<Item = &ContainerState> {
    [&status.last_state, &status.state].into_iter().flatten()
}

fn said(state: &ContainerState) -> Option<Samples> {
    serde_json::from_str(state.terminated.as_ref()?.message.as_deref()?).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    fn words(instance: &str) -> String {
        json!({
            "apiVersion": "weir.dev/samples/v1",
            "instance": { "id": instance, "startedAt": 1, "version": "0.1.0" },
            "now": 2,
        })
        .to_string()
    }

    fn ended(message: &str) -> serde_json::Value {
        json!({ "terminated": { "exitCode": 0, "message": message } })
    }

    fn pod(container: &str, state: &serde_json::Value, last: &serde_json::Value) -> Pod {
        let status = json!({
            "name": container, "image": "", "imageID": "", "ready": false, "restartCount": 1,
            "state": state, "lastState": last,
        });
        serde_json::from_value(json!({
            "metadata": { "name": "web-1", "namespace": "shop" },
            "status": { "initContainerStatuses": [status] },
        }))
        .unwrap()
    }

    /// A pod of which the sidecar has ended with this message.
    pub(crate) fn ended_pod(namespace: &str, message: &str) -> Pod {
        let mut pod = pod("weir-sidecar", &ended(message), &json!({}));
        pod.metadata.namespace = Some(namespace.to_owned());
        pod
    }

    fn heard(farewells: &Farewells) -> Vec<String> {
        farewells.of("shop").iter().map(|samples| samples.instance.id.clone()).collect()
    }

    #[test]
    fn a_sidecar_is_heard_when_it_ends_and_when_it_was_restarted() {
        let farewells = Farewells::default();
        farewells.hear(&pod("weir-sidecar", &json!({ "running": {} }), &ended(&words("first"))));
        farewells.hear(&pod("weir-sidecar", &ended(&words("second")), &ended(&words("first"))));
        assert_eq!(heard(&farewells), ["first", "second"]);
        assert!(farewells.of("elsewhere").is_empty());
    }

    #[test]
    fn other_containers_and_other_messages_are_not_taken_for_counters() {
        let farewells = Farewells::default();
        farewells.hear(&pod("app", &ended(&words("a")), &json!({})));
        farewells.hear(&pod("weir-sidecar", &ended("Out of memory"), &json!({})));
        let newer = words("a").replace("samples/v1", "samples/v9");
        farewells.hear(&pod("weir-sidecar", &ended(&newer), &json!({})));
        assert!(heard(&farewells).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_can_be_kept_are_counted_and_room_is_made_by_time() {
        let farewells = Farewells::default();
        let end = |n: usize| {
            farewells.hear(&pod("weir-sidecar", &ended(&words(&n.to_string())), &json!({})));
        };
        (0..MOST + 3).for_each(end);
        // A pod's status comes again with every change of it.
        end(0);
        assert_eq!(heard(&farewells).len(), MOST);
        assert_eq!(farewells.missed.get(), 3);
        tokio::time::advance(KEPT).await;
        end(MOST);
        assert_eq!(heard(&farewells), [MOST.to_string()]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_every_slo_has_heard_is_forgotten() {
        let farewells = Farewells::default();
        farewells.hear(&pod("weir-sidecar", &ended(&words("old")), &json!({})));
        tokio::time::advance(KEPT).await;
        farewells.hear(&pod("weir-sidecar", &ended(&words("new")), &json!({})));
        assert_eq!(heard(&farewells), ["new"]);
    }
}
