//! Decides whether what a pipeline asks for can be done. Pure.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use weir_crds::manifest::{Manifest, Metadata};
use weir_crds::names::{API_VERSION, config_map};
use weir_crds::v1alpha1::{
    Gateway, PlacementKind, STREAM_PIPELINE, STREAM_SLO, StreamPipelineSpec, StreamSLO,
    StreamSLOSpec,
};
use weir_crds::validate::{Violation, pipeline as violations, slo as slo_violations};

use super::namespace;
use super::observe::{Existing, Observed, kind_of};
use crate::apply::Ownership;
use crate::context::Options;
use crate::sidecar::{Image, grace_seconds, keeps_data, log_bytes};

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
    /// The SLOs that the data plane counts for: the valid ones that refer to it, by name.
    pub(super) slos: Vec<Manifest<StreamSLOSpec>>,
    /// The data plane's container image.
    pub(super) image: Image,
    /// How long a pod of a gateway may take to stop, in seconds.
    pub(super) grace_seconds: i64,
    /// The most bytes of events that the log holds.
    pub(super) log_bytes: u64,
    /// Whether the log is on a disk.
    pub(super) keeps_data: bool,
    /// Whose the objects of the wanted names are.
    pub(super) ownership: OwnershipOfObjects,
}

/// Where the data plane runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ValidPlacement {
    /// Beside the application.
    Sidecar,
    /// In a Deployment with so many replicas.
    Gateway {
        /// How many.
        replicas: i32,
    },
}

/// Whose the objects of the wanted names are.
#[derive(Debug, Clone)]
pub(super) struct OwnershipOfObjects {
    pub(super) config_map: Ownership,
    pub(super) service: Ownership,
    /// Absent too where no Deployment is wanted.
    pub(super) deployment: Ownership,
}

/// Why a pipeline can't be brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rejection {
    /// The manifest breaks rules.
    Invalid(Vec<Violation>),
    /// Objects of the wanted names, as `Service orders`, belong to something else.
    NameTaken(Vec<String>),
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
    let placement = placement(kind);
    let uid = pipeline.uid().unwrap_or_default();
    let ownership = ownership(&observed.existing, &placement, &uid);
    reject_taken(&ownership, &name)?;
    Ok(ValidatedPipeline {
        owner: pipeline.controller_owner_ref(&()).unwrap_or_default(),
        placement,
        manifest: manifest(STREAM_PIPELINE, &pipeline.metadata, pipeline.spec.clone()),
        slos: slos(&observed.slos),
        image: Image::of(options),
        grace_seconds: grace_seconds([&pipeline.spec.delivery]),
        log_bytes: log_bytes([&pipeline.spec.log]),
        keeps_data: keeps_data([&pipeline.spec.log]),
        namespace: namespace(pipeline),
        ownership,
        uid,
        name,
    })
}

const fn placement(kind: PlacementKind<'_>) -> ValidPlacement {
    match kind {
        PlacementKind::Sidecar(_) => ValidPlacement::Sidecar,
        PlacementKind::Gateway(Gateway { replicas }) => {
            ValidPlacement::Gateway { replicas: *replicas }
        }
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

fn ownership(existing: &Existing, placement: &ValidPlacement, uid: &str) -> OwnershipOfObjects {
    let Existing { config_map, service, deployment } = existing;
    let deployment = match placement {
        ValidPlacement::Sidecar => None,
        ValidPlacement::Gateway { .. } => deployment.as_ref().map(|found| &found.metadata),
    };
    OwnershipOfObjects {
        config_map: Ownership::of(config_map.as_ref(), uid),
        service: Ownership::of(service.as_ref(), uid),
        deployment: Ownership::of(deployment, uid),
    }
}

fn reject_taken(ownership: &OwnershipOfObjects, name: &str) -> Result<(), Rejection> {
    let OwnershipOfObjects { config_map: config, service, deployment } = ownership;
    let wanted = [
        (config, kind_of::<ConfigMap>(), config_map(name)),
        (service, kind_of::<Service>(), name.to_owned()),
        (deployment, kind_of::<Deployment>(), name.to_owned()),
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
        assert_eq!(valid.placement, ValidPlacement::Gateway { replicas: 4 });
        assert_eq!((valid.name.as_str(), valid.namespace.as_str()), ("orders", "shop"));
        assert_eq!(
            (valid.uid.as_str(), valid.owner.uid.as_str()),
            ("uid-of-orders", "uid-of-orders")
        );
        assert_eq!(valid.image.reference, "registry.test/weir-sidecar:1");
        assert_eq!(valid.grace_seconds, 30);
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
        observed.existing.config_map = Some(foreign());
        observed.existing.service = Some(ours("orders"));
        observed.existing.deployment =
            Some(Deployment { metadata: ours("another"), ..Deployment::default() });
        let rejection = validate(&observed, &options()).unwrap_err();
        let taken = ["ConfigMap orders-weir", "Deployment orders"].map(str::to_owned).to_vec();
        assert_eq!(rejection, Rejection::NameTaken(taken));
    }

    #[test]
    fn beside_an_application_a_deployment_of_the_same_name_is_most_likely_the_application() {
        let mut observed = observed(&sidecar_pipeline("orders"));
        observed.existing.deployment =
            Some(Deployment { metadata: foreign(), ..Deployment::default() });
        assert!(validate(&observed, &options()).is_ok());
    }
}
