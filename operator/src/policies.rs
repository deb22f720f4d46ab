//! Puts the pipelines' MutatingAdmissionPolicies in force, where the operator injects by them. They are in no
//! namespace, so nothing takes them along: `sweep` removes those that nobody wants.

mod standing;
mod sweep;

use std::fmt::Debug;

use k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicy;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Patch, PatchParams};
use kube::core::ClusterResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_crds::names::FIELD_MANAGER;
use weir_crds::v1alpha1::StreamPipeline;

pub use self::standing::Standing;
pub use self::sweep::{IsRead, Sweep};
use crate::apply::ApplyError;
use crate::context::Context;
use crate::injection::policy;
use crate::mark::Mark;
use crate::sidecar::Image;

/// Puts the policy of a pipeline in force; nothing where the operator injects by a webhook, or not here.
///
/// # Errors
///
/// Fails where the API server refuses, is not reached, or knows no such policies.
pub async fn put(context: &Context, pipeline: &StreamPipeline) -> Result<(), ApplyError> {
    let Some(release) = &context.options.policies else { return Ok(()) };
    let namespace = pipeline.namespace().unwrap_or_default();
    if !context.options.injects_into(&namespace) {
        return Ok(());
    }
    let image = Image::of(&context.options);
    let (uid, standing) = (pipeline.uid().unwrap_or_default(), &context.policies);
    let Some((mut policy, mut binding)) = policy::build(release, pipeline, &image) else {
        standing.forget(&uid);
        return Ok(());
    };
    let owners = owner(context).await?.map(|owner| vec![owner.clone()]);
    policy.metadata.owner_references.clone_from(&owners);
    binding.metadata.owner_references = owners;
    let stand = standing.are(&context.client, &uid, &policy, &binding).await;
    let stand = stand.map_err(|source| ApplyError::Apply {
        kind: MutatingAdmissionPolicy::kind(&()).into_owned(),
        name: policy.name_any(),
        source,
    });
    if stand? {
        return Ok(());
    }
    // The binding last: it puts in force what stands.
    let mark = write(context, &policy).await?;
    let bound = write(context, &binding).await?;
    standing.note(&uid, &policy, &binding, [mark, bound]);
    Ok(())
}

/// What the policies go with when the operator is removed. It stands for as long as the operator does.
async fn owner(context: &Context) -> Result<Option<&OwnerReference>, ApplyError> {
    let Some(name) = &context.options.policies_owner else { return Ok(None) };
    let read = async || {
        let role = Api::<ClusterRole>::all(context.client.clone()).get_metadata(name).await;
        let role = role.map_err(|source| ApplyError::Apply {
            kind: "the policies, because of their owner, ClusterRole".to_owned(),
            name: name.clone(),
            source,
        })?;
        Ok(OwnerReference {
            api_version: ClusterRole::api_version(&()).into_owned(),
            kind: ClusterRole::kind(&()).into_owned(),
            name: name.clone(),
            uid: role.uid().unwrap_or_default(),
            ..OwnerReference::default()
        })
    };
    context.policies_owner.get_or_try_init(read).await.map(Some)
}

/// Writes one, and answers its mark.
async fn write<K>(context: &Context, object: &K) -> Result<Mark, ApplyError>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug,
{
    let name = object.name_any();
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let written = Api::<K>::all(context.client.clone());
    let written = written.patch(&name, &params, &Patch::Apply(object)).await;
    let kind = || K::kind(&()).into_owned();
    let written = written.map_err(|source| ApplyError::Apply { kind: kind(), name, source })?;
    Ok(Mark::of(written.meta(), object.meta()))
}
