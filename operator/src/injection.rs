//! Injects the sidecar into a pod: a pure function from the pod's JSON to a JSON Patch (RFC 6902).
//!
//! # Laws
//!
//! - The pod is never read into a type and written back: what this version of Kubernetes' types does not
//!   know stays as it is.
//! - Nothing that the pod's author set is changed, but for a grace period that is too short for a drain.
//! - A second pass over the result adds nothing; over a result that another webhook changed it adds only
//!   what is missing. Where it knows of pipelines that the first one did not know of, it grants the sidecar what all
//!   of them need.

mod granted;
mod obstacle;
mod parts;
mod patch;
pub mod policy;
mod standing;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use weir_crds::v1alpha1::StreamPipeline;

pub use self::granted::granted;
pub use self::obstacle::obstacle;
pub use self::patch::PatchError;
use self::patch::PodPatch;
pub use self::standing::{Lack, lacks, publishes_to};
use crate::sidecar::Image;

/// The namespace of Kubernetes' own parts, which must start without the help of anybody.
const SYSTEM_NAMESPACE: &str = "kube-system";

/// Whether no pod of a namespace is ever injected; `own` is the operator's namespace.
#[must_use]
pub fn is_protected(namespace: &str, own: &str) -> bool {
    namespace == SYSTEM_NAMESPACE || namespace == own
}

/// What becomes of a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// These operations inject the sidecar, or what is missing of it.
    Patch(json_patch::Patch),
    /// The pod has everything already.
    Complete,
    /// The pod can't be injected.
    Refused {
        /// Why.
        reason: String,
        /// Notes the reason on the pod, where it does not stand there yet.
        note: Option<json_patch::Patch>,
    },
}

/// Decides what becomes of `pod`, which `pipelines` select.
///
/// # Errors
///
/// Fails where the pod is not of the shape of a pod.
pub fn inject(
    pod: &Value,
    pipelines: &[&StreamPipeline],
    image: &Image,
) -> Result<Decision, PatchError> {
    let mut patch = PodPatch::new(pod);
    if let Some(reason) = obstacle(pod, pipelines) {
        parts::note_refusal(&mut patch, &reason)?;
        return Ok(Decision::Refused { reason, note: patch.into_patch() });
    }
    let mut sorted = pipelines.to_vec();
    sorted.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let joined = parts::are_joined(&patch, &sorted);
    parts::mark(&mut patch, &sorted)?;
    parts::add_volumes(&mut patch, &sorted)?;
    parts::add_sidecar(&mut patch, &sorted, image)?;
    if joined {
        parts::raise_resources(&mut patch, &sorted)?;
    }
    parts::add_pull_secrets(&mut patch, image)?;
    parts::connect_application(&mut patch, &oldest_first(pipelines))?;
    parts::raise_grace_period(&mut patch, &sorted)?;
    Ok(patch.into_patch().map_or(Decision::Complete, Decision::Patch))
}

/// A pipeline that joins others must not draw to itself what the application publishes into them.
fn oldest_first<'a>(pipelines: &[&'a StreamPipeline]) -> Vec<&'a StreamPipeline> {
    let mut pipelines = pipelines.to_vec();
    pipelines.sort_by_key(|&pipeline| {
        let ObjectMeta { creation_timestamp, name, .. } = &pipeline.metadata;
        // One of a manifest, which is not created yet, is the youngest.
        (creation_timestamp.is_none(), creation_timestamp, name)
    });
    pipelines
}

#[cfg(test)]
mod tests;
