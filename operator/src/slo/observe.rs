//! Reads what concerns one SLO: itself, its pipeline, and the pipeline's pods.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use weir_crds::v1alpha1::{PlacementKind, StreamPipeline, StreamSLO};

use super::replicas::{Replicas, find};
use crate::context::Context;
use crate::kept::Kept;
use crate::{labels, selector};

/// What concerns one SLO.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    /// The SLO, with this replica's own writes.
    pub(super) slo: StreamSLO,
    /// The sidecars of its pipeline; nothing where there is no pipeline.
    pub(super) replicas: Option<Replicas>,
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
#[error("can't read {what}")]
pub struct ObserveError {
    what: &'static str,
    source: kube::Error,
}

impl ObserveError {
    /// What the API server, or the way to it, said.
    pub(super) const fn cause(&self) -> &kube::Error {
        &self.source
    }
}

fn reading(what: &'static str) -> impl Fn(kube::Error) -> ObserveError {
    move |source| ObserveError { what, source }
}

/// Reads what concerns the SLO; nothing where it is gone, or going.
pub(super) async fn observe(
    context: &Context,
    pipelines: &Kept<StreamPipeline>,
    slo: &StreamSLO,
) -> Result<Option<Observed>, ObserveError> {
    let namespace = slo.namespace().unwrap_or_default();
    let found = if context.written.is_behind(&slo.metadata) {
        let found = context.namespaced::<StreamSLO>(&namespace).get_opt(&slo.name_any()).await;
        found.map_err(reading("the StreamSLO"))?
    } else {
        Some(slo.clone())
    };
    let Some(slo) = found.filter(|found| found.metadata.deletion_timestamp.is_none()) else {
        return Ok(None);
    };
    let name = &slo.spec.pipeline_ref.name;
    let pipeline = if pipelines.is_complete() {
        pipelines.get(&namespace, name).map(Arc::unwrap_or_clone)
    } else {
        let found = context.namespaced::<StreamPipeline>(&namespace).get_opt(name).await;
        found.map_err(reading("its StreamPipeline"))?
    };
    let replicas = match pipeline {
        Some(pipeline) => Some(replicas(context, &namespace, &pipeline).await?),
        None => None,
    };
    Ok(Some(Observed { slo, replicas }))
}

async fn replicas(
    context: &Context,
    namespace: &str,
    pipeline: &StreamPipeline,
) -> Result<Replicas, ObserveError> {
    let name = pipeline.name_any();
    let carriers = &context.carriers;
    let (known, wanted) = match pipeline.spec.placement.kind() {
        Some(PlacementKind::Gateway(_)) => {
            (carriers.of_gateway(namespace, &name), labels::of_gateway(&name))
        }
        Some(PlacementKind::Sidecar(_)) => {
            (carriers.of_sidecar(namespace, &name), labels::of_sidecar(&name))
        }
        None => return Ok(Replicas::default()),
    };
    if let Some(pods) = known {
        return Ok(find(pipeline, &pods, context.options.admin_port));
    }
    // The API server answers this from its cache: a pod that came a moment ago is sampled next time.
    let params = ListParams::default().labels(&selector::of_labels(&wanted)).match_any();
    let pods = context.namespaced::<Pod>(namespace).list(&params).await;
    let pods = pods.map_err(reading("the pods of its pipeline"))?;
    Ok(find(pipeline, &pods.items, context.options.admin_port))
}
