//! Writes the objects of a pipeline, and announces a changed configuration to the pods.

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde_json::json;
use weir_crds::names::FIELD_MANAGER;

use super::build::Objects;
use super::made::Made;
use super::observe::{Existing, Observed, ObservedPod, Versions};
use super::settled::Settled;
use super::validate::{OwnershipOfObjects, ValidatedPipeline};
use crate::apply::{ApplyError, Ownership, apply as apply_object, prune, remove};
use crate::context::Context;
use crate::kept::{Kept, Kind};
use crate::labels;

/// How many pods of one pipeline are told of a new configuration at the same time.
const CONCURRENT_ANNOUNCEMENTS: usize = 8;

/// Writes everything that the pipeline asks for, and removes what it no longer asks for.
pub(super) async fn apply(
    context: &Context,
    made: &Made,
    settled: &Settled,
    pipeline: &ValidatedPipeline,
    objects: Objects,
    observed: &Observed,
) -> Result<(), ApplyError> {
    let (fingerprint, config_hash) = (objects.fingerprint(), objects.config_hash.clone());
    if !settled.is(&pipeline.uid, fingerprint, &observed.existing.versions()) {
        let versions = write(context, made, pipeline, objects, &observed.existing).await?;
        settled.note(&pipeline.uid, fingerprint, versions);
    }
    announce(context, pipeline, &config_hash, &observed.pods).await
}

/// Writes the objects. Answers the version that each of them has then.
async fn write(
    context: &Context,
    made: &Made,
    pipeline: &ValidatedPipeline,
    objects: Objects,
    existing: &Existing,
) -> Result<Versions, ApplyError> {
    let Objects {
        config_map,
        service,
        deployment,
        stateful_set,
        budget,
        network_policy,
        ingress,
        http_route,
        config_hash: _,
        held: _,
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
    let writer = Writer { context, pipeline };
    let kept = Names::of(&config_map, &service, deployment.as_ref());
    let stateful = stateful_set.is_some();
    // The ConfigMap first: a pod that mounts it can't start without.
    let config_map = writer.write(Some(config_map), config_map_owner).await?;
    let service = writer.write(Some(service), service_owner).await?;
    // Who may come is settled before there is somewhere to come to.
    let network_policy =
        writer.settle(network_policy, policy_owner, existing.network_policy.as_ref()).await?;
    let budget = writer.settle(budget, budget_owner, existing.budget.as_ref()).await?;
    let deployment = writer.write(deployment, deployment_owner).await?;
    let stateful_set = writer.write(stateful_set, stateful_set_owner).await?;
    let ingress = writer.settle(ingress, ingress_owner, meta(existing.ingress.as_ref())).await?;
    let http_route =
        writer.settle(http_route, route_owner, meta(existing.http_route.as_ref())).await?;
    // Removal last: what takes its place stands by then.
    writer.clear(made, existing, stateful, &kept).await?;
    Ok(Versions([
        config_map,
        service,
        deployment,
        stateful_set,
        budget,
        network_policy,
        ingress,
        http_route,
    ]))
}

fn meta<K: Resource>(object: Option<&K>) -> Option<&ObjectMeta> {
    object.map(Resource::meta)
}

/// The names of what stays.
struct Names {
    config_map: String,
    service: String,
    deployment: Option<String>,
}

impl Names {
    fn of(config_map: &ConfigMap, service: &Service, deployment: Option<&Deployment>) -> Self {
        let deployment = deployment.map(ResourceExt::name_any);
        Self { config_map: config_map.name_any(), service: service.name_any(), deployment }
    }
}

/// Writes objects of one pipeline.
struct Writer<'a> {
    context: &'a Context,
    pipeline: &'a ValidatedPipeline,
}

impl Writer<'_> {
    /// Writes an object, where one is wanted. Answers its version.
    async fn write<K: Kind + Serialize>(
        &self,
        wanted: Option<K>,
        ownership: &Ownership,
    ) -> Result<Option<String>, ApplyError> {
        let Some(wanted) = wanted else { return Ok(None) };
        let api = self.context.namespaced::<K>(&self.pipeline.namespace);
        apply_object(&api, wanted, ownership).await.map(|written| written.resource_version())
    }

    /// Writes an object, or removes the one that is no longer wanted. Answers its version.
    async fn settle<K: Kind + Serialize>(
        &self,
        wanted: Option<K>,
        ownership: &Ownership,
        existing: Option<&ObjectMeta>,
    ) -> Result<Option<String>, ApplyError> {
        if wanted.is_some() {
            return self.write(wanted, ownership).await;
        }
        let api = self.context.namespaced::<K>(&self.pipeline.namespace);
        if remove(&api, existing, &self.pipeline.uid).await? {
            tracing::info!(kind = %K::kind(&()), "removed what is no longer asked for");
        }
        Ok(None)
    }

    /// Removes what the pipeline has of old, and asks for no longer.
    async fn clear(
        &self,
        made: &Made,
        existing: &Existing,
        stateful: bool,
        kept: &Names,
    ) -> Result<(), ApplyError> {
        let Names { config_map, service, deployment } = kept;
        let deployment: Vec<&str> = deployment.as_deref().into_iter().collect();
        let mut pruned = self.prune(&made.deployments, &deployment).await?;
        pruned.extend(self.prune(&made.services, &[service]).await?);
        pruned.extend(self.prune(&made.config_maps, &[config_map]).await?);
        let stateful_sets = self.context.namespaced::<StatefulSet>(&self.pipeline.namespace);
        let left = existing.stateful_set.as_ref().filter(|_| !stateful);
        if remove(&stateful_sets, meta(left), &self.pipeline.uid).await? {
            pruned.push(self.pipeline.name.clone());
        }
        if !pruned.is_empty() {
            tracing::info!(objects = ?pruned, "removed what is no longer asked for");
        }
        Ok(())
    }

    async fn prune<K: Kind>(
        &self,
        made: &Kept<K>,
        keep: &[&str],
    ) -> Result<Vec<String>, ApplyError> {
        let Self { context, pipeline } = self;
        let labels = labels::of_object(&pipeline.name);
        let made = made.find(&pipeline.namespace, |object| {
            labels.iter().all(|(key, value)| object.labels().get(key) == Some(value))
        });
        let api = context.namespaced::<K>(&pipeline.namespace);
        prune(&api, &made, &pipeline.uid, keep).await
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
