//! Reads the state of the cluster that concerns one pipeline: the only reads of a reconcile.

mod exempt;
mod pod;
mod replica;
mod workload;
mod workloads;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::runtime::reflector::Store;
use kube::{Resource, ResourceExt};
use weir_crds::names::config_map;
use weir_crds::v1alpha1::{PlacementKind, StreamPipeline, StreamSLO};

pub(super) use self::pod::{ObservedPod, Obstacle};
use self::replica::Answers;
pub(super) use self::replica::{Replica, Report};
pub(super) use self::workload::{Rollout, Workload, WorkloadKind, refusal};
pub(super) use self::workloads::Workloads;
use super::contested::Contest;
use super::heard::Heard;
use super::made::Made;
use super::namespace;
use super::share::Rebalancing;
use crate::apply::{is_controlled, looks_bereft};
use crate::context::Context;
use crate::failure::chain;
use crate::kept::{Kept, Kind};
use crate::labels;
use crate::routes::HTTPRoute;
use crate::scaling::Decision;
use crate::selector;
use crate::sidecar::Image;
use crate::upgrade::Upgrade;

/// The state of the cluster that concerns one pipeline.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    /// The pipeline, with this replica's own writes.
    pub(super) pipeline: StreamPipeline,
    /// The other pipelines of its namespace that may share sidecars with it.
    pub(super) others: Vec<Arc<StreamPipeline>>,
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
    /// What each pod of a gateway answered that is up, and not ready.
    pub(super) unready: Vec<Replica>,
    /// Whether the cluster knows HTTPRoute; as far as it matters to the pipeline.
    pub(super) knows_routes: bool,
    /// What keeps this operator from injecting any pod that is made from now on.
    pub(super) no_injection: Option<Obstacle>,
    /// Whether this operator makes Ingresses, HTTPRoutes and NetworkPolicies.
    pub(super) exposes: bool,
    /// What autoscaling makes of all that; `None` where the number of replicas is given.
    pub(super) scaling: Option<Decision>,
    /// What replicas with more than their share are to come down to.
    pub(super) rebalancing: Option<Rebalancing>,
    /// What others have lately changed of what is kept for it, and what was put right.
    pub(super) contested: Vec<Contest>,
    /// The generation that the replicas are told, where that is an older one: nothing since concerns them.
    pub(super) told: Option<i64>,
    /// The operator's release, and whether the pipeline's data plane is to be brought to it.
    pub(super) upgrade: Upgrade,
}

impl Observed {
    /// The generation that replicas run which are up to date.
    pub(super) fn told(&self) -> Option<i64> {
        self.told.or(self.pipeline.metadata.generation)
    }

    /// Whether no pod is there that a sidecar's selector matches: one that is refused is nowhere to be seen.
    pub(super) fn waits_for_pods(&self) -> bool {
        let is_sidecar = self.pipeline.spec.placement.sidecar.is_some();
        is_sidecar && !self.pods.iter().any(|pod| pod.selected)
    }

    /// How many replicas a gateway is to have; `None` beside an application.
    pub(super) fn wanted_replicas(&self) -> Option<i32> {
        let gateway = self.pipeline.spec.placement.gateway.as_ref()?;
        Some(self.scaling.as_ref().map_or(gateway.replicas, |decision| decision.desired))
    }
}

/// What has the names of the objects to be made.
#[derive(Debug, Clone, Default)]
pub(super) struct Existing {
    /// The ConfigMap, which says what replicas were given.
    pub(super) config_map: Option<ConfigMap>,
    /// The Service, whose status says where its load balancer is.
    pub(super) service: Option<Service>,
    /// The Deployment, whose status says why no pods come up.
    pub(super) deployment: Option<Deployment>,
    /// The StatefulSet, whose claims can't be changed.
    pub(super) stateful_set: Option<StatefulSet>,
    /// The PodDisruptionBudget's metadata.
    pub(super) budget: Option<ObjectMeta>,
    /// The NetworkPolicy's metadata.
    pub(super) network_policy: Option<ObjectMeta>,
    /// The Ingress, whose status says whether anybody has taken it.
    pub(super) ingress: Option<Ingress>,
    /// The HTTPRoute, whose status says which Gateways have accepted it.
    pub(super) http_route: Option<HTTPRoute>,
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
    made: &Made,
    workloads: &Workloads,
    pipeline: &StreamPipeline,
    known: Option<&Store<StreamPipeline>>,
) -> Result<Option<Observed>, ObserveError> {
    let namespace = namespace(pipeline);
    let found = if context.written.is_behind(&pipeline.metadata) {
        let api = context.namespaced::<StreamPipeline>(&namespace);
        api.get_opt(&pipeline.name_any()).await.map_err(reading("the StreamPipeline"))?
    } else {
        Some(pipeline.clone())
    };
    let Some(pipeline) = found.filter(|found| found.metadata.deletion_timestamp.is_none()) else {
        return Ok(None);
    };
    let name = pipeline.name_any();
    let others = others(known, &pipeline);
    let (slos, mut existing, (knows_routes, http_route), pods) = futures::try_join!(
        slos(context, made, &namespace, &pipeline),
        existing(context, made, &namespace, &pipeline),
        route(context, &namespace, &pipeline),
        pods(context, &made.pods, &namespace, &pipeline, &others),
    )?;
    let upgrade = Upgrade::of(&pipeline, &context.options);
    let workloads = workloads.read(context, &namespace, &pipeline, &pods, &upgrade).await?;
    existing.http_route = http_route;
    let objectives = objectives(made, &namespace);
    let Answers { ready: replicas, unready } =
        replica::ask(context, &pods, &namespace, &name, objectives).await;
    Ok(Some(Observed {
        pipeline,
        others,
        slos,
        existing,
        pods,
        workloads,
        replicas,
        unready,
        knows_routes,
        no_injection: exempt::by_options(&context.options, &namespace),
        exposes: context.options.exposure,
        scaling: None,
        rebalancing: None,
        contested: Vec::new(),
        told: None,
        upgrade,
    }))
}

/// The other pipelines whose sidecars a pod may have that this one selects; none for a gateway.
fn others(
    known: Option<&Store<StreamPipeline>>,
    pipeline: &StreamPipeline,
) -> Vec<Arc<StreamPipeline>> {
    let is_sidecar = |found: &StreamPipeline| found.spec.placement.sidecar.is_some();
    let Some(known) = known.filter(|_| is_sidecar(pipeline)) else { return Vec::new() };
    let mut others = known.state();
    others.retain(|other| {
        let (own, found) = (&pipeline.metadata, &other.metadata);
        is_sidecar(other)
            && found.namespace == own.namespace
            && found.name != own.name
            && found.deletion_timestamp.is_none()
    });
    others
}

/// Whether the cluster knows HTTPRoute, and the pipeline's own. What goes wrong with that is no trouble of pipelines
/// that want none.
async fn route(
    context: &Context,
    namespace: &str,
    pipeline: &StreamPipeline,
) -> Result<(bool, Option<HTTPRoute>), ObserveError> {
    if !context.options.exposure {
        return Ok((false, None));
    }
    let name = &pipeline.name_any();
    let exposure = pipeline.spec.exposure.as_ref();
    if exposure.is_none_or(|exposure| exposure.http_route.is_none()) {
        // One that was asked for once is to be removed.
        if !context.routes.may_be(context, namespace, name).await {
            return Ok((false, None));
        }
        let left = context.namespaced::<HTTPRoute>(namespace).get_opt(name).await;
        let left = left.inspect_err(|error| {
            tracing::debug!(error = chain(error), "whether there is a route left is not known");
        });
        return Ok((true, left.unwrap_or_default()));
    }
    let known = context.routes.are_known(&context.client).await;
    if !known.map_err(reading("which kinds the Gateway API has"))? {
        return Ok((false, None));
    }
    match context.namespaced::<HTTPRoute>(namespace).get(name).await {
        Ok(route) => Ok((true, Some(route))),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok((true, None)),
        // Not the object is missing, but the kind: its definition was removed.
        Err(kube::Error::Api(status)) if status.code == 404 => {
            context.routes.forget().await;
            Ok((false, None))
        }
        Err(source) => Err(ObserveError { what: "its HTTPRoute", source }),
    }
}

/// The SLOs that refer to the pipeline.
async fn slos(
    context: &Context,
    made: &Made,
    namespace: &str,
    pipeline: &StreamPipeline,
) -> Result<Vec<StreamSLO>, ObserveError> {
    let name = pipeline.name_any();
    let refers = |slo: &StreamSLO| slo.spec.pipeline_ref.name == name;
    let mut slos: Vec<StreamSLO> = if made.slos.is_complete() {
        let found = made.slos.find(namespace, refers);
        found.into_iter().map(Arc::unwrap_or_clone).collect()
    } else {
        let all = context.namespaced::<StreamSLO>(namespace).list(&ListParams::default()).await;
        let all = all.map_err(reading("the StreamSLOs of the namespace"))?.items;
        all.into_iter().filter(refers).collect()
    };
    slos.sort_by_key(ResourceExt::name_any);
    Ok(slos)
}

/// How many objectives a replica counts at most, for whichever pipelines.
fn objectives(made: &Made, namespace: &str) -> usize {
    if !made.slos.is_complete() {
        return usize::MAX;
    }
    let slos = made.slos.find(namespace, |_| true);
    slos.iter().map(|slo| slo.spec.objectives.len()).sum()
}

/// What has the names of the objects to be made: what the watches have told of, where it is the pipeline's.
/// What isn't may be somebody else's, and is asked for.
async fn existing(
    context: &Context,
    made: &Made,
    namespace: &str,
    pipeline: &StreamPipeline,
) -> Result<Existing, ObserveError> {
    let name = &pipeline.name_any();
    let config_map_name = &config_map(name);
    let uid = pipeline.uid().unwrap_or_default();
    let reader = Reader { context, namespace, uid, labels: labels::of_object(name) };
    let gateway = pipeline.spec.placement.gateway.as_ref();
    let exposure = pipeline.spec.exposure.as_ref();
    let stateful = gateway.is_some_and(|gateway| gateway.volume.is_some());
    let (config_map, service, deployment, stateful_set, budget, policy, ingress) = futures::try_join!(
        reader.read(&made.config_maps, config_map_name, true, "its ConfigMap"),
        reader.read(&made.services, name, true, "its Service"),
        reader.read(&made.deployments, name, gateway.is_some() && !stateful, "its Deployment"),
        reader.read(&made.stateful_sets, name, stateful, "its StatefulSet"),
        reader.read(&made.budgets, name, gateway.is_some(), "its PodDisruptionBudget"),
        reader.read_exposing(
            &made.policies,
            name,
            exposure.is_some_and(|e| e.network_policy.is_some()),
            "its NetworkPolicy"
        ),
        reader.read_exposing(
            &made.ingresses,
            name,
            exposure.is_some_and(|e| e.ingress.is_some()),
            "its Ingress"
        ),
    )?;
    Ok(Existing {
        config_map,
        service,
        deployment,
        stateful_set,
        budget: budget.map(|found| found.metadata),
        network_policy: policy.map(|found| found.metadata),
        ingress,
        http_route: None,
    })
}

/// Reads objects of one pipeline.
struct Reader<'a> {
    context: &'a Context,
    namespace: &'a str,
    /// The pipeline's.
    uid: String,
    /// Of what is made for it.
    labels: BTreeMap<String, String>,
}

impl Reader<'_> {
    /// Reads what the operator may have been started without.
    async fn read_exposing<K: Kind>(
        &self,
        kept: &Kept<K>,
        name: &str,
        wanted: bool,
        what: &'static str,
    ) -> Result<Option<K>, ObserveError> {
        if !self.context.options.exposure {
            return Ok(None);
        }
        self.read(kept, name, wanted, what).await
    }

    async fn read<K: Kind>(
        &self,
        kept: &Kept<K>,
        name: &str,
        wanted: bool,
        what: &'static str,
    ) -> Result<Option<K>, ObserveError> {
        let Self { context, namespace, uid, labels } = self;
        let known = kept.get(namespace, name);
        // Whether it was made for the pipeline no watch tells.
        let may_be_its = |found: &Arc<K>| looks_bereft(found.meta(), labels);
        match known {
            Some(found) if is_controlled(found.meta(), uid) => {
                Ok(Some(Arc::unwrap_or_clone(found)))
            }
            // Nobody will be in its way, and there is none to be removed.
            known if !wanted && kept.is_complete() && !known.as_ref().is_some_and(may_be_its) => {
                Ok(None)
            }
            Some(_) | None => {
                context.namespaced::<K>(namespace).get_opt(name).await.map_err(reading(what))
            }
        }
    }
}

/// The pods that are, or should be, replicas. For a sidecar these are the pods that are selected and
/// those that carry it already, which the selector may have ceased to match.
async fn pods(
    context: &Context,
    heard: &Heard,
    namespace: &str,
    pipeline: &StreamPipeline,
    others: &[Arc<StreamPipeline>],
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
    let (image, now) = (Image::of(&context.options), Timestamp::now());
    let of = |pod: &Pod| ObservedPod::of(pod, pipeline, others, &image, now);
    let mut pods: Vec<ObservedPod> = Vec::new();
    if pipeline.spec.placement.gateway.is_some()
        && let Some(found) = context.carriers.of_gateway(namespace, &name)
    {
        pods.extend(found.iter().filter_map(|pod| of(pod)));
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        return Ok(pods);
    }
    for selector in selectors.iter().filter(|selector| !selector.is_empty()) {
        let found = api.list(&heard.at_least().labels(selector)).await;
        let found = found.map_err(reading("the pods"))?.items;
        pods.extend(found.iter().filter_map(of));
    }
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    pods.dedup_by(|a, b| a.name == b.name);
    if pods.iter().any(|pod| !pod.member)
        && let Some(obstacle) = exempt::find(context, namespace).await?
    {
        for pod in pods.iter_mut().filter(|pod| !pod.member) {
            pod.obstacle = Some(obstacle.clone());
        }
    }
    Ok(pods)
}

/// The kinds of the objects to be made, for messages.
pub(super) fn kind_of<K: Resource<DynamicType = ()>>() -> String {
    K::kind(&()).into_owned()
}
