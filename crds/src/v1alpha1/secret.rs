//! Refers to Secrets.

#[cfg(feature = "kube")]
use kube::KubeSchema;
#[cfg(not(feature = "kube"))]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A key of a Secret in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// The Secret's name.
    #[schemars(length(max = 253))]
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')").message("must be a Secret's name"))
    )]
    pub secret_name: String,
    /// The key in the Secret's data.
    #[schemars(length(max = 253))]
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = Rule::new("self.matches('^[-._a-zA-Z0-9]+$') && !self.startsWith('..') && self != '.'").message("must be a key of a Secret's data: letters, digits, '-', '_' and '.'"))
    )]
    pub key: String,
}
