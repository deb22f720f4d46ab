//! Writes the objects of a pipeline, and announces a changed configuration to the pods.

use std::fmt::Debug;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use weir_crds::names::FIELD_MANAGER;

use super::build::Objects;
use super::observe::{Existing, Observed, ObservedPod};
use super::validate::{OwnershipOfObjects, ValidatedPipeline};
use crate::apply::{ApplyError, Ownership, apply as apply_object, prune, remove};
use crate::context::Context;
use crate::labels;

/// How many pods of one pipeline are told of a new configuration at the same time.
const CONCURRENT_ANNOUNCEMENTS: usize = 8;

/// Writes everything that the pipeline asks for, and removes what it no longer asks for.
pub(super) async fn apply(
    context: &Context,
    pipeline: &ValidatedPipeline,
    objects: Objects,
    observed: &Observed,
) -> Result<(), ApplyError> {
    let Objects {
        config_map,
        service,
        deployment,
        stateful_set,
        budget,
        network_policy,
        ingress,
        http_route,
        config_hash,
    } = objects;
    let OwnershipOfObjects {
        config_map: config_map_owner,
        service: service_owner,
        deployment: deployment_owner,
        stateful_set: stateful_set_owner,
        budget: budget_owner,
        network_policy: policy_owner,
        ingress: ingress_owner,
        http_route: route_owner,
    } = &pipeline.ownership;
    let existing = &observed.existing;
    let writer = Writer { context, pipeline };
    let kept = [config_map.name_any(), service.name_any()];
    // The ConfigMap first: a pod that mounts it can't start without.
    writer.write(Some(config_map), config_map_owner).await?;
    writer.write(Some(service), service_owner).await?;
    // Who may come is settled before there is somewhere to come to.
    writer.settle(network_policy, policy_owner, existing.network_policy.as_ref()).await?;
    writer.settle(budget, budget_owner, existing.budget.as_ref()).await?;
    writer.write(deployment.clone(), deployment_owner).await?;
    writer.write(stateful_set.clone(), stateful_set_owner).await?;
    writer.settle(ingress, ingress_owner, meta(existing.ingress.as_ref())).await?;
    writer.settle(http_route, route_owner, meta(existing.http_route.as_ref())).await?;
    // Removal last: what takes its place stands by then.
    writer.clear(existing, deployment.is_some(), stateful_set.is_some(), &kept).await?;
    announce(context, pipeline, &config_hash, &observed.pods).await
}

fn meta<K: Resource>(object: Option<&K>) -> Option<&ObjectMeta> {
    object.map(Resource::meta)
}

/// Writes and removes the objects of one pipeline.
struct Writer<'a> {
    context: &'a Context,
    pipeline: &'a ValidatedPipeline,
}

impl Writer<'_> {
    /// Writes an object, where it is asked for.
    async fn write<K>(&self, wanted: Option<K>, ownership: &Ownership) -> Result<(), ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Serialize
            + DeserializeOwned
            + Clone
            + Debug,
    {
        let Some(wanted) = wanted else { return Ok(()) };
        let api = self.context.namespaced::<K>(&self.pipeline.namespace);
        apply_object(&api, wanted, ownership).await.map(|_| ())
    }

    /// Writes an object, or removes it where it is not asked for.
    async fn settle<K>(
        &self,
        wanted: Option<K>,
        ownership: &Ownership,
        existing: Option<&ObjectMeta>,
    ) -> Result<(), ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Serialize
            + DeserializeOwned
            + Clone
            + Debug,
    {
        if wanted.is_some() {
            return self.write(wanted, ownership).await;
        }
        let api = self.context.namespaced::<K>(&self.pipeline.namespace);
        if remove(&api, existing, &self.pipeline.uid).await? {
            tracing::info!(kind = %K::kind(&()), "removed what is no longer asked for");
        }
        Ok(())
    }

    /// Removes the workload that is no longer asked for, and what a pipeline of another time has left.
    async fn clear(
        &self,
        existing: &Existing,
        deployed: bool,
        stateful: bool,
        kept: &[String; 2],
    ) -> Result<(), ApplyError> {
        let Self { context, pipeline } = self;
        let [config_map, service] = kept.each_ref().map(String::as_str);
        let config_maps = context.namespaced::<ConfigMap>(&pipeline.namespace);
        let services = context.namespaced::<Service>(&pipeline.namespace);
        let deployments = context.namespaced::<Deployment>(&pipeline.namespace);
        let stateful_sets = context.namespaced::<StatefulSet>(&pipeline.namespace);
        let selector = labels::object_selector(&pipeline.name);
        let workload = [pipeline.name.as_str()];
        let workload = if deployed { &workload[..] } else { &[] };
        let mut pruned = prune(&deployments, &selector, &pipeline.uid, workload).await?;
        pruned.extend(prune(&services, &selector, &pipeline.uid, &[service]).await?);
        pruned.extend(prune(&config_maps, &selector, &pipeline.uid, &[config_map]).await?);
        let left = existing.stateful_set.as_ref().filter(|_| !stateful);
        if remove(&stateful_sets, meta(left), &pipeline.uid).await? {
            pruned.push(pipeline.name.clone());
        }
        if !pruned.is_empty() {
            tracing::info!(objects = ?pruned, "removed what is no longer asked for");
        }
        Ok(())
    }
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
