//! Writes the objects of a pipeline, and announces a changed configuration to the pods.

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde::Serialize;
use serde_json::json;
use weir_crds::names::FIELD_MANAGER;

use super::build::Objects;
use super::contested::Contested;
use super::made::Made;
use super::observe::{Existing, Observed, ObservedPod};
use super::orphans;
use super::settled::{Marks, Settled, meta, untold};
use super::validate::{OwnershipOfObjects, ValidatedPipeline};
use crate::apply::{Applied, ApplyError, Change, Ownership, Undone, apply as apply_object, remove};
use crate::context::Context;
use crate::kept::Kind;
use crate::labels;
use crate::mark::Mark;
use crate::routes::HTTPRoute;

/// How many pods of one pipeline are told of a new configuration at the same time.
const CONCURRENT_ANNOUNCEMENTS: usize = 8;

/// Writes everything that the pipeline asks for, and removes what it no longer asks for.
pub(super) async fn apply(
    context: &Context,
    kept: &Memories<'_>,
    pipeline: &ValidatedPipeline,
    objects: Objects,
    observed: &Observed,
) -> Result<(), ApplyError> {
    let (fingerprint, config_hash) = (objects.fingerprint(), objects.config_hash.clone());
    let Observed { existing, pods, .. } = observed;
    let Memories { made, settled, contested } = *kept;
    let known = settled.known(&pipeline.uid, fingerprint);
    let found = Marks::of(existing, &objects, &pipeline.uid);
    if known.as_ref() != Some(&found) {
        let known = known.map(|known| known.but_intact(existing, &objects)).unwrap_or_default();
        let writer = Writer { context, pipeline, contested, known, found };
        let marks = writer.write_all(objects, existing).await?;
        settled.note(&pipeline.uid, fingerprint, marks);
    }
    // Whatever was written or not: one can turn up at any time.
    orphans::prune(context, made, pipeline).await?;
    announce(context, pipeline, &config_hash, pods).await
}

/// Which of the objects are wanted that not every pipeline has.
struct Wanted {
    deployment: bool,
    stateful_set: bool,
    budget: bool,
    network_policy: bool,
    ingress: bool,
    http_route: bool,
}

impl Wanted {
    fn of(objects: &Objects) -> Self {
        let Objects {
            config_map: _,
            service: _,
            deployment,
            stateful_set,
            budget,
            network_policy,
            ingress,
            http_route,
            config_hash: _,
            held: _,
            noted: _,
        } = objects;
        Self {
            deployment: deployment.is_some(),
            stateful_set: stateful_set.is_some(),
            budget: budget.is_some(),
            network_policy: network_policy.is_some(),
            ingress: ingress.is_some(),
            http_route: http_route.is_some(),
        }
    }
}

/// What is remembered of pipelines from one reconcile to the next.
pub(super) struct Memories<'a> {
    /// What was made beside what has a pipeline's own names.
    pub(super) made: &'a Made,
    /// What was written.
    pub(super) settled: &'a Settled,
    /// What others had changed.
    pub(super) contested: &'a Contested,
}

/// Writes objects of one pipeline.
struct Writer<'a> {
    context: &'a Context,
    pipeline: &'a ValidatedPipeline,
    contested: &'a Contested,
    /// What stood when the same was written, of objects that may have been changed since.
    known: Marks,
    /// What stands.
    found: Marks,
}

impl Writer<'_> {
    /// Writes the objects, those at the same time that don't depend on one another. Answers the mark that each of them
    /// has then.
    async fn write_all(&self, objects: Objects, existing: &Existing) -> Result<Marks, ApplyError> {
        let wanted = Wanted::of(&objects);
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
            noted: _,
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
        } = &self.pipeline.ownership;
        // Before the pods, which can't start without the ConfigMap; and who may come is settled before there is
        // somewhere to come to.
        let (config_map, service, network_policy, budget) = futures::join!(
            self.write(Some(config_map), config_map_owner),
            self.write(Some(service), service_owner),
            self.write(network_policy, policy_owner),
            self.write(budget, budget_owner),
        );
        let (config_map, service) = (config_map?, service?);
        let (network_policy, budget) = (network_policy?, budget?);
        let (deployment, stateful_set) = futures::join!(
            self.write(deployment, deployment_owner),
            self.write(stateful_set, stateful_set_owner),
        );
        let (deployment, stateful_set) = (deployment?, stateful_set?);
        let (ingress, http_route) = futures::join!(
            self.write(ingress, ingress_owner),
            self.write_route(http_route, route_owner),
        );
        let (ingress, http_route) = (ingress?, http_route?);
        // Removal last: what takes its place stands by then.
        self.retire(existing, &wanted).await?;
        Ok(Marks([
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

    /// Writes an object, where one is wanted. Answers its mark.
    async fn write<K: Kind + Serialize>(
        &self,
        wanted: Option<K>,
        ownership: &Ownership,
    ) -> Result<Option<Mark>, ApplyError> {
        let Some(wanted) = wanted else { return Ok(None) };
        let metadata = wanted.meta().clone();
        let api = self.context.namespaced::<K>(&self.pipeline.namespace);
        // Boxed: eight of them stand beside one another.
        let applying = Box::pin(apply_object(&api, wanted, ownership));
        let Applied { object, undone } = applying.await?;
        let mark = Mark::of(object.meta(), &metadata);
        self.tell(&K::kind(&()), &object.name_any(), &mark, undone);
        Ok(Some(mark))
    }

    /// Takes note of what others had done to an object that now has this mark.
    fn tell(&self, kind: &str, name: &str, written: &Mark, mut undone: Vec<Change>) {
        if undone.is_empty() {
            let (known, found) = (self.known.of_kind(kind), self.found.of_kind(kind));
            undone.extend(untold(known, found, written));
        }
        for change in undone {
            let undone = Undone { kind: kind.to_owned(), name: name.to_owned(), change };
            self.contested.note(&self.pipeline.uid, undone);
        }
    }

    /// The same for a route, of which no watch tells.
    async fn write_route(
        &self,
        wanted: Option<HTTPRoute>,
        ownership: &Ownership,
    ) -> Result<Option<Mark>, ApplyError> {
        let Self { context, pipeline, .. } = self;
        if wanted.is_some() {
            // Before it is there: what may be there is looked for when it is no longer wanted.
            context.routes.note(context, &pipeline.namespace, &pipeline.name).await;
        }
        self.write(wanted, ownership).await
    }

    /// Removes what the pipeline has under its own names, and asks for no longer.
    async fn retire(&self, existing: &Existing, wanted: &Wanted) -> Result<(), ApplyError> {
        let Existing {
            config_map: _,
            service: _,
            deployment,
            stateful_set,
            budget,
            network_policy,
            ingress,
            http_route,
        } = existing;
        self.remove::<Deployment>(meta(deployment.as_ref()), wanted.deployment).await?;
        self.remove::<StatefulSet>(meta(stateful_set.as_ref()), wanted.stateful_set).await?;
        self.remove::<PodDisruptionBudget>(budget.as_ref(), wanted.budget).await?;
        self.remove::<NetworkPolicy>(network_policy.as_ref(), wanted.network_policy).await?;
        self.remove::<Ingress>(meta(ingress.as_ref()), wanted.ingress).await?;
        self.remove::<HTTPRoute>(meta(http_route.as_ref()), wanted.http_route).await
    }

    async fn remove<K: Kind>(
        &self,
        existing: Option<&ObjectMeta>,
        is_wanted: bool,
    ) -> Result<(), ApplyError> {
        let Self { context, pipeline, .. } = self;
        let api = context.namespaced::<K>(&pipeline.namespace);
        let left = existing.filter(|_| !is_wanted);
        let labels = labels::of_object(&pipeline.name);
        if remove(&api, left, &pipeline.uid, &labels).await? {
            tracing::info!(kind = %K::kind(&()), "removed what is no longer asked for");
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

/// The pods that mount the configuration and were not told of this one. One that no kubelet has yet is told when one
/// has it.
fn unaware<'a>(pods: &'a [ObservedPod], hash: &str) -> impl Iterator<Item = &'a ObservedPod> {
    pods.iter()
        .filter(move |pod| pod.member && pod.has_node && pod.config_hash.as_deref() != Some(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, member: bool, config_hash: Option<&str>) -> ObservedPod {
        ObservedPod {
            name: name.to_owned(),
            member,
            has_node: name != "unscheduled",
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
            pod("unscheduled", true, None),
        ];
        let told: Vec<_> = unaware(&pods, "b").map(|pod| pod.name.as_str()).collect();
        assert_eq!(told, ["new", "old"]);
    }
}
