//! The `weir.dev` API: the Rust types of every custom resource, and the definitions made from them.
//!
//! The types are plain serde and schemars. So the sidecar reads the very manifests that a user
//! applies, without linking a Kubernetes client. The feature `kube` adds what the operator needs:
//! the `CustomResource` derives, the status types and [`definitions`].
//!
//! - [`v1alpha1`]: the resources of the version.
//! - [`scalar`]: durations, percentages and quantities, which are strings on the wire.
//! - [`manifest`]: a resource as it stands in a file.
//! - [`validate`]: the rules that need more than one field, with the sentence a user reads.
//! - [`logging`]: what a program is asked to log.
//! - [`names`]: every label, annotation, port and path that two parts must agree on.

pub mod logging;
pub mod manifest;
pub mod names;
pub mod scalar;
pub mod v1alpha1;
pub mod validate;

#[cfg(feature = "kube")]
mod definitions;
#[cfg(feature = "kube")]
mod reference;
#[cfg(feature = "kube")]
mod rules;
#[cfg(feature = "kube")]
pub use definitions::{RenderError, definitions, render};
#[cfg(feature = "kube")]
pub use reference::reference;
