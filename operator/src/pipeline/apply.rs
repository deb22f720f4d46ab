//! Writes the objects of a pipeline, and announces a changed configuration to the pods.

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use weir_crds::names::FIELD_MANAGER;

use super::build::Objects;
use super::observe::ObservedPod;
use super::validate::{OwnershipOfObjects, ValidatedPipeline};
use crate::apply::{ApplyError, apply as apply_object, prune};
use crate::context::Context;
use crate::labels;

/// How many pods of one pipeline are told of a new configuration at the same time.
const CONCURRENT_ANNOUNCEMENTS: usize = 8;

/// Writes everything that the pipeline asks for, and removes what it no longer asks for.
pub(super) async fn apply(
    context: &Context,
    pipeline: &ValidatedPipeline,
    objects: Objects,
    pods: &[ObservedPod],
) -> Result<(), ApplyError> {
    let Objects { config_map, service, deployment, config_hash } = objects;
    let OwnershipOfObjects { config_map: config_owner, service: service_owner, deployment: owner } =
        &pipeline.ownership;
    let config_maps = context.namespaced::<ConfigMap>(&pipeline.namespace);
    let services = context.namespaced::<Service>(&pipeline.namespace);
    let deployments = context.namespaced::<Deployment>(&pipeline.namespace);
    let selector = labels::object_selector(&pipeline.name);
    let names = [config_map.name_any(), service.name_any()];
    let [config_map_name, service_name] = names.each_ref().map(String::as_str);
    let deployment_name = deployment.as_ref().map(ResourceExt::name_any);
    // The ConfigMap first: a pod that mounts it can't start without.
    apply_object(&config_maps, config_map, config_owner).await?;
    apply_object(&services, service, service_owner).await?;
    if let Some(deployment) = deployment {
        apply_object(&deployments, deployment, owner).await?;
    }
    // Removal last: what takes its place stands by then.
    let kept: Vec<&str> = deployment_name.as_deref().into_iter().collect();
    let mut pruned = prune(&deployments, &selector, &pipeline.uid, &kept).await?;
    pruned.extend(prune(&services, &selector, &pipeline.uid, &[service_name]).await?);
    pruned.extend(prune(&config_maps, &selector, &pipeline.uid, &[config_map_name]).await?);
    if !pruned.is_empty() {
        tracing::info!(objects = ?pruned, "removed what is no longer asked for");
    }
    announce(context, pipeline, &config_hash, pods).await
}

/// Notes the hash of the configuration on the pods that mount it, where it differs: the kubelet
/// refreshes the volumes of a changed pod at once.
async fn announce(
    context: &Context,
    pipeline: &ValidatedPipeline,
    hash: &str,
    pods: &[ObservedPod],
) -> Result<(), ApplyError> {
    let api = context.namespaced::<Pod>(&pipeline.namespace);
    let annotation = labels::config_hash(&pipeline.name);
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { annotation: hash } } }));
    let params =
        PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let unaware = unaware(pods, hash).map(|pod| pod.name.clone()).collect::<Vec<_>>();
    let tell = |name: String| {
        let (api, patch, params) = (&api, &patch, &params);
        async move {
            match api.patch_metadata(&name, params, patch).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
                Err(source) => Err(ApplyError::Apply { kind: "Pod".to_owned(), name, source }),
                Ok(_) => Ok(()),
            }
        }
    };
    let told = stream::iter(unaware).map(tell).buffer_unordered(CONCURRENT_ANNOUNCEMENTS);
    told.try_collect().await
}

/// The pods that mount the configuration and were not told of this one.
fn unaware<'a>(pods: &'a [ObservedPod], hash: &str) -> impl Iterator<Item = &'a ObservedPod> {
    pods.iter().filter(move |pod| pod.member && pod.config_hash.as_deref() != Some(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, member: bool, config_hash: Option<&str>) -> ObservedPod {
        ObservedPod {
            name: name.to_owned(),
            member,
            config_hash: config_hash.map(str::to_owned),
            ..ObservedPod::default()
        }
    }

    #[test]
    fn only_members_with_another_hash_are_told() {
        let pods = [
            pod("new", true, None),
            pod("old", true, Some("a")),
            pod("current", true, Some("b")),
            pod("uninjected", false, None),
        ];
        let told: Vec<_> = unaware(&pods, "b").map(|pod| pod.name.as_str()).collect();
        assert_eq!(told, ["new", "old"]);
    }
}
