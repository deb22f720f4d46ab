//! Puts the pipelines' MutatingAdmissionPolicies in force, where the operator injects by them, and removes
//! those whose pipeline is gone: they are in no namespace, so nothing takes them along.

mod standing;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding,
};
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::ClusterResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use weir_crds::names::FIELD_MANAGER;
use weir_crds::v1alpha1::StreamPipeline;
use weir_crds::validate;

pub use self::standing::Standing;
use crate::apply::ApplyError;
use crate::context::Context;
use crate::failure::chain;
use crate::injection::policy;
use crate::mark::Mark;
use crate::sidecar::Image;

/// What a policy adds is harmless without its pipeline, so it may stay for so long.
const INTERVAL: Duration = Duration::from_secs(15);

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

/// Removes, time and again, the policies whose pipeline is gone or asks for none, until `stop` is cancelled.
pub async fn sweep(context: std::sync::Arc<Context>, release: String, stop: CancellationToken) {
    let sweep = async {
        loop {
            if let Err(error) = sweep_once(&context, &release).await {
                tracing::warn!(error = chain(&error), "policies of gone pipelines not removed");
            }
            sleep(INTERVAL).await;
        }
    };
    stop.run_until_cancelled(sweep).await;
}

async fn sweep_once(context: &Context, release: &str) -> Result<(), kube::Error> {
    // The policies first: a pipeline that comes in between is among those that are listed then.
    let policies = Api::<MutatingAdmissionPolicy>::all(context.client.clone());
    let bindings = Api::<MutatingAdmissionPolicyBinding>::all(context.client.clone());
    let params = ListParams::default().labels(&policy::of_release(release));
    let mut found = Vec::new();
    let both =
        futures::try_join!(policies.list_metadata(&params), bindings.list_metadata(&params))?;
    found.extend(both.0.items.into_iter().map(|item| item.metadata));
    found.extend(both.1.items.into_iter().map(|item| item.metadata));
    if found.is_empty() {
        return Ok(());
    }
    let all = context.watched::<StreamPipeline>().list(&ListParams::default()).await?;
    let wanted = all.items.iter().filter(|pipeline| is_injected(pipeline));
    let wanted =
        wanted.map(|pipeline| (pipeline.namespace().unwrap_or_default(), pipeline.name_any()));
    let wanted: BTreeSet<(String, String)> =
        wanted.filter(|(namespace, _)| context.options.injects_into(namespace)).collect();
    for metadata in found {
        let Some((namespace, pipeline)) = policy::pipeline_of(&metadata) else { continue };
        // What another operator watches is not known here.
        let ours = context.options.watch_namespace.as_deref().is_none_or(|own| own == namespace);
        if ours && !wanted.contains(&(namespace.to_owned(), pipeline.to_owned())) {
            let name = metadata.name.clone().unwrap_or_default();
            remove(&bindings, &name).await?;
            remove(&policies, &name).await?;
            tracing::info!(name, "removed the policy of a pipeline that is gone");
        }
    }
    Ok(())
}

/// Whether pods get a sidecar for a pipeline, as the webhook sees it.
fn is_injected(pipeline: &StreamPipeline) -> bool {
    pipeline.metadata.deletion_timestamp.is_none()
        && pipeline.spec.placement.sidecar.is_some()
        && validate::pipeline(&pipeline.name_any(), &pipeline.spec).is_empty()
}

async fn remove<K>(api: &Api<K>, name: &str) -> Result<(), kube::Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    match api.delete(name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        result => result.map(|_| ()),
    }
}
