//! Finds what a manifest asks for and this build can't do: to serve the rest would serve something else.

use weir_crds::{v1alpha1::StreamPipelineSpec, validate::Violation};

/// What is missing in this build for the pipeline.
pub(super) fn lacking(spec: &StreamPipelineSpec) -> Vec<Violation> {
    let tls = spec.endpoints.tls.as_ref();
    let lacks =
        [(cfg!(feature = "tls") || tls.is_none(), "spec.endpoints.tls", "this build has no TLS")];
    let lacks = lacks.into_iter().filter(|(able, ..)| !able);
    lacks
        .map(|(_, field, lack)| Violation {
            field: field.to_owned(),
            message: format!("{lack}: build it with --features full"),
        })
        .collect()
}
