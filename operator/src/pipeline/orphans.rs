//! Removes what belongs to a pipeline under another name than the pipeline's: of another release, or somebody's copy.
//!
//! # Laws
//!
//! - Only what carries the labels and is controlled by this very pipeline is removed.
//! - Nothing is before the watch has told everything: who has seen half of it knows nothing.

use std::sync::Arc;

use kube::ResourceExt;
use weir_crds::names::config_map;

use super::made::Made;
use super::validate::ValidatedPipeline;
use crate::apply::{ApplyError, is_controlled, remove};
use crate::context::Context;
use crate::kept::{Kept, Kind};
use crate::labels;

/// Removes what there is; asks nobody where there is nothing.
pub(super) async fn prune(
    context: &Context,
    made: &Made,
    pipeline: &ValidatedPipeline,
) -> Result<(), ApplyError> {
    let Made {
        config_maps,
        services,
        deployments,
        stateful_sets,
        budgets,
        policies,
        ingresses,
        slos: _,
        pods: _,
    } = made;
    let name = &pipeline.name;
    prune_kind(context, config_maps, pipeline, &config_map(name)).await?;
    prune_kind(context, services, pipeline, name).await?;
    prune_kind(context, deployments, pipeline, name).await?;
    prune_kind(context, stateful_sets, pipeline, name).await?;
    prune_kind(context, budgets, pipeline, name).await?;
    prune_kind(context, policies, pipeline, name).await?;
    prune_kind(context, ingresses, pipeline, name).await
}

async fn prune_kind<K: Kind>(
    context: &Context,
    kept: &Kept<K>,
    pipeline: &ValidatedPipeline,
    own: &str,
) -> Result<(), ApplyError> {
    for orphan in orphans(kept, pipeline, own) {
        let api = context.namespaced::<K>(&pipeline.namespace);
        let labels = labels::of_object(&pipeline.name);
        if remove(&api, Some(orphan.meta()), &pipeline.uid, &labels).await? {
            tracing::info!(kind = %K::kind(&()), name = orphan.name_any(), "removed what nobody asks for");
        }
    }
    Ok(())
}

/// What belongs to the pipeline and has not the name that it gives what it asks for.
fn orphans<K: Kind>(kept: &Kept<K>, pipeline: &ValidatedPipeline, own: &str) -> Vec<Arc<K>> {
    if !kept.is_complete() {
        return Vec::new();
    }
    let labels = labels::of_object(&pipeline.name);
    kept.find(&pipeline.namespace, |object| {
        object.name_any() != own
            && is_controlled(object.meta(), &pipeline.uid)
            && labels.iter().all(|(key, value)| object.labels().get(key) == Some(value))
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::watcher::Event;

    use super::*;
    use crate::pipeline::build::build;
    use crate::pipeline::testing::valid;
    use crate::testing::gateway;

    #[test]
    fn only_what_is_labelled_and_controlled_is_an_orphan_once_everything_is_known() {
        let pipeline = valid(&gateway("orders", 1));
        let own = build(&pipeline).unwrap().config_map;
        let mut left = own.clone();
        left.metadata.name = Some("old".to_owned());
        let mut unlabelled = left.clone();
        unlabelled.metadata.name = Some("unlabelled".to_owned());
        unlabelled.metadata.labels = None;
        let mut foreign = left.clone();
        foreign.metadata.name = Some("foreign".to_owned());
        foreign.metadata.owner_references.as_mut().unwrap()[0].uid = "another".to_owned();
        let kept = Kept::<ConfigMap>::default();
        let mut writer = kept.writer();
        let found = || {
            let found = orphans(&kept, &pipeline, "orders-weir");
            found.iter().map(|orphan| orphan.name_any()).collect::<Vec<_>>()
        };
        writer.apply_watcher_event(&Event::Init);
        for object in [own, left, unlabelled, foreign] {
            writer.apply_watcher_event(&Event::InitApply(object.clone()));
            writer.apply_watcher_event(&Event::Apply(object));
        }
        assert_eq!(found(), [""; 0], "half of it was told");
        writer.apply_watcher_event(&Event::InitDone);
        assert_eq!(found(), ["old"]);
    }
}
