//! Makes the CustomResourceDefinitions out of the types, and renders them as YAML.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::v1alpha1::{StreamPipeline, StreamSLO};

/// Every definition of the group, each with the name of the file that holds it.
#[must_use]
pub fn definitions() -> Vec<(&'static str, CustomResourceDefinition)> {
    vec![
        ("weir.dev_streampipelines.yaml", StreamPipeline::crd()),
        ("weir.dev_streamslos.yaml", StreamSLO::crd()),
    ]
}

/// Why a definition could not be rendered.
#[derive(Debug, thiserror::Error)]
#[error("can't render the definition as YAML")]
pub struct RenderError(#[from] serde_saphyr::ser::Error);

/// Renders a definition as the YAML that stands in `crds/`.
///
/// # Errors
///
/// Fails only if the definition can't be written as YAML, which would be a defect of its type.
pub fn render(definition: &CustomResourceDefinition) -> Result<String, RenderError> {
    let yaml = serde_saphyr::to_string(definition)?;
    Ok(format!(
        "# Made from the types in crds/src by `cargo xtask crds`; not to be edited.\n{yaml}"
    ))
}
