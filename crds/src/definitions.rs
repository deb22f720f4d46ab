//! Makes the CustomResourceDefinitions out of the types, and renders them as YAML.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use crate::v1alpha1::{StreamPipeline, StreamSLO};

/// Every definition of the group, each with the name of the file that holds it.
#[must_use]
pub fn definitions() -> Vec<(&'static str, CustomResourceDefinition)> {
    vec![
        ("weir.dev_streampipelines.yaml", readable(StreamPipeline::crd())),
        ("weir.dev_streamslos.yaml", readable(StreamSLO::crd())),
    ]
}

/// Leaves out every pattern beside which a rule says the same, so that a user reads the rule's sentence
/// and not a regular expression too.
fn readable(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        schema.into_iter().for_each(leave_out_patterns);
    }
    definition
}

fn leave_out_patterns(schema: &mut JSONSchemaProps) {
    if schema.x_kubernetes_validations.is_some() {
        schema.pattern = None;
    }
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        leave_out_patterns(property);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => leave_out_patterns(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => {
            items.iter_mut().for_each(leave_out_patterns);
        }
        None => {}
    }
    match &mut schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(values)) => leave_out_patterns(values),
        Some(JSONSchemaPropsOrBool::Bool(_)) | None => {}
    }
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
