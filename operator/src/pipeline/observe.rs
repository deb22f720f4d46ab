//! Reads the state of the cluster that concerns one pipeline: the only reads of a reconcile.

mod pod;
mod replica;
mod workload;
mod workloads;

use futures::TryFutureExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Resource, ResourceExt};
use weir_crds::names::config_map;
use weir_crds::v1alpha1::{PlacementKind, StreamPipeline, StreamSLO};

pub(super) use self::pod::ObservedPod;
pub(super) use self::replica::{Replica, Report};
pub(super) use self::workload::{Rollout, Workload, WorkloadKind, refusal};
pub(super) use self::workloads::Workloads;
use super::namespace;
use crate::context::Context;
use crate::labels;
use crate::selector;
use crate::sidecar::Image;

/// The state of the cluster that concerns one pipeline.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    /// The pipeline, as the API server has it now: the watch can be behind this replica's own writes.
    pub(super) pipeline: StreamPipeline,
    /// The SLOs that refer to it.
    pub(super) slos: Vec<StreamSLO>,
    /// What has the names of the objects to be made.
    pub(super) existing: Existing,
    /// The pods that are, or should be, its replicas; without those that are finished or leaving.
    pub(super) pods: Vec<ObservedPod>,
    /// The workloads whose pods are selected; none for a gateway.
    pub(super) workloads: Vec<Workload>,
    /// What each ready pod that carries the data plane answered.
    pub(super) replicas: Vec<Replica>,
}

/// What has the names of the objects to be made.
#[derive(Debug, Clone, Default)]
pub(super) struct Existing {
    /// The ConfigMap's metadata.
    pub(super) config_map: Option<ObjectMeta>,
    /// The Service's metadata.
    pub(super) service: Option<ObjectMeta>,
    /// The Deployment, whose status says why no pods come up.
    pub(super) deployment: Option<Deployment>,
}

/// Why the state could not be read.
#[derive(Debug, thiserror::Error)]
#[error("can't read {what}")]
pub struct ObserveError {
    what: &'static str,
    source: kube::Error,
}

impl ObserveError {
    /// What the API server, or the way to it, said.
    pub(super) const fn cause(&self) -> &kube::Error {
        &self.source
    }
}

/// Names what was being read when the client failed.
fn reading(what: &'static str) -> impl Fn(kube::Error) -> ObserveError {
    move |source| ObserveError { what, source }
}

/// Reads the state; `None` where the pipeline is gone, or going.
pub(super) async fn observe(
    context: &Context,
    workloads: &Workloads,
    pipeline: &StreamPipeline,
) -> Result<Option<Observed>, ObserveError> {
    let namespace = namespace(pipeline);
    let api = context.namespaced::<StreamPipeline>(&namespace);
    let found = api.get_opt(&pipeline.name_any()).await.map_err(reading("the StreamPipeline"))?;
    let Some(pipeline) = found.filter(|found| found.metadata.deletion_timestamp.is_none()) else {
        return Ok(None);
    };
    let (slos, existing, pods) = futures::try_join!(
        slos(context, &namespace, &pipeline),
        existing(context, &namespace, &pipeline),
        pods(context, &namespace, &pipeline),
    )?;
    let workloads = workloads.read(context, &namespace, &pipeline, &pods).await?;
    let replicas = replica::ask(context, &pods, &namespace, &pipeline.name_any()).await;
    Ok(Some(Observed { pipeline, slos, existing, pods, workloads, replicas }))
}

async fn slos(
    context: &Context,
    namespace: &str,
    pipeline: &StreamPipeline,
) -> Result<Vec<StreamSLO>, ObserveError> {
    let name = pipeline.name_any();
    let all = context.namespaced::<StreamSLO>(namespace).list(&ListParams::default()).await;
    let mut slos = all.map_err(reading("the StreamSLOs of the namespace"))?.items;
    slos.retain(|slo| slo.spec.pipeline_ref.name == name);
    Ok(slos)
}

async fn existing(
    context: &Context,
    namespace: &str,
    pipeline: &StreamPipeline,
) -> Result<Existing, ObserveError> {
    let name = pipeline.name_any();
    let config_map_name = config_map(&name);
    let config_maps = context.namespaced::<ConfigMap>(namespace);
    let services = context.namespaced::<Service>(namespace);
    let deployments = context.namespaced::<Deployment>(namespace);
    let (config_map, service, deployment) = futures::try_join!(
        config_maps.get_metadata_opt(&config_map_name).map_err(reading("its ConfigMap")),
        services.get_metadata_opt(&name).map_err(reading("its Service")),
        deployments.get_opt(&name).map_err(reading("its Deployment")),
    )?;
    Ok(Existing {
        config_map: config_map.map(|found| found.metadata),
        service: service.map(|found| found.metadata),
        deployment,
    })
}

/// The pods that are, or should be, replicas. For a sidecar these are the pods that are selected and
/// those that carry it already, which the selector may have ceased to match.
async fn pods(
    context: &Context,
    namespace: &str,
    pipeline: &StreamPipeline,
) -> Result<Vec<ObservedPod>, ObserveError> {
    let name = pipeline.name_any();
    let selectors = match pipeline.spec.placement.kind() {
        Some(PlacementKind::Gateway(_)) => vec![selector::of_labels(&labels::of_gateway(&name))],
        Some(PlacementKind::Sidecar(sidecar)) => vec![
            selector::render(&sidecar.selector),
            selector::of_labels(&labels::of_sidecar(&name)),
        ],
        None => Vec::new(),
    };
    let api = context.namespaced::<Pod>(namespace);
    let image = Image::of(&context.options);
    let mut pods: Vec<ObservedPod> = Vec::new();
    for selector in selectors.iter().filter(|selector| !selector.is_empty()) {
        let found = api.list(&ListParams::default().labels(selector)).await;
        let found = found.map_err(reading("the pods"))?.items;
        pods.extend(found.iter().filter_map(|pod| ObservedPod::of(pod, pipeline, &image)));
    }
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    pods.dedup_by(|a, b| a.name == b.name);
    if !context.options.injects_into(namespace) {
        for pod in pods.iter_mut().filter(|pod| !pod.member) {
            pod.obstacle = Some(format!("no pod of the namespace {namespace} is ever injected"));
        }
    }
    Ok(pods)
}

/// The kinds of the objects to be made, for messages.
pub(super) fn kind_of<K: Resource<DynamicType = ()>>() -> String {
    K::kind(&()).into_owned()
}
