//! Reads the workloads whose pods a pipeline selects, also where they have not got any pod to show for it.

use std::fmt::Debug;

use futures::TryFutureExt;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::events::v1::Event;
use kube::Resource;
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use serde::de::DeserializeOwned;
use weir_crds::v1alpha1::{PlacementKind, StreamPipeline};

use super::workload::{Workload, WorkloadKind};
use super::{ObserveError, reading};
use crate::context::Context;

/// Reads the workloads; none for a gateway, whose Deployment is the pipeline's own.
pub(super) async fn read(
    context: &Context,
    namespace: &str,
    pipeline: &StreamPipeline,
) -> Result<Vec<Workload>, ObserveError> {
    let selector = match pipeline.spec.placement.kind() {
        Some(PlacementKind::Sidecar(sidecar)) => &sidecar.selector,
        Some(PlacementKind::Gateway(_)) | None => return Ok(Vec::new()),
    };
    let (deployments, stateful_sets, daemon_sets) = futures::try_join!(
        list::<Deployment>(context, namespace).map_err(reading("the Deployments of the namespace")),
        list::<StatefulSet>(context, namespace)
            .map_err(reading("the StatefulSets of the namespace")),
        list::<DaemonSet>(context, namespace).map_err(reading("the DaemonSets of the namespace")),
    )?;
    let mut workloads: Vec<Workload> =
        deployments.into_iter().map(Workload::of_deployment).collect();
    workloads.extend(stateful_sets.into_iter().map(Workload::of_stateful_set));
    workloads.extend(daemon_sets.into_iter().map(Workload::of_daemon_set));
    workloads.retain(|workload| workload.is_selected(selector));
    for workload in &mut workloads {
        if workload.short && workload.kind != WorkloadKind::Deployment {
            workload.refused = refusal(context, namespace, workload).await?;
        }
    }
    Ok(workloads)
}

/// From the API server's cache: what is a moment old is good enough, and a write says what it was read at.
async fn list<K>(context: &Context, namespace: &str) -> Result<Vec<K>, kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let params = ListParams::default().match_any();
    Ok(context.namespaced::<K>(namespace).list(&params).await?.items)
}

/// Why a StatefulSet or DaemonSet can't make pods. It says so in Events alone.
async fn refusal(
    context: &Context,
    namespace: &str,
    workload: &Workload,
) -> Result<Option<String>, ObserveError> {
    let kind = workload.kind.as_str();
    let fields =
        format!("reason=FailedCreate,regarding.kind={kind},regarding.uid={}", workload.uid);
    let params = ListParams::default().fields(&fields);
    let events = context.namespaced::<Event>(namespace).list(&params).await;
    let events = events.map_err(reading("the Events of a workload"))?.items;
    let newest = events.into_iter().max_by_key(|event| {
        let last = event.series.as_ref().map(|series| series.last_observed_time.0);
        last.max(event.deprecated_last_timestamp.as_ref().map(|time| time.0))
    });
    Ok(newest.and_then(|event| event.note))
}
