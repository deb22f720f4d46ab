//! Keeps the pods that carry the data plane, as two watches tell of them: those of gateways, and those that were
//! injected. They are watched in full anyway, as what a sidecar counted last stands in its pod's status.
//!
//! # Laws
//!
//! - What a sidecar has counted in the end is heard before its pod is forgotten.
//! - Who asks for pods that the watches have not told of completely is told so, and asks the API server.

use std::future;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use kube::ResourceExt;
use kube::runtime::watcher;
use weir_crds::names::{SIDECAR_CONTAINER, label};

use crate::context::Context;
use crate::kept::Kept;
use crate::labels;

/// The pods that carry the data plane.
#[derive(Default)]
pub struct Carriers {
    gateways: Kept<Pod>,
    injected: Kept<Pod>,
}

impl Carriers {
    /// Watches them, hears what their sidecars said in the end, and passes on the pods of gateways that were touched.
    pub fn watch(&self, context: &Context) -> BoxStream<'static, Arc<Pod>> {
        let watched = |kept: &Kept<Pod>, labels: &str, trim| {
            let farewells = Arc::clone(&context.farewells);
            let config = watcher::Config::default().labels(labels);
            let pods = kept.watch_trimmed(context, config, trim);
            pods.inspect(move |pod| farewells.hear(pod))
        };
        let injected = watched(&self.injected, &format!("{}=true", label::INJECTED), trim);
        let silent = injected.filter(|_| future::ready(false));
        stream::select(watched(&self.gateways, label::PIPELINE, |_| {}), silent).boxed()
    }

    /// The pods of the gateway of a pipeline; `None` where that isn't known.
    #[must_use]
    pub fn of_gateway(&self, namespace: &str, pipeline: &str) -> Option<Vec<Arc<Pod>>> {
        let wanted = labels::of_gateway(pipeline);
        let found = || self.gateways.find(namespace, |pod| labels::contain(pod.labels(), &wanted));
        self.gateways.is_complete().then(found)
    }

    /// The pods that were injected for a pipeline, with what is kept of them; `None` where that isn't known.
    #[must_use]
    pub fn of_sidecar(&self, namespace: &str, pipeline: &str) -> Option<Vec<Arc<Pod>>> {
        let wanted = labels::of_sidecar(pipeline);
        let found = || self.injected.find(namespace, |pod| labels::contain(pod.labels(), &wanted));
        self.injected.is_complete().then(found)
    }
}

/// Leaves of an application's pod what tells how its sidecar is: there may be many, and large ones.
fn trim(pod: &mut Pod) {
    pod.spec = None;
    (pod.metadata.annotations, pod.metadata.owner_references) = (None, None);
    let Some(status) = &mut pod.status else { return };
    let sidecars = |statuses: &mut Option<Vec<ContainerStatus>>| {
        let mut statuses = statuses.take()?;
        statuses.retain(|status| status.name == SIDECAR_CONTAINER);
        Some(statuses)
    };
    *status = PodStatus {
        phase: status.phase.take(),
        pod_ip: status.pod_ip.take(),
        init_container_statuses: sidecars(&mut status.init_container_statuses),
        container_statuses: sidecars(&mut status.container_statuses),
        ..PodStatus::default()
    };
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, labels: &Value) -> Pod {
        let metadata = json!({ "name": name, "namespace": "shop", "labels": labels });
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    fn names(pods: Option<Vec<Arc<Pod>>>) -> Option<Vec<String>> {
        pods.map(|pods| pods.iter().map(|pod| pod.name_any()).collect())
    }

    #[test]
    fn of_an_applications_pod_what_tells_of_the_sidecar_is_left() {
        let of = |name: &str| json!({ "name": name, "image": "", "imageID": "", "ready": true, "restartCount": 0 });
        let labels = json!({ "app": "shop" });
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "a", "labels": labels, "annotations": { "large": "text" } },
            "spec": { "containers": [{ "name": "app" }] },
            "status": {
                "phase": "Running", "podIP": "10.0.0.1", "hostIP": "10.0.0.9",
                "initContainerStatuses": [of("wait"), of("weir-sidecar")],
                "containerStatuses": [of("app")],
            },
        }))
        .unwrap();
        trim(&mut pod);
        let expected = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "a", "labels": labels },
            "status": {
                "phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [],
                "initContainerStatuses": [of("weir-sidecar")],
            },
        });
        assert_eq!(serde_json::to_value(&pod).unwrap(), expected);
    }

    #[test]
    fn pods_are_known_by_their_labels_once_everything_was_told() {
        let carriers = Carriers::default();
        let (mut gateways, mut injected) = (carriers.gateways.writer(), carriers.injected.writer());
        let component = "app.kubernetes.io/component";
        for event in [
            Event::Init,
            Event::InitApply(pod(
                "a",
                &json!({ "weir.dev/pipeline": "orders", component: "gateway" }),
            )),
            Event::InitApply(pod(
                "b",
                &json!({ "weir.dev/pipeline": "audit", component: "gateway" }),
            )),
            Event::InitApply(pod("c", &json!({ "weir.dev/pipeline": "orders" }))),
        ] {
            gateways.apply_watcher_event(&event);
        }
        assert_eq!(names(carriers.of_gateway("shop", "orders")), None);
        gateways.apply_watcher_event(&Event::InitDone);
        assert_eq!(names(carriers.of_gateway("shop", "orders")), Some(vec!["a".to_owned()]));
        assert_eq!(names(carriers.of_gateway("till", "orders")), Some(Vec::new()));
        assert_eq!(names(carriers.of_sidecar("shop", "orders")), None);
        let labels = json!({ "weir.dev/injected": "true", "pipeline.weir.dev/orders": "true" });
        for event in [Event::Init, Event::InitApply(pod("d", &labels)), Event::InitDone] {
            injected.apply_watcher_event(&event);
        }
        assert_eq!(names(carriers.of_sidecar("shop", "orders")), Some(vec!["d".to_owned()]));
        assert_eq!(names(carriers.of_sidecar("shop", "audit")), Some(Vec::new()));
    }
}
