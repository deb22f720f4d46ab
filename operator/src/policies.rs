//! Puts the pipelines' MutatingAdmissionPolicies in force, where the operator injects by them. They are in no
//! namespace, so nothing takes them along: `sweep` removes those that nobody wants.
//!
//! One that somebody else has made under such a name is never written and never deleted.

mod handover;
mod standing;
mod sweep;

use std::fmt::Debug;

use k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicy;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::ClusterResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_crds::v1alpha1::StreamPipeline;

pub use self::handover::farewell;
pub use self::standing::Standing;
pub use self::sweep::{IsRead, Sweep};
use crate::apply::{Applied, ApplyError, Change, Ownership, Undone, apply};
use crate::context::Context;
use crate::injection::policy;
use crate::mark::Mark;
use crate::sidecar::Image;

/// Why a policy could not be put in force.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// It could not be written.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Somebody else made one of that name, which is left alone.
    #[error("{kind} {name} was not made for this pipeline")]
    Taken {
        /// The kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
}

/// Puts the policy of a pipeline in force; nothing where the operator injects by a webhook, or not here. Answers what
/// others had changed of it.
///
/// # Errors
///
/// Fails where the API server refuses, is not reached, or knows no such policies, and where somebody else has one of
/// that name.
pub async fn put(context: &Context, pipeline: &StreamPipeline) -> Result<Vec<Undone>, PutError> {
    let Some(release) = &context.options.policies else { return Ok(Vec::new()) };
    let namespace = pipeline.namespace().unwrap_or_default();
    if !context.options.injects_into(&namespace) {
        return Ok(Vec::new());
    }
    let image = Image::of(&context.options);
    let (uid, standing) = (pipeline.uid().unwrap_or_default(), &context.policies);
    let Some((mut policy, mut binding)) = policy::build(release, pipeline, &image) else {
        standing.forget(&uid);
        return Ok(Vec::new());
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
        return Ok(Vec::new());
    }
    // The binding last: it puts in force what stands.
    let [known, known_bound] = standing.known(&uid);
    let (mark, mut undone) = write(context, &policy, known.as_ref()).await?;
    let (bound, undone_of_binding) = write(context, &binding, known_bound.as_ref()).await?;
    undone.extend(undone_of_binding);
    standing.note(&uid, &policy, &binding, [mark, bound]);
    Ok(undone)
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

/// Writes one, and answers its mark, and what others had changed; `known` is that of the one which was written last.
async fn write<K>(
    context: &Context,
    object: &K,
    known: Option<&Mark>,
) -> Result<(Mark, Vec<Undone>), PutError>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug,
{
    let api = Api::<K>::all(context.client.clone());
    let (kind, name) = (K::kind(&()).into_owned(), object.name_any());
    let found = match api.get_metadata_opt(&name).await {
        Ok(found) => found.map(|found| found.metadata),
        Err(source) => return Err(ApplyError::Apply { kind, name, source }.into()),
    };
    let ownership = ownership(found.as_ref(), object.meta(), known);
    if ownership == Ownership::Foreign {
        return Err(PutError::Taken { kind, name });
    }
    let applying = Box::pin(apply(&api, object.clone(), &ownership));
    let Applied { object: written, mut undone } = applying.await?;
    if known.is_some() && ownership == Ownership::Absent {
        undone.push(Change::Deletion);
    }
    let undone =
        undone.into_iter().map(|change| Undone { kind: kind.clone(), name: name.clone(), change });
    Ok((Mark::of(written.meta(), object.meta()), undone.collect()))
}

/// Whose a policy is that has the name of one that is wanted. Its labels say so, and where somebody has taken those
/// away, with what it goes, and which one was written last.
fn ownership(found: Option<&ObjectMeta>, wanted: &ObjectMeta, known: Option<&Mark>) -> Ownership {
    let Some(found) = found else { return Ownership::Absent };
    let wanted_owners = wanted.owner_references.as_deref().unwrap_or_default();
    let owners = found.owner_references.iter().flatten();
    let is_ours = policy::is_of_one(found, wanted)
        || owners.into_iter().any(|owner| wanted_owners.iter().any(|one| one.uid == owner.uid))
        || known.is_some_and(|known| known.is_of(found));
    match &found.uid {
        Some(uid) if is_ours => Ownership::Ours { uid: uid.clone() },
        Some(_) | None => Ownership::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{options, sidecar_pipeline};

    fn made(release: &str) -> ObjectMeta {
        let image = Image::of(&options());
        let (policy, _) = policy::build(release, &sidecar_pipeline("orders"), &image).unwrap();
        ObjectMeta { uid: Some("a".to_owned()), ..policy.metadata }
    }

    #[test]
    fn a_policy_of_somebody_else_is_not_taken_over() {
        let wanted = made("weir");
        let whose =
            |found: &ObjectMeta, known: Option<&Mark>| ownership(Some(found), &wanted, known);
        let ours = Ownership::Ours { uid: "a".to_owned() };
        assert_eq!(ownership(None, &wanted, None), Ownership::Absent);
        assert_eq!(whose(&wanted, None), ours);
        assert_eq!(whose(&made("weir-two"), None), Ownership::Foreign);
        let stripped = ObjectMeta { labels: None, ..wanted.clone() };
        assert_eq!(whose(&stripped, None), Ownership::Foreign);
        assert_eq!(whose(&stripped, Some(&Mark::of(&wanted, &wanted))), ours);
        let other = ObjectMeta { uid: Some("b".to_owned()), ..stripped };
        assert_eq!(whose(&other, Some(&Mark::of(&wanted, &wanted))), Ownership::Foreign);
    }

    #[test]
    fn a_policy_that_goes_with_the_operator_is_its_own() {
        let owner = OwnerReference { uid: "role".to_owned(), ..OwnerReference::default() };
        let with = |labels| ObjectMeta {
            labels,
            owner_references: Some(vec![owner.clone()]),
            ..made("weir")
        };
        let wanted = with(made("weir").labels);
        let ours = Ownership::Ours { uid: "a".to_owned() };
        assert_eq!(ownership(Some(&with(None)), &wanted, None), ours);
    }
}
