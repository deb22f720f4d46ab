//! Reads the workloads whose pods a pipeline selects, also where they have not got any pod to show for it.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::TryFutureExt;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::events::v1::Event;
use kube::Resource;
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use weir_crds::v1alpha1::{PlacementKind, StreamPipeline};

use super::workload::{Workload, WorkloadKind};
use super::{ObserveError, ObservedPod, reading};
use crate::context::Context;
use crate::upgrade::Upgrade;

/// For how long an answer will do where somebody waits for a rollout, and where nothing is amiss.
const FRESH: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(20);

/// The workloads of each namespace as they were last read, so that many pipelines of one are not as many
/// readers.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Workloads(Mutex<HashMap<String, Known>>);

#[derive(Debug, Clone)]
struct Known {
    read: Instant,
    workloads: Arc<Vec<Workload>>,
}

impl Workloads {
    /// Reads the workloads whose pods the pipeline selects; none for a gateway, whose Deployment is its own.
    pub(super) async fn read(
        &self,
        context: &Context,
        namespace: &str,
        pipeline: &StreamPipeline,
        pods: &[ObservedPod],
        upgrade: &Upgrade,
    ) -> Result<Vec<Workload>, ObserveError> {
        let selector = match pipeline.spec.placement.kind() {
            Some(PlacementKind::Sidecar(sidecar)) => &sidecar.selector,
            Some(PlacementKind::Gateway(_)) | None => return Ok(Vec::new()),
        };
        let max_age = if are_left(pods, upgrade) { IDLE } else { FRESH };
        let all = self.all(context, namespace, max_age).await?;
        let mut workloads: Vec<Workload> =
            all.iter().filter(|workload| workload.is_selected(selector)).cloned().collect();
        for workload in &mut workloads {
            if workload.short && workload.kind != WorkloadKind::Deployment {
                workload.refused = refusal(context, namespace, workload).await?;
            }
        }
        Ok(workloads)
    }

    /// All workloads of a namespace, read at most so long ago.
    async fn all(
        &self,
        context: &Context,
        namespace: &str,
        max_age: Duration,
    ) -> Result<Arc<Vec<Workload>>, ObserveError> {
        let known = self.0.lock().get(namespace).cloned();
        if let Some(known) = known.filter(|known| known.read.elapsed() < max_age) {
            return Ok(known.workloads);
        }
        let read = Instant::now();
        let workloads = Arc::new(read_all(context, namespace).await?);
        let mut all = self.0.lock();
        all.retain(|_, known| known.read.elapsed() < IDLE);
        all.insert(namespace.to_owned(), Known { read, workloads: Arc::clone(&workloads) });
        Ok(workloads)
    }
}

/// Whether there are selected pods, and none is to be made anew.
fn are_left(pods: &[ObservedPod], upgrade: &Upgrade) -> bool {
    let mut selected = pods.iter().filter(|pod| pod.selected).peekable();
    selected.peek().is_some() && !selected.any(|pod| pod.is_due(upgrade))
}

async fn read_all(context: &Context, namespace: &str) -> Result<Vec<Workload>, ObserveError> {
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
