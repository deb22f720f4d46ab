//! Decides whether what a pipeline asks for can be done. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use weir_crds::manifest::{Manifest, Metadata};
use weir_crds::names::{API_VERSION, Share, config_map, label};
use weir_crds::v1alpha1::{
    Exposure, Gateway, GatewayVolume, PlacementKind, STREAM_PIPELINE, STREAM_SLO, Sidecar,
    StreamPipelineSpec, StreamSLO, StreamSLOSpec, WhenDeleted,
};
use weir_crds::validate::{Violation, pipeline as violations, slo as slo_violations};

use super::given::{Note, PodInputs};
use super::namespace;
use super::observe::{Existing, Observed, kind_of};
use super::volume;
use crate::apply::Ownership;
use crate::context::Options;
use crate::labels;
use crate::routes::HTTPRoute;
use crate::sidecar::Image;
use crate::upgrade::Upgrade;

/// A pipeline that can be brought about. The only input of the builders.
#[derive(Debug, Clone)]
pub(super) struct ValidatedPipeline {
    /// Its name.
    pub(super) name: String,
    /// Its namespace.
    pub(super) namespace: String,
    /// Its identity.
    pub(super) uid: String,
    /// The reference that makes it the owner of an object.
    pub(super) owner: OwnerReference,
    /// Where the data plane runs.
    pub(super) placement: ValidPlacement,
    /// What the data plane reads.
    pub(super) manifest: Manifest<StreamPipelineSpec>,
    /// The share that its replicas were told last, also if they are told none now.
    pub(super) last_share: Option<Share>,
    /// The SLOs that the data plane counts for: the valid ones that refer to it, by name.
    pub(super) slos: Vec<Manifest<StreamSLOSpec>>,
    /// The data plane's container image.
    pub(super) image: Image,
    /// What the pods of a gateway could be brought to, and whether they are to be.
    pub(super) upgrade: Upgrade,
    /// How it is exposed; without a route where the cluster knows none.
    pub(super) exposure: Exposure,
    /// Where the operator is, which reads the pods' samples.
    pub(super) operator_namespace: String,
    /// Whose the objects of the wanted names are.
    pub(super) ownership: OwnershipOfObjects,
}

/// Where the data plane runs.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ValidPlacement {
    /// Beside the application.
    Sidecar,
    /// In a workload of its own.
    Gateway(Box<ValidGateway>),
}

/// A workload of its own.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ValidGateway {
    /// How many replicas it has.
    pub(super) replicas: i32,
    /// The volume of each replica, where it has one.
    pub(super) claim: Option<Claim>,
    /// What their pods are made of.
    pub(super) inputs: PodInputs,
    /// What they were last made of.
    pub(super) noted: Option<Note>,
}

/// The persistent volume of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// Its size, as Kubernetes writes it.
    pub(super) size: String,
    /// Its class; the cluster's default where absent.
    pub(super) class: Option<String>,
    /// What becomes of it.
    pub(super) when_deleted: WhenDeleted,
}

/// Whose the objects of the wanted names are.
#[derive(Debug, Clone)]
pub(super) struct OwnershipOfObjects {
    pub(super) config_map: Ownership,
    pub(super) service: Ownership,
    // These are absent also where no such object is wanted.
    pub(super) deployment: Ownership,
    pub(super) stateful_set: Ownership,
    pub(super) budget: Ownership,
    pub(super) network_policy: Ownership,
    pub(super) ingress: Ownership,
    pub(super) http_route: Ownership,
}

/// Why a pipeline can't be brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rejection {
    /// The manifest breaks rules.
    Invalid(Vec<Violation>),
    /// Objects of the wanted names, as `Service orders`, belong to something else.
    NameTaken(Vec<String>),
    /// The volumes are to be others than they were made as: says which, and what to do.
    VolumeFixed(String),
    /// It is to have a NetworkPolicy from its beginning, and this operator was started without.
    ExposureOff,
}

/// Decides whether the pipeline can be brought about.
pub(super) fn validate(
    observed: &Observed,
    options: &Options,
) -> Result<ValidatedPipeline, Rejection> {
    let pipeline = &observed.pipeline;
    let name = pipeline.name_any();
    let found = violations(&name, &pipeline.spec);
    let Some(kind) = pipeline.spec.placement.kind().filter(|_| found.is_empty()) else {
        return Err(Rejection::Invalid(found));
    };
    reject_openness(observed)?;
    let placement = placement(kind, observed);
    let uid = pipeline.uid().unwrap_or_default();
    let exposure = exposure(observed);
    let labels = labels::of_object(&name);
    let ownership = ownership(&observed.existing, &placement, &exposure, (&uid, &labels));
    reject_taken(&ownership, &name)?;
    if let ValidPlacement::Gateway(gateway) = &placement
        && let Some(claim) = &gateway.claim
    {
        volume::reject_change(claim, observed.existing.stateful_set.as_ref(), &name)?;
    }
    Ok(ValidatedPipeline {
        owner: pipeline.controller_owner_ref(&()).unwrap_or_default(),
        placement,
        manifest: for_replicas(observed, observed.told()),
        last_share: observed.rebalancing.map(|rebalancing| rebalancing.share),
        slos: slos(&observed.slos),
        image: Image::of(options),
        upgrade: observed.upgrade.clone(),
        exposure,
        operator_namespace: options.namespace.clone(),
        namespace: namespace(pipeline),
        ownership,
        uid,
        name,
    })
}

/// What the data plane reads, as of this generation.
pub(super) fn for_replicas(
    observed: &Observed,
    generation: Option<i64>,
) -> Manifest<StreamPipelineSpec> {
    let pipeline = &observed.pipeline;
    let share = observed.rebalancing.filter(|found| found.is_on).map(|found| found.share);
    let spec = for_the_data_plane(&pipeline.spec);
    let mut manifest = with_share(manifest(STREAM_PIPELINE, &pipeline.metadata, spec), share);
    manifest.metadata.generation = generation;
    manifest
}

fn placement(kind: PlacementKind<'_>, observed: &Observed) -> ValidPlacement {
    let gateway = match kind {
        PlacementKind::Sidecar(_) => return ValidPlacement::Sidecar,
        PlacementKind::Gateway(gateway) => gateway,
    };
    let spec = &observed.pipeline.spec;
    let Existing { deployment, stateful_set, .. } = &observed.existing;
    let size = spec.log.storage.disk.as_ref().map(|disk| disk.size.bytes());
    let claim = |GatewayVolume { storage_class_name, when_deleted }: &GatewayVolume| Claim {
        size: volume::size(size.unwrap_or_default()),
        class: storage_class_name.clone(),
        when_deleted: *when_deleted,
    };
    let given = observed.pipeline.status.as_ref();
    let given = given.map_or(&[][..], |status| &status.pod_templates);
    let workload = match &gateway.volume {
        Some(_) => metadata(stateful_set.as_ref()),
        None => metadata(deployment.as_ref()),
    };
    ValidPlacement::Gateway(Box::new(ValidGateway {
        replicas: observed.wanted_replicas().unwrap_or(gateway.replicas),
        claim: gateway.volume.as_ref().map(claim),
        inputs: PodInputs::of(spec, gateway),
        noted: Note::of(workload, given),
    }))
}

/// A pipeline that nobody may reach but whom a NetworkPolicy lets in does not begin without one. One that runs is
/// reached as before, and its other changes are not held up.
fn reject_openness(observed: &Observed) -> Result<(), Rejection> {
    let exposure = observed.pipeline.spec.exposure.as_ref();
    let is_guarded = exposure.is_some_and(|exposure| exposure.network_policy.is_some());
    let Existing { config_map, service, deployment, stateful_set, .. } = &observed.existing;
    let runs =
        config_map.is_some() || service.is_some() || deployment.is_some() || stateful_set.is_some();
    if is_guarded && !observed.exposes && !runs { Err(Rejection::ExposureOff) } else { Ok(()) }
}

/// How it is exposed. A route waits until the cluster knows routes, and what this operator was started without is left
/// out; the status says so.
fn exposure(observed: &Observed) -> Exposure {
    let asked = observed.pipeline.spec.exposure.clone().unwrap_or_default();
    let Exposure { service, http_route, ingress, network_policy } = asked;
    Exposure {
        service,
        http_route: http_route.filter(|_| observed.exposes && observed.knows_routes),
        ingress: ingress.filter(|_| observed.exposes),
        network_policy: network_policy.filter(|_| observed.exposes),
    }
}

/// The SLOs that the data plane can count for. One that is invalid is left out, so that it does not keep
/// the pipeline from running; its own status says what is wrong with it.
fn slos(observed: &[StreamSLO]) -> Vec<Manifest<StreamSLOSpec>> {
    let valid = observed.iter().filter(|slo| slo_violations(&slo.name_any(), &slo.spec).is_empty());
    let manifest = |slo: &StreamSLO| manifest(STREAM_SLO, &slo.metadata, slo.spec.clone());
    let mut slos: Vec<_> = valid.map(manifest).collect();
    slos.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    slos
}

fn manifest<S>(kind: &str, metadata: &ObjectMeta, spec: S) -> Manifest<S> {
    Manifest {
        api_version: API_VERSION.to_owned(),
        kind: kind.to_owned(),
        metadata: Metadata {
            name: metadata.name.clone().unwrap_or_default(),
            namespace: metadata.namespace.clone(),
            uid: metadata.uid.clone(),
            generation: metadata.generation,
            labels: metadata.labels.clone().unwrap_or_default(),
        },
        spec,
    }
}

/// What concerns the data plane. The rest it is not told, as one of an older version would refuse fields that it
/// has never heard of, though they are none of its business.
fn for_the_data_plane(spec: &StreamPipelineSpec) -> StreamPipelineSpec {
    let mut spec = spec.clone();
    spec.exposure = None;
    if let Some(gateway) = &mut spec.placement.gateway {
        let Gateway { replicas, autoscaling, rebalance, resources, volume, pod } = gateway;
        // How many there are is nothing to each of them: this is what is left out.
        *replicas = 1;
        (*autoscaling, *rebalance, *resources, *volume, *pod) = (None, None, None, None, None);
    }
    if let Some(Sidecar { selector: _, restart: _, resources }) = &mut spec.placement.sidecar {
        *resources = None;
    }
    spec
}

/// The manifest with the share of each replica beside it; with none where there is none, whatever a user has
/// written there.
fn with_share(
    mut manifest: Manifest<StreamPipelineSpec>,
    share: Option<Share>,
) -> Manifest<StreamPipelineSpec> {
    let labels = &mut manifest.metadata.labels;
    labels.remove(label::SHARE);
    labels.extend(share.map(|share| (label::SHARE.to_owned(), share.to_string())));
    manifest
}

fn ownership(
    existing: &Existing,
    placement: &ValidPlacement,
    exposure: &Exposure,
    (uid, labels): (&str, &BTreeMap<String, String>),
) -> OwnershipOfObjects {
    let Existing {
        config_map,
        service,
        deployment,
        stateful_set,
        budget,
        network_policy,
        ingress,
        http_route,
    } = existing;
    let Exposure { service: _, http_route: route, ingress: entry, network_policy: policy } =
        exposure;
    let (is_gateway, has_volume) = match placement {
        ValidPlacement::Sidecar => (false, false),
        ValidPlacement::Gateway(gateway) => (true, gateway.claim.is_some()),
    };
    let of = |wanted: bool, metadata: Option<&ObjectMeta>| {
        Ownership::of(metadata.filter(|_| wanted), uid, labels)
    };
    OwnershipOfObjects {
        config_map: of(true, metadata(config_map.as_ref())),
        service: of(true, metadata(service.as_ref())),
        deployment: of(is_gateway && !has_volume, metadata(deployment.as_ref())),
        stateful_set: of(has_volume, metadata(stateful_set.as_ref())),
        budget: of(is_gateway, budget.as_ref()),
        network_policy: of(policy.is_some(), network_policy.as_ref()),
        ingress: of(entry.is_some(), metadata(ingress.as_ref())),
        http_route: of(route.is_some(), metadata(http_route.as_ref())),
    }
}

fn metadata<K: Resource>(object: Option<&K>) -> Option<&ObjectMeta> {
    object.map(Resource::meta)
}

fn reject_taken(ownership: &OwnershipOfObjects, name: &str) -> Result<(), Rejection> {
    let OwnershipOfObjects {
        config_map: config,
        service,
        deployment,
        stateful_set,
        budget,
        network_policy,
        ingress,
        http_route,
    } = ownership;
    let wanted = [
        (config, kind_of::<ConfigMap>(), config_map(name)),
        (service, kind_of::<Service>(), name.to_owned()),
        (deployment, kind_of::<Deployment>(), name.to_owned()),
        (stateful_set, kind_of::<StatefulSet>(), name.to_owned()),
        (budget, kind_of::<PodDisruptionBudget>(), name.to_owned()),
        (network_policy, kind_of::<NetworkPolicy>(), name.to_owned()),
        (ingress, kind_of::<Ingress>(), name.to_owned()),
        (http_route, kind_of::<HTTPRoute>(), name.to_owned()),
    ];
    let taken = wanted.into_iter().filter(|(ownership, ..)| **ownership == Ownership::Foreign);
    let taken: Vec<String> = taken.map(|(_, kind, name)| format!("{kind} {name}")).collect();
    if taken.is_empty() { Ok(()) } else { Err(Rejection::NameTaken(taken)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::testing::observed;
    use crate::testing::{gateway, options, sidecar_pipeline};

    fn foreign() -> ObjectMeta {
        ObjectMeta { uid: Some("other".to_owned()), ..ObjectMeta::default() }
    }

    fn ours(pipeline: &str) -> ObjectMeta {
        let owner = OwnerReference {
            uid: format!("uid-of-{pipeline}"),
            controller: Some(true),
            ..OwnerReference::default()
        };
        ObjectMeta { owner_references: Some(vec![owner]), ..foreign() }
    }

    #[test]
    fn a_valid_pipeline_carries_its_identity_and_the_image() {
        let valid = validate(&observed(&gateway("orders", 4)), &options()).unwrap();
        let ValidPlacement::Gateway(placed) = valid.placement else { panic!("no gateway") };
        assert_eq!((placed.replicas, placed.claim), (4, None));
        assert_eq!((valid.name.as_str(), valid.namespace.as_str()), ("orders", "shop"));
        assert_eq!(
            (valid.uid.as_str(), valid.owner.uid.as_str()),
            ("uid-of-orders", "uid-of-orders")
        );
        assert_eq!(valid.image.reference, "registry.test/weir-sidecar:1");
        assert_eq!(placed.inputs.drain_window.millis(), 20_000);
    }

    #[test]
    fn a_spec_that_breaks_rules_is_rejected_with_all_of_them() {
        let mut pipeline = gateway("orders", 0);
        pipeline.spec.delivery.max_connections = 0;
        let Err(Rejection::Invalid(found)) = validate(&observed(&pipeline), &options()) else {
            panic!("accepted")
        };
        let fields: Vec<_> = found.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["spec.placement.gateway.replicas", "spec.delivery.maxConnections"]);
    }

    #[test]
    fn objects_of_somebody_else_are_named_and_not_taken_over() {
        let mut observed = observed(&gateway("orders", 1));
        observed.existing.config_map =
            Some(ConfigMap { metadata: foreign(), ..ConfigMap::default() });
        observed.existing.service =
            Some(Service { metadata: ours("orders"), ..Service::default() });
        observed.existing.deployment =
            Some(Deployment { metadata: ours("another"), ..Deployment::default() });
        let rejection = validate(&observed, &options()).unwrap_err();
        let taken = ["ConfigMap orders-weir", "Deployment orders"].map(str::to_owned).to_vec();
        assert_eq!(rejection, Rejection::NameTaken(taken));
    }

    #[test]
    fn only_objects_that_are_wanted_can_be_somebody_elses() {
        let mut observed = observed(&gateway("orders", 1));
        observed.existing.stateful_set =
            Some(StatefulSet { metadata: foreign(), ..StatefulSet::default() });
        observed.existing.ingress = Some(Ingress { metadata: foreign(), ..Ingress::default() });
        observed.existing.network_policy = Some(foreign());
        assert!(validate(&observed, &options()).is_ok());
        observed.existing.budget = Some(foreign());
        let exposure = serde_json::json!({ "ingress": { "host": "a.test" }, "networkPolicy": {} });
        observed.pipeline.spec.exposure = serde_json::from_value(exposure).unwrap();
        let taken = ["PodDisruptionBudget orders", "NetworkPolicy orders", "Ingress orders"];
        let taken = taken.map(str::to_owned).to_vec();
        assert_eq!(validate(&observed, &options()).unwrap_err(), Rejection::NameTaken(taken));
    }

    #[test]
    fn the_data_plane_is_not_told_what_is_none_of_its_business() {
        let mut observed = observed(&gateway("orders", 1));
        let spec = &mut observed.pipeline.spec;
        spec.exposure = Some(Exposure::default());
        spec.placement.gateway.as_mut().unwrap().pod =
            Some(weir_crds::v1alpha1::GatewayPod::default());
        let told = validate(&observed, &options()).unwrap().manifest.spec;
        assert_eq!(told, gateway("orders", 1).spec);
        let mut observed = self::observed(&sidecar_pipeline("orders"));
        let sidecar = observed.pipeline.spec.placement.sidecar.as_mut().unwrap();
        sidecar.resources = Some(weir_crds::v1alpha1::Resources::default());
        let told = validate(&observed, &options()).unwrap().manifest.spec;
        assert_eq!(told, sidecar_pipeline("orders").spec);
    }

    #[test]
    fn a_share_stands_beside_the_manifest_and_a_users_own_does_not() {
        let mut observed = observed(&gateway("orders", 1));
        let own = (label::SHARE.to_owned(), "0.9999999999".to_owned());
        observed.pipeline.metadata.labels = Some([own].into());
        let labels = validate(&observed, &options()).unwrap().manifest.metadata.labels;
        assert!(labels.is_empty(), "{labels:?}");
        let share = Share { connections: 5, until: 7 };
        observed.rebalancing =
            Some(crate::pipeline::share::Rebalancing { share, is_on: true, begins: None });
        let labels = validate(&observed, &options()).unwrap().manifest.metadata.labels;
        assert_eq!(labels[label::SHARE], "5.7");
    }

    #[test]
    fn what_this_operator_does_not_make_is_left_out_and_what_is_to_be_guarded_does_not_begin() {
        let exposure = serde_json::json!({
            "service": { "type": "NodePort" }, "ingress": { "host": "a.test" },
        });
        let mut observed = observed(&gateway("orders", 1));
        observed.pipeline.spec.exposure = serde_json::from_value(exposure).unwrap();
        observed.exposes = false;
        let left = validate(&observed, &options()).unwrap().exposure;
        assert!(left.service.is_some() && left.ingress.is_none());
        let guarded = serde_json::json!({ "networkPolicy": {} });
        observed.pipeline.spec.exposure = serde_json::from_value(guarded).unwrap();
        assert_eq!(validate(&observed, &options()).unwrap_err(), Rejection::ExposureOff);
        // One that runs stays as open, or as closed, as it was.
        observed.existing.config_map =
            Some(ConfigMap { metadata: ours("orders"), ..ConfigMap::default() });
        let left = validate(&observed, &options()).unwrap().exposure;
        assert!(left.network_policy.is_none());
    }

    #[test]
    fn a_route_waits_until_the_cluster_knows_routes() {
        let mut observed = observed(&gateway("orders", 1));
        let exposure = serde_json::json!({ "httpRoute": { "parentRefs": [{ "name": "a" }] } });
        observed.pipeline.spec.exposure = serde_json::from_value(exposure).unwrap();
        assert!(validate(&observed, &options()).unwrap().exposure.http_route.is_some());
        observed.knows_routes = false;
        assert!(validate(&observed, &options()).unwrap().exposure.http_route.is_none());
    }

    #[test]
    fn beside_an_application_a_deployment_of_the_same_name_is_most_likely_the_application() {
        let mut observed = observed(&sidecar_pipeline("orders"));
        observed.existing.deployment =
            Some(Deployment { metadata: foreign(), ..Deployment::default() });
        assert!(validate(&observed, &options()).is_ok());
    }
}
