//! Maps changes of other objects to the pipelines that they concern.

mod statuses;

use std::collections::BTreeSet;
use std::future;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Controller;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use weir_crds::names::{API_VERSION, MANAGED_BY, label};
use weir_crds::v1alpha1::{STREAM_PIPELINE, StreamPipeline, StreamSLO};

use self::statuses::Statuses;
use super::made::Made;
use crate::context::Context;
use crate::kept::{Kind, by_itself};
use crate::labels;
use crate::triggers::gathered;

/// What is told of a pipeline's objects and pods within so long is looked at once: its own writes, and what
/// Kubernetes makes of them. Nobody notices the delay, and a change of the pipeline itself has none.
const TOGETHER: Duration = Duration::from_millis(500);

/// Adds the watches: of what a pipeline owns, of the SLOs that refer to it, and of pods.
///
/// An HTTPRoute is not watched, as its kind may be missing: it is put right when its pipeline is looked at again.
///
/// Pods are watched by their metadata alone and all of them, because a pod that slipped through without
/// the sidecar has no label of ours. Those of gateways are kept, and lead to a reconcile once they are.
pub(super) fn add(
    context: &Context,
    kept: &Made,
    controller: Controller<StreamPipeline>,
) -> Controller<StreamPipeline> {
    let made = || watcher::Config::default().labels(&format!("{}={MANAGED_BY}", label::MANAGED_BY));
    let (store, all) = (controller.store(), controller.store());
    let pods: Api<PartialObjectMeta<Pod>> = context.watched();
    let pods = watcher(pods, watcher::Config::default()).default_backoff();
    let heard = Arc::clone(&kept.pods);
    let pods = pods.inspect_ok(move |event| heard.hear(event)).touched_objects();
    let pods = by_itself("Pod", &context.metrics, pods);
    let slos = kept.slos.watch(context, watcher::Config::default());
    let statuses = Statuses::default();
    let of_slo = move |slo: &StreamSLO| of_slo(slo).filter(|_| !statuses.is_mere_status(slo));
    let triggers = stream::select_all([
        owners(kept.config_maps.watch(context, made())),
        owners(kept.deployments.watch(context, made())),
        owners(kept.stateful_sets.watch(context, made())),
        owners(kept.budgets.watch(context, made())),
        owners(kept.services.watch(context, made())),
        slos.filter_map(move |slo| future::ready(of_slo(&slo))).boxed(),
        context.carriers.watch(context).filter_map(|pod| future::ready(of_gateway(&pod))).boxed(),
        pods.flat_map(move |pod| stream::iter(of_pod(&pod, &store))).boxed(),
    ]);
    let exposing = if context.options.exposure {
        vec![
            owners(kept.policies.watch(context, made())),
            owners(kept.ingresses.watch(context, made())),
        ]
    } else {
        Vec::new()
    };
    let triggers = stream::select(triggers, stream::select_all(exposing));
    controller.reconcile_on(gathered(triggers, TOGETHER, move || is_any_new(&all)))
}

/// Whether there is a pipeline that nobody has looked at yet: it comes before what was.
fn is_any_new(all: &Store<StreamPipeline>) -> bool {
    let is_new = |pipeline: &StreamPipeline| {
        pipeline.status.is_none() && pipeline.metadata.deletion_timestamp.is_none()
    };
    all.find(is_new).is_some()
}

type Triggers = BoxStream<'static, ObjectRef<StreamPipeline>>;

/// The pipelines that own what was touched, or are named by what has lost its owner.
fn owners<K: Kind>(touched: BoxStream<'static, Arc<K>>) -> Triggers {
    touched.filter_map(|object| future::ready(owner(object.meta()))).boxed()
}

fn owner(metadata: &ObjectMeta) -> Option<ObjectRef<StreamPipeline>> {
    let is_pipeline =
        |owner: &&OwnerReference| owner.kind == STREAM_PIPELINE && owner.api_version == API_VERSION;
    let mut owners = metadata.owner_references.iter().flatten();
    let named = || metadata.labels.as_ref()?.get(label::PIPELINE).map(String::as_str);
    let name = match owners.find(is_pipeline) {
        Some(owner) => owner.name.as_str(),
        None if metadata.owner_references.is_none() => named()?,
        None => return None,
    };
    Some(ObjectRef::new(name).within(metadata.namespace.as_deref()?))
}

/// The pipeline that an SLO refers to.
fn of_slo(slo: &StreamSLO) -> Option<ObjectRef<StreamPipeline>> {
    let namespace = slo.namespace()?;
    Some(ObjectRef::new(&slo.spec.pipeline_ref.name).within(&namespace))
}

/// The pipeline whose gateway a pod is of.
fn of_gateway(pod: &Pod) -> Option<ObjectRef<StreamPipeline>> {
    let namespace = pod.namespace()?;
    Some(ObjectRef::new(pod.labels().get(label::PIPELINE)?).within(&namespace))
}

/// The pipelines whose sidecar a pod has, or should have.
fn of_pod(
    pod: &PartialObjectMeta<Pod>,
    store: &Store<StreamPipeline>,
) -> Vec<ObjectRef<StreamPipeline>> {
    let Some(namespace) = pod.namespace() else { return Vec::new() };
    let pipelines = store.state();
    let selecting = pipelines.iter().filter(|pipeline| {
        let sidecar = pipeline.spec.placement.sidecar.as_ref();
        pipeline.metadata.namespace.as_ref() == Some(&namespace)
            && sidecar.is_some_and(|sidecar| sidecar.selector.matches(pod.labels()))
    });
    let mut names: BTreeSet<String> = selecting.map(|pipeline| pipeline.name_any()).collect();
    names.extend(labels::sidecars_of(pod.labels()).map(str::to_owned));
    names.iter().map(|name| ObjectRef::new(name).within(&namespace)).collect()
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;
    use crate::testing::{pipeline, sidecar_pipeline};

    fn pod(labels: &serde_json::Value) -> PartialObjectMeta<Pod> {
        let metadata = json!({ "name": "web-1", "namespace": "shop", "labels": labels });
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    fn names(pod: &PartialObjectMeta<Pod>) -> Vec<String> {
        let (store, mut writer) = reflector::store();
        let mut elsewhere = sidecar_pipeline("elsewhere");
        elsewhere.metadata.namespace = Some("other".to_owned());
        for pipeline in [sidecar_pipeline("orders"), pipeline("gate"), elsewhere] {
            writer.apply_watcher_event(&Event::Apply(pipeline));
        }
        of_pod(pod, &store).into_iter().map(|found| found.name).collect()
    }

    #[test]
    fn a_pod_that_slipped_through_concerns_the_pipeline_that_selects_it() {
        assert_eq!(names(&pod(&json!({ "app": "shop" }))), ["orders"]);
    }

    #[test]
    fn a_pod_concerns_the_pipelines_whose_sidecar_or_gateway_it_is() {
        let labels = json!({ "pipeline.weir.dev/old": "true", "weir.dev/pipeline": "gate" });
        assert_eq!(names(&pod(&labels)), ["old"]);
        let PartialObjectMeta { metadata, .. } = pod(&labels);
        let gateway = of_gateway(&Pod { metadata, ..Pod::default() });
        assert_eq!(gateway, Some(ObjectRef::new("gate").within("shop")));
        assert_eq!(of_gateway(&Pod::default()), None);
    }

    #[test]
    fn an_object_concerns_the_pipeline_that_owns_it() {
        let owned = |kind: &str| {
            let owners = json!([{ "apiVersion": "weir.dev/v1alpha1", "kind": kind, "name": "orders", "uid": "a" }]);
            let metadata = json!({ "name": "b", "namespace": "shop", "ownerReferences": owners });
            owner(&serde_json::from_value(metadata).unwrap())
        };
        assert_eq!(owned("StreamPipeline"), Some(ObjectRef::new("orders").within("shop")));
        assert_eq!(owned("StreamSLO"), None);
        let labels = json!({ "weir.dev/pipeline": "orders" });
        let bereft = json!({ "name": "b", "namespace": "shop", "labels": labels });
        let orders = Some(ObjectRef::new("orders").within("shop"));
        assert_eq!(owner(&serde_json::from_value(bereft).unwrap()), orders);
        assert_eq!(owner(&ObjectMeta::default()), None);
    }

    #[test]
    fn a_pod_of_nobody_concerns_no_pipeline() {
        assert!(names(&pod(&json!({ "app": "other" }))).is_empty());
    }
}
